"""Reads images with Pillow on a pool of threads; needs no TensorFlow."""

from collections.abc import Generator, Iterable

from blt_jax.data.reading.reader import (
  Image,
  Request,
  Rule,
  Unreadable,
  crop,
  decode_source,
)
from blt_jax.data.threads import in_order


class PillowReader:
  """Implements `reader.Reader`."""

  def __init__(
    self, rule: Rule, *, encoded: bool, max_pixels: int, num_threads: int
  ):
    """Reads nothing yet.

    Args:
      rule: what to make of each image.
      encoded: whether sources are contents of files; else they are paths.
      max_pixels: a larger image counts as unreadable.
      num_threads: threads that read and decode.
    """
    self._rule, self._encoded = rule, encoded
    self._max_pixels, self._num_threads = max_pixels, num_threads

  def read(self, requests: Iterable[Request]) -> Generator[Image]:
    """See Reader."""
    return in_order(self.read_one, requests, num_threads=self._num_threads)

  def read_one(self, request: Request) -> Image:
    """See Reader."""
    image = decode_source(
      request.source, encoded=self._encoded, max_pixels=self._max_pixels
    )
    if isinstance(image, Unreadable):
      return image
    return crop(image, request.draws, rule=self._rule)
