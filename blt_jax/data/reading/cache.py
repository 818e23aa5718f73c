"""Keeps in memory what is the same in every epoch and cheap to hold.

These are the small images of training, decoded but not cropped, and the batches
of evaluation.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading.reader import Unreadable, decode_source
from blt_jax.data.reading.substitutes import sources
from blt_jax.data.threads import cores, in_order

MOST_BYTES = 512 * 2**20
"""What a split may take; a larger one is read anew in every epoch."""

MOST_PIXELS = 96 * 96
"""Largest image that is decoded for good: of a larger one it is faster to
decode a crop than to hold all of it."""

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

  Returns:
    The same images in memory if all of them are sound, of one size, and within
    MOST_PIXELS and MOST_BYTES; else the split as it is.
  """
  if split.images is not None or not len(split):
    return split
  decode = functools.partial(
    decode_source,
    encoded=split.paths is None,
    max_pixels=min(max_pixels, MOST_PIXELS),
  )
  decoded = in_order(decode, _all_sources(split), num_threads=cores())
  images = None
  with contextlib.closing(decoded):
    for row, image in enumerate(decoded):
      if isinstance(image, Unreadable):
        return split  # A reader says which image it is, and goes on.
      if images is None:
        if len(split) * image.nbytes > MOST_BYTES:
          return split
        images = np.empty((len(split), *image.shape), np.uint8)
      if image.shape != images.shape[1:]:
        return split
      images[row] = image
  return Split(split.labels, images=images)


def _all_sources(split: Split) -> Iterator[bytes]:
  """Paths or contents of all images; records are read some at a time."""
  for rows in np.array_split(np.arange(len(split)), -(-len(split) // 256)):
    yield from sources(split, rows)
