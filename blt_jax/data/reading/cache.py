"""Keeps in memory what is the same in every epoch and cheap to hold.

These are the small images of training, decoded but not cropped, and the batches
of evaluation.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading.pillow_reader import decode_source
from blt_jax.data.reading.reader import Image, Unreadable
from blt_jax.data.reading.substitutes import sources

MOST_BYTES = 512 * 2**20
"""What a split may take; a larger one is read anew in every epoch."""

MOST_PIXELS = 96 * 96
"""Largest image that is decoded for good: of a larger one it is faster to
decode a crop than to hold all of it."""

# Images that are decoded before their shapes are looked at.
_AT_ONCE = 256

T = TypeVar("T")


class Replayed(Generic[T]):
  """Batches that are read once and then come from memory, if they fit in."""

  def __init__(self, read: Callable[[], Iterator[T]], *, nbytes: int):
    """Reads nothing yet.

    Args:
      read: gives the batches, the same ones each time.
      nbytes: what all of them take.
    """
    self._read, self._fits = read, nbytes <= MOST_BYTES
    self._kept: list[T] | None = None

  def __iter__(self) -> Iterator[T]:
    if self._kept is not None:
      yield from self._kept
      return
    kept = []
    for batch in self._read():
      if self._fits:
        kept.append(batch)
      yield batch
    if self._fits:
      self._kept = kept


def in_memory(split: Split, *, max_pixels: int = MOST_PIXELS) -> Split:
  """Decodes a split where that is cheap, so that every epoch is fed faster.

  To read such images one by one takes longer than all that follows; decoded,
  2478 images of 32 x 32 pixels pass the pipeline seven times as fast.

  Args:
    split: of any kind.
    max_pixels: largest width times height of an image that may be decoded.

  Returns:
    The same images in memory if all of them are sound, of one size, and within
    MOST_PIXELS and MOST_BYTES; else the split as it is.
  """
  if split.images is not None or not len(split):
    return split
  most = min(max_pixels, MOST_PIXELS)
  first = _decode(split, np.arange(1), most)[0]
  if isinstance(first, Unreadable) or len(split) * first.nbytes > MOST_BYTES:
    return split
  images = np.empty((len(split), *first.shape), np.uint8)
  for start in range(0, len(split), _AT_ONCE):
    rows = np.arange(start, min(start + _AT_ONCE, len(split)))
    for row, image in zip(rows, _decode(split, rows, most), strict=True):
      if isinstance(image, Unreadable) or image.shape != first.shape:
        return split  # A reader says which image is unreadable, and goes on.
      images[row] = image
  return Split(split.labels, images=images)


def _decode(split: Split, rows: np.ndarray, max_pixels: int) -> list[Image]:
  """Whole images of some rows."""
  decode = functools.partial(
    decode_source, encoded=split.paths is None, max_pixels=max_pixels
  )
  with concurrent.futures.ThreadPoolExecutor() as pool:
    return list(pool.map(decode, sources(split, rows)))
