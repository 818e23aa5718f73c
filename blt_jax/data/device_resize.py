"""Resizes crops on the device to the same pixels as Pillow.

Resizing is a third of the host's work for a training image, but only two small
matrix products for the device. So crops can go to the device unresized, each in
the upper left corner of a square canvas.
"""

import jax
import jax.numpy as jnp

CANVAS_SCALE = 2
"""A canvas's side over the result's. A few percent of ImageNet's crops do not
fit into it; the host resizes those, which gives the same pixels."""

# Longest canvas, in pixels and in multiples of the result's side, for which the
# whole numbers below stay within 24 and 32 bits.
_LONGEST, _LARGEST_RATIO = 8192, 16

# Half of a weight's 22 bits.
_HALF = 11


def resize_crops(
  canvases: jax.Array, extents: jax.Array, size: int
) -> jax.Array:
  """Resizes as `reading.crops.resize` does, to the same bytes.

  The filter is bilinear and antialiased. Rows are resized first and rounded to
  bytes, then columns. Pillow from version 13 on may begin with the columns; its
  values differ by at most 1.

  Args:
    canvases: uint8 [n, m, m, 3], m at most 8192 and 16 s; an image lies in the
      upper left corner of its canvas, and what lies around it plays no part.
    extents: int32 [n, 2], height and width of the images, 1..m.
    size: s, side of the result in pixels.

  Returns:
    uint8 [n, s, s, 3].

  Raises:
    ValueError: the canvases are too large.
  """
  side = canvases.shape[1]
  weights = jax.vmap(resize_weights, in_axes=(0, None, None))
  rows = weights(extents[:, 0], side, size)
  columns = weights(extents[:, 1], side, size)
  images = _weigh("nxi,nyic->nyxc", columns, canvases)
  return _weigh("nyj,njxc->nyxc", rows, images)


def resize_weights(length: jax.Array, side: int, size: int) -> jax.Array:
  """The weight of each pixel of a line in each pixel of the resized line.

  The triangle filter, as wide as a pixel of the result where that is larger
  than one of the line (antialiasing): for r = length / size and the centre
  c = (k + 1/2) r of result k, pixel i < length has the weight
  max(0, 1 - |i + 1/2 - c| / max(r, 1)), scaled so that their sum is 1.

  Args:
    length: int32 scalar, pixels of the line, 1..side.
    side: pixels of the canvas, at most 8192 and 16 times `size`.
    size: pixels of the result.

  Returns:
    int32 [size, side]; 2^22 stands for 1, and each is rounded, as in Pillow.

  Raises:
    ValueError: the canvas is too large.
  """
  largest = min(_LONGEST, _LARGEST_RATIO * size)
  if side > largest:
    raise ValueError(
      f"the canvas's side is {side} pixels for images of {size}; expected "
      f"{largest} or fewer."
    )
  # Everything is multiplied by 2 size max(r, 1), which makes it whole numbers.
  centres = (2 * jnp.arange(size) + 1) * length
  pixels = jnp.arange(side)
  distance = jnp.abs((2 * pixels[None, :] + 1) * size - centres[:, None])
  weights = jnp.maximum(2 * jnp.maximum(length, size) - distance, 0)
  weights = jnp.where(pixels[None, :] < length, weights, 0)
  total = weights.sum(axis=1, keepdims=True)
  # 2^22 weights / total in two steps: the product has over 32 bits.
  high, rest = jnp.divmod(weights << _HALF, total)
  low, rest = jnp.divmod(rest << _HALF, total)
  return (high << _HALF) + low + (2 * rest >= total)


def _weigh(equation: str, weights: jax.Array, images: jax.Array) -> jax.Array:
  """Weighted means of bytes, rounded to bytes; exact.

  Matrix units have no fast 32-bit integers, but sums of bytes times 11 bits are
  exact in float32, even with inputs cut to the 11 bits of TF32.
  """
  images = images.astype(jnp.float32)
  # HIGH: TF32 or better on a GPU, and on a TPU more than one bfloat16.
  high, low = (
    jnp.einsum(
      equation,
      part.astype(jnp.float32),
      images,
      precision=jax.lax.Precision.HIGH,
    ).astype(jnp.int32)
    for part in (weights >> _HALF, weights & (2**_HALF - 1))
  )
  half = 1 << (2 * _HALF - 1)
  return (((high << _HALF) + low + half) >> (2 * _HALF)).astype(jnp.uint8)
