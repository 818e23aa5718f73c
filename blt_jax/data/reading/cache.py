"""Keeps images in memory that would be read again in every epoch.

These are the small images of training, decoded but not cropped, and the batches
of evaluation.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading.decode import DEFAULT, Decoding
from blt_jax.data.reading.reader import Unreadable, decode_source
from blt_jax.data.reading.substitutes import sources
from blt_jax.data.threads import cores, in_order

MOST_BYTES = 512 * 2**20
"""Most bytes of a split in memory; a larger one is read in every epoch."""

MOST_PIXELS = 96 * 96
"""Most pixels of an image that is decoded whole and kept. Of a larger image it
is faster to decode only the crop each time."""

T = TypeVar("T")


class Replayed(Generic[T]):
  """Batches that are read once and kept in memory, if they fit."""

  def __init__(self, read: Callable[[], Iterator[T]], *, nbytes: int):
    """Reads nothing yet.

    Args:
      read: gives the batches, the same ones each time.
      nbytes: size of all batches together.
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


def in_memory(split: Split, decoding: Decoding = DEFAULT) -> Split:
  """Decodes a split of small images, so that every epoch is read faster.

  Reading small files takes longer than everything after it: decoded, 2478
  images of 32 x 32 pixels pass the pipeline seven times as fast.

  Args:
    split: the images.
    decoding: how files become RGB.

  Returns:
    The same images in memory if all of them are sound, of one size, and within
    MOST_PIXELS and MOST_BYTES; else the split as it is.
  """
  if split.images is not None or not len(split):
    return split
  decode = functools.partial(
    decode_source,
    decoding=dataclasses.replace(
      decoding, max_pixels=min(decoding.max_pixels, MOST_PIXELS)
    ),
    encoded=split.paths is None,
  )
  decoded = in_order(decode, _all_sources(split), num_threads=cores())
  images = None
  with contextlib.closing(decoded):
    for row, image in enumerate(decoded):
      if isinstance(image, Unreadable):
        return split  # The reader handles unreadable images, and names them.
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
