"""Networks of a caller's own."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from blt_jax.models.given import Given

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)


class Own(nn.Module):
  """Takes everything that it may take, and draws at random."""

  classes: int = 5

  @nn.compact
  def __call__(self, images, *, train, mask, image_rngs):
    del image_rngs
    if mask is not None:
      mask = mask.reshape(-1, 1)
    features = images.mean((1, 2))
    features = nn.BatchNorm(use_running_average=not train, momentum=0.5)(
      features, mask=mask
    )
    features = nn.Dropout(0.5, deterministic=not train)(features)
    return nn.Dense(self.classes)(features)


def apply(network, variables, images=IMAGES, seed=0, **options):
  keys = jax.random.split(jax.random.key(seed), len(images))
  return network.apply(
    variables,
    images,
    train=True,
    image_rngs=keys,
    mutable=["batch_stats"],
    **options,
  )


def test_randomness_follows_from_the_keys_and_inference_has_none():
  network = Given(Own())
  variables = network.init(jax.random.key(0), IMAGES, train=False)
  first, again, other = (
    apply(network, variables, seed=s)[0] for s in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  logits = network.apply(variables, IMAGES, train=False)
  np.testing.assert_array_equal(
    logits,
    Own().apply(variables, IMAGES, train=False, mask=None, image_rngs=None),
  )


def test_images_out_of_the_mask_have_no_part_in_batch_statistics():
  network = Given(Own())
  variables = network.init(jax.random.key(0), IMAGES, train=False)
  mask = np.array([True, True, True, False])
  _, updates = apply(network, variables, mask=mask)
  (found,) = updates["batch_stats"].values()
  expected = 0.5 * IMAGES[:3].mean((0, 1, 2))
  np.testing.assert_allclose(found["mean"], expected, rtol=1e-4, atol=1e-6)


def test_running_statistics_are_means_over_the_devices():
  network = Given(Own(), axis_name="batch")
  variables = Given(Own()).init(jax.random.key(0), IMAGES, train=False)
  step = jax.pmap(
    lambda images: apply(network, variables, images)[1], axis_name="batch"
  )
  updates = step(IMAGES.reshape(2, 2, 8, 8, 3))
  (found,) = updates["batch_stats"].values()
  expected = 0.5 * IMAGES.mean((0, 1, 2))
  for mean in found["mean"]:
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


class Without(nn.Module):
  @nn.compact
  def __call__(self, images):
    return images


class Counting(Own):
  @nn.compact
  def __call__(self, images, *, train):
    self.variable("cache", "calls", lambda: 0)
    return Own(5)(images, train=train, mask=None, image_rngs=None)


@pytest.mark.parametrize(
  "module, message",
  [
    (Own, "model is Own; expected an instance of a Flax Linen module"),
    (nnx.Linear(2, 3, rngs=nnx.Rngs(0)), "Linear'>; expected an instance of"),
    (Without(), r"Without, whose __call__ takes images; expected __call__\(im"),
    (Counting(), "variables are .*cache.*; expected params and, where it"),
    (Own(7), r"Own, which gives \[1, 7\] for one image of 8 x 8 pix.*\[1, 5\]"),
  ],
)
def test_network_that_can_not_be_trained_is_refused(module, message):
  with pytest.raises(ValueError, match=message):
    Given(module).check(image_size=8, num_classes=5)


def test_network_that_fits_passes_the_check():
  Given(Own()).check(image_size=8, num_classes=5)
  shapes = jax.eval_shape(
    functools.partial(Given(Own()).init, train=False),
    jax.random.key(0),
    IMAGES,
  )
  assert shapes.keys() == {"params", "batch_stats"}
