"""Depthwise convolutions as sums of shifted products, which CPUs are fast at.

    y[o, p, c] = sum_ij x[o s + i, p s + j, c] k[i, j, c]

XLA on CPU computes these, and more so their gradients, in naive loops. Here
every term of the sum over i and j is one product of arrays, and XLA makes one
vectorised loop of all of them (docs/performance.md has what that gains). All
sums are taken in float32 at least. Images are NHWC, kernels [kh, kw, 1, c].
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Strides = tuple[int, int]
Padding = tuple[tuple[int, int], tuple[int, int]]

# The terms are written out: a program of a larger kernel would compile slowly.
_MOST_TERMS = 49
# Of the kernel's gradient, in one loop's body; and rows of one of its sums.
_MOST_PRODUCTS, _MOST_ROWS = 400, 32
# Pixels times channels of an image of which two at a time stay in the cache.
_SMALL_IMAGE = 200_000


def applies(
  images: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  groups: int,
) -> bool:
  """Whether a convolution is one for this file: depthwise, of size 7 at most.

  Those with several filters a channel are not, nor those without any output.
  """
  height, width, _, filters = kernel.shape
  return (
    groups == filters == images.shape[3]
    and height * width <= _MOST_TERMS
    and min(_output_size(images, kernel, strides, padding)) > 0
    and images.dtype == kernel.dtype
    and jnp.issubdtype(images.dtype, jnp.floating)
  )


def convolve(
  images: jax.Array, kernel: jax.Array, strides: Strides, padding: Padding
) -> jax.Array:
  """`lax.conv_general_dilated` for a kernel [kh, kw, 1, c]."""
  size = _output_size(images, kernel, strides, padding)
  # Otherwise XLA would compute what made the images once for every term.
  images = lax.optimization_barrier(_pad(images, padding))
  terms = (
    _product(_shifted(images, (i, j), size, strides), _tap(kernel, i, j))
    for i, j in itertools.product(*map(range, kernel.shape[:2]))
  )
  return _total(terms).astype(images.dtype)


def image_gradient(
  gradient: jax.Array,
  kernel: jax.Array,
  size: tuple[int, int],
  strides: Strides,
  padding: Padding,
) -> jax.Array:
  """The gradient [n, *size, c] of the images from that of the output.

  Pixel s q + a meets the terms i of the kernel with i = a + low modulo s, in
  row q + (a + low - i) / s of the output: pixels of each remainder a are
  computed by themselves and then put in turn.
  """
  (border, rows, downs), (edge, columns, rights) = (
    _remainders(
      strides[axis],
      padding[axis][0],
      terms=kernel.shape[axis],
      pixels=size[axis],
      rows=gradient.shape[1 + axis],
    )
    for axis in range(2)
  )
  gradient = lax.optimization_barrier(_pad(gradient, (border, edge)))
  n, _, _, channels = gradient.shape

  def phase(down, right) -> jax.Array:
    """Every pixel of one remainder in height and one in width."""
    terms = [
      _product(
        _shifted(gradient, (y, x), (rows, columns), (1, 1)), _tap(kernel, i, j)
      )
      for (i, y), (j, x) in itertools.product(down, right)
    ]
    if not terms:
      return jnp.zeros((n, rows, columns, channels), gradient.dtype)
    return _total(terms).astype(gradient.dtype)

  if strides == (1, 1):
    return phase(downs[0], rights[0])
  lines = [
    jnp.stack([phase(down, right) for right in rights], axis=3)
    for down in downs
  ]
  whole = jnp.stack(lines, axis=2)  # [n, rows, s, columns, s, c]
  whole = whole.reshape(n, rows * strides[0], columns * strides[1], channels)
  return whole[:, : size[0], : size[1]]


def _remainders(
  stride: int, low: int, *, terms: int, pixels: int, rows: int
) -> tuple[tuple[int, int], int, list[list[tuple[int, int]]]]:
  """How one axis of an image's gradient follows from that of the output.

  Args:
    stride: s of the convolution.
    low: its padding above, or on the left.
    terms: the kernel's size.
    pixels: of the image.
    rows: of the output.

  Returns:
    (rows of zeros to put around those of the output's gradient, pixels of each
    remainder, for each remainder its terms of the kernel with the row of the
    padded gradient where the first pixel meets them).
  """
  shifts = [
    [
      (i, (a + low - i) // stride)
      for i in range((a + low) % stride, terms, stride)
    ]
    for a in range(stride)
  ]
  every = [shift for each in shifts for _, shift in each]
  count, above = -(-pixels // stride), max(0, -min(every))
  below = max(0, count + max(every) - rows)
  starts = [[(i, above + shift) for i, shift in each] for each in shifts]
  return (above, below), count, starts


def kernel_gradient(
  images: jax.Array,
  gradient: jax.Array,
  size: tuple[int, int],
  strides: Strides,
  padding: Padding,
) -> jax.Array:
  """The gradient [*size, 1, c] of the kernel from that of the output.

  One or two images at a time, which stay in the cache meanwhile. For each term
  of the kernel the products of all their rows are added in one loop, which
  leaves sums [images, columns, c]; adding these up is a product of matrices.
  """
  n, height, width, channels = gradient.shape
  pair = 2 if n % 2 == 0 and height * width * channels <= _SMALL_IMAGE else 1

  def in_pairs(array):
    return array.reshape(n // pair, pair, *array.shape[1:])

  def add(total, arrays):
    return total + _of_pair(arrays[0], arrays[1], size, strides, padding), None

  total = jnp.zeros((*size, channels), _wide(gradient))
  total, _ = lax.scan(add, total, (in_pairs(images), in_pairs(gradient)))
  return total[:, :, None].astype(images.dtype)


def _of_pair(
  images: jax.Array,
  gradient: jax.Array,
  size: tuple[int, int],
  strides: Strides,
  padding: Padding,
) -> jax.Array:
  """The gradient [*size, c] of the kernel from these images alone."""
  n, height, width, channels = gradient.shape
  blocks = -(-height // _MOST_ROWS)
  rows = -(-height // blocks)
  extra = blocks * rows - height  # Rows of zeros, to fill the last block.
  (top, bottom), sides = padding
  images = lax.optimization_barrier(
    _pad(images, ((top, bottom + extra * strides[0]), sides))
  )
  if extra:
    gradient = lax.optimization_barrier(_pad(gradient, ((0, extra), (0, 0))))
  # A loop over the kernel's rows, where all in one would compile for long.
  together = size[0] if math.prod(size) * rows <= _MOST_PRODUCTS else 1
  ones = jnp.ones((1, n * width), _wide(gradient))

  def sums(place):
    """Of some rows of the kernel, [*, c], and a block of rows of images."""
    block, row = place
    part = lax.dynamic_slice_in_dim(gradient, block * rows, rows, axis=1)
    seen = lax.dynamic_slice_in_dim(
      images,
      block * rows * strides[0] + row,
      (rows - 1) * strides[0] + together,
      axis=1,
    )
    found = []
    for i, j in itertools.product(range(together), range(size[1])):
      shifted = _shifted(seen, (i, j), (rows, width), strides)
      products = (
        _product(_row(shifted, q), _row(part, q)) for q in range(rows)
      )
      found.append(_total(products).reshape(-1, channels))
    side_by_side = lax.optimization_barrier(jnp.concatenate(found, axis=1))
    return (ones @ side_by_side).reshape(-1, channels)

  if blocks == 1 and together == size[0]:
    return sums((0, 0)).reshape(*size, channels)
  places = jnp.meshgrid(
    jnp.arange(blocks), jnp.arange(0, size[0], together), indexing="ij"
  )
  each = lax.map(sums, tuple(place.ravel() for place in places))
  return each.reshape(blocks, *size, channels).sum(0)


def _output_size(
  images: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
) -> tuple[int, int]:
  """Height and width of a convolution's output."""
  height, width = (
    (images.shape[1 + axis] + sum(padding[axis]) - kernel.shape[axis])
    // strides[axis]
    + 1
    for axis in range(2)
  )
  return height, width


