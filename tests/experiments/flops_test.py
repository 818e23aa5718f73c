import jax
import jax.numpy as jnp
import pytest
from jax import lax

from blt_jax.experiments import flops
from blt_jax.models import create_model

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
