"""Reads images with Pillow on a pool of threads; needs no TensorFlow."""

from collections.abc import Generator, Iterable

from blt_jax.data.reading.decode import Decoding
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
    self, rule: Rule, decoding: Decoding, *, encoded: bool, num_threads: int
  ):
    """Reads nothing yet.

    Args:
      rule: what to make of each image.
      decoding: how files become RGB.
      encoded: whether sources are contents of files; else they are paths.
      num_threads: threads that read and decode.
    """
    self._rule, self._decoding = rule, decoding
    self._encoded, self._num_threads = encoded, num_threads

  def read(self, requests: Iterable[Request]) -> Generator[Image]:
    """See Reader."""
    return in_order(self.read_one, requests, num_threads=self._num_threads)

  def read_one(self, request: Request) -> Image:
    """See Reader."""
    image = decode_source(request.source, self._decoding, encoded=self._encoded)
    if isinstance(image, Unreadable):
      return image
    return crop(image, request.draws, rule=self._rule)