def _pad(images: jax.Array, padding: Padding) -> jax.Array:
  """Zeros around the images; fewer pixels where a padding is negative."""
  zero = jnp.zeros((), images.dtype)
  borders = [(low, high, 0) for low, high in padding]
  return lax.pad(images, zero, [(0, 0, 0), *borders, (0, 0, 0)])


def _shifted(
  images: jax.Array,
  start: tuple[int, int],
  size: tuple[int, int],
  strides: Strides,
) -> jax.Array:
  """Every pixel that the strides meet from `start` on: [n, *size, c]."""
  n, _, _, channels = images.shape
  y, x = start
  ends = (
    y + (size[0] - 1) * strides[0] + 1,
    x + (size[1] - 1) * strides[1] + 1,
  )
  return lax.slice(images, (0, y, x, 0), (n, *ends, channels), (1, *strides, 1))


def _tap(kernel: jax.Array, i: int, j: int) -> jax.Array:
  """One weight of every channel, [1, 1, 1, c]."""
  return lax.slice(kernel, (i, j, 0, 0), (i + 1, j + 1, 1, kernel.shape[3]))


def _row(images: jax.Array, y: int) -> jax.Array:
  """[n, 1, w, c]."""
  return lax.slice_in_dim(images, y, y + 1, axis=1)


def _wide(values: jax.Array) -> Any:
  """The type that sums of such values are taken in."""
  return jnp.promote_types(values.dtype, jnp.float32)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
  return a.astype(_wide(a)) * b.astype(_wide(b))


def _total(terms: Iterable[jax.Array]) -> jax.Array:
  """Their sum, from the first to the last."""
  first, *others = terms
  return sum(others, start=first)
