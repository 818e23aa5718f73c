import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from blt_jax.experiments import flops
from blt_jax.method import perturb
from blt_jax.models import Network, classifiers, create_model, resnet

CLASSES, HIDDEN = 10, 32


def _conv(images, kernel):
  return lax.conv_general_dilated(
    images,
    kernel,
    (2, 2),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _touched(size, kernel, stride, padding):
  """Pairs (output, kernel position) along a side that meet no padding."""
  outputs = (size + 2 * padding - kernel) // stride + 1
  return sum(
    0 <= output * stride + position - padding < size
    for output in range(outputs)
    for position in range(kernel)
  )


def _conv_flops(size, kernel, stride, inputs, outputs):
  """Twice the multiply-adds of a convolution with PyTorch's padding."""
  return 2 * _touched(size, kernel, stride, kernel // 2) ** 2 * inputs * outputs


def _resnet10_flops(size, *, filters, small_stem):
  """Twice the multiply-adds of a ResNet-10 and its head, layer by layer."""
  total = 0
  if small_stem:
    total += _conv_flops(size, 3, 1, 3, filters)
  else:
    total += _conv_flops(size, 7, 2, 3, filters)
    size //= 4
  inputs = filters
  for stage in range(4):
    outputs, stride = filters * 2**stage, 2 if stage else 1
    total += _conv_flops(size, 3, stride, inputs, outputs)
    if stride == 2:
      total += _conv_flops(size, 1, stride, inputs, outputs)
      size //= 2
    total += _conv_flops(size, 3, 1, outputs, outputs)
    inputs = outputs
  return total + 2 * (inputs * HIDDEN + HIDDEN * CLASSES)


@pytest.fixture(scope="module")
def model():
  """One block, which compiles fast."""
  return Network(
    backbone=resnet.ResNet(stage_sizes=(1,), filters=16, small_stem=True),
    hidden=classifiers.Linear(HIDDEN),
    classifier=classifiers.SquashingCosine(CLASSES),
  )


def test_a_convolution_by_hand():
  images = jax.ShapeDtypeStruct((5, 8, 8, 3), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 3, 16), jnp.float32)
  # 4 outputs a side; all but the first meet 3 pixels, the first 2.
  expected = 5 * 2 * (3 * 3 + 2) ** 2 * 3 * 16
  assert flops.count(_conv, images, kernel) == expected


@pytest.mark.parametrize(
  "name, size, filters, small_stem",
  [("small_resnet10", 32, 16, True), ("resnet10", 64, 64, False)],
)
def test_a_resnet_by_hand(name, size, filters, small_stem):
  model = create_model(name, CLASSES, hidden=HIDDEN)
  by_hand = _resnet10_flops(size, filters=filters, small_stem=small_stem)
  counted = flops.forward(model, size)
  # What is left is normalisation, ReLU, pooling and the cosine.
  assert 1.0 < counted / by_hand < 1.05


def test_images_are_counted_one_by_one(model):
  one, eight = (flops.forward(model, 16, images=n) for n in (1, 8))
  assert eight == pytest.approx(8 * one, rel=0.02)


def test_a_plain_step_costs_about_three_forward_passes(model):
  step = flops.training_step(model, 16, images=8)
  assert step.ascent_update == step.ascent_check == 0
  ratio = step.total(0) / flops.forward(model, 16, images=8)
  assert 2.7 < ratio < 3.3


def test_an_update_of_the_ascent_costs_about_two_forward_passes(model):
  step = flops.training_step(model, 16, images=8, slots=4)
  assert step.ascent_check == flops.forward(model, 16, images=4)
  assert 1.7 < step.ascent_update / step.ascent_check < 2.3
  larger = flops.training_step(model, 16, images=12)
  assert step.update == larger.update


def test_the_ascent_is_the_loop_of_perturb_images(model):
  variables = jax.eval_shape(
    functools.partial(model.init, train=False),
    jax.random.key(0),
    jnp.zeros((4, 16, 16, 3)),
  )

  def ascend(variables, images):
    return perturb.perturb_images(
      functools.partial(model.apply, variables, train=False),
      images,
      jnp.zeros(4, jnp.int32),
      jnp.full(4, 0.2),
    )

  images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
  once = flops.count(ascend, variables, images)  # Whatever the loop does.
  step = flops.training_step(model, 16, images=1, slots=4)
  assert step.ascent_update == pytest.approx(once, rel=0.02)


def test_the_body_is_multiplied_by_the_updates():
  step = flops.StepFlops(update=100.0, ascent_update=20.0, ascent_check=7.0)
  assert step.total(0) == 107
  assert step.total(2.5) == 157


@pytest.mark.parametrize("updates", [-1, np.nan])
def test_updates_can_not_be_negative(updates):
  step = flops.StepFlops(update=1.0, ascent_update=1.0, ascent_check=1.0)
  with pytest.raises(ValueError, match=f"updates is {updates}; it must be 0"):
    step.total(updates)
