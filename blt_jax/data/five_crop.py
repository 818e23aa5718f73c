"""Five crops of an image, on the device: its corners and its centre."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from blt_jax.data.reading.crops import centre_offset

VIEWS = 5
"""Images that the network sees for one."""


def five_crops(images: jax.Array, size: int) -> jax.Array:
  """Upper left, upper right, lower left, lower right, centre.

  Args:
    images: [n, m, m, c], m >= size.
    size: s, side of a crop in pixels.

  Returns:
    [n, VIEWS, s, s, c].
  """
  end = images.shape[1] - size
  middle = centre_offset(images.shape[1], size)
  places = ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))
  crops = [images[:, y : y + size, x : x + size] for y, x in places]
  return jnp.stack(crops, axis=1)


def mean_logits(
  logits_fn: Callable[[jax.Array], jax.Array], images: jax.Array, size: int
) -> jax.Array:
  """The mean of a network's logits over five crops of each image.

  Args:
    logits_fn: float32 [n, s, s, 3] -> float32 [n, C].
    images: float32 [n, m, m, 3], m >= s.
    size: s, side of a crop in pixels.

  Returns:
    float32 [n, C].

  References:
    The test-time ensembling of Shi et al., Long-Tail Learning with Foundation
    Model: Heavy Fine-Tuning Hurts (LIFT), ICML 2024; their trainer.py averages
    logits, not probabilities. It takes the corners of the whole image, which
    need not be a square.
  """
  crops = five_crops(images, size)
  # The network sees them as VIEWS n images, which every export knows how to
  # write (ONNX has no loop over networks), and which keep to their device.
  logits = logits_fn(crops.reshape(-1, *crops.shape[2:]))
  return logits.reshape(images.shape[0], VIEWS, -1).mean(axis=1)
