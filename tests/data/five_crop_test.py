"""Five crops of an image, and the mean of their logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.data import five_crop


def _crops(image, size):
  """Of one image, as torchvision's five_crop cuts them."""
  height, width = image.shape[:2]
  y, x = round((height - size) / 2), round((width - size) / 2)
  return [
    image[:size, :size],
    image[:size, width - size :],
    image[height - size :, :size],
    image[height - size :, width - size :],
    image[y : y + size, x : x + size],
  ]


@pytest.mark.parametrize("side, size", [(11, 8), (10, 8), (9, 8), (8, 8)])
def test_crops_are_the_corners_and_the_centre(side, size):
  images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3))
  found = np.asarray(five_crop.five_crops(jnp.asarray(images), size))
  assert found.shape == (3, 5, size, size, 3)
  for number, image in enumerate(images):
    np.testing.assert_array_equal(found[number], _crops(image, size))


def test_logits_are_the_mean_over_the_crops():
  rng = np.random.default_rng(1)
  images = rng.normal(size=(4, 11, 11, 3)).astype(np.float32)
  weights = rng.normal(size=(8 * 8 * 3, 6)).astype(np.float32)

  def logits_fn(crops):
    return jnp.tanh(crops.reshape(len(crops), -1) @ weights)

  found = jax.jit(lambda images: five_crop.mean_logits(logits_fn, images, 8))(
    images
  )
  for image, logits in zip(images, found, strict=True):
    each = [np.tanh(crop.reshape(-1) @ weights) for crop in _crops(image, 8)]
    np.testing.assert_allclose(logits, np.mean(each, axis=0), atol=1e-5)
