"""The interface of all readers, which turn requests into images.

Files are read by tf.data (tf_reader.py) or, where TensorFlow is not installed,
by Pillow on a pool of threads (pillow_reader.py). Both give the same pixels.
"""

import dataclasses
import os
import pathlib
from collections.abc import Generator, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from blt_jax.data.reading import crops, decode


class Request(NamedTuple):
  """An image that is wanted.

  Attributes:
    source: path of a file, its content, or a decoded image uint8 [h, w, 3];
      the reader knows which of them.
    draws: float64 [22] of `crops.crop_draws` for a random crop, else empty.
  """

  source: Any
  draws: np.ndarray = np.empty(0)


class Unreadable(NamedTuple):
  """The result for an image that can't be read.

  Attributes:
    reason: why, without the image's name: "No such file or directory".
  """

  reason: str


Image = np.ndarray | Unreadable
"""uint8 [h, w, 3], of the size that the rule gives, or the reason why not."""


@dataclasses.dataclass(frozen=True)
class RandomCrop:
  """Makes random resized crops of images, as in training.

  Attributes:
    size: s, side of the result in pixels.
    ratio: range of width / height, for images in which no try fits.
    canvas: m >= s: a crop that fits into m pixels in both directions is not
      resized; None resizes all of them.
    interpolation: one of `crops.INTERPOLATIONS`.
  """

  size: int
  ratio: tuple[float, float]
  canvas: int | None = None
  interpolation: str = "bilinear"

  @property
  def side(self) -> int:
    """Longest side of a finished image, in pixels."""
    return self.canvas or self.size

  def window(
    self, height: int, width: int, draws: np.ndarray
  ) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of an image to use."""
    return crops.place_crop(height, width, draws, ratio=self.ratio)

  def finish(self, cut: np.ndarray) -> np.ndarray:
    """Resizes what was cut out, uint8 [h, w, 3]."""
    if self.canvas is not None and max(cut.shape[:2]) <= self.canvas:
      return cut
    return crops.resize(
      cut, self.size, self.size, interpolation=self.interpolation
    )


@dataclasses.dataclass(frozen=True)
class CentreCrop:
  """Resizes the short side and crops the centre, as in evaluation.

  Attributes:
    side: s, of the result in pixels, <= resize_size.
    resize_size: length of the short side before the crop.
    interpolation: one of `crops.INTERPOLATIONS`.
  """

  side: int
  resize_size: int
  interpolation: str = "bilinear"
  canvas: ClassVar[None] = None

  def window(
    self, height: int, width: int, draws: np.ndarray
  ) -> tuple[int, int, int, int]:
    """The whole image, because it is resized before it is cropped."""
    del draws
    return 0, 0, height, width

  def finish(self, cut: np.ndarray) -> np.ndarray:
    """Resizes and crops the whole image, uint8 [h, w, 3]."""
    return crops.resize_and_crop(
      cut,
      image_size=self.side,
      resize_size=self.resize_size,
      interpolation=self.interpolation,
    )


Rule = RandomCrop | CentreCrop


def crop(image: np.ndarray, draws: np.ndarray, *, rule: Rule) -> np.ndarray:
  """Applies a rule to a decoded image, uint8 [h, w, 3]."""
  height, width = image.shape[:2]
  y, x, h, w = rule.window(height, width, draws)
  return rule.finish(image[y : y + h, x : x + w])


def decode_source(
  source: bytes, decoding: decode.Decoding, *, encoded: bool
) -> Image:
  """Decodes a whole image from a path, or from a file's content (`encoded`)."""
  try:
    if not encoded:
      source = pathlib.Path(os.fsdecode(source)).read_bytes()
    return decode.decode_rgb(source, decoding)
  except OSError as error:
    return Unreadable(str(error.strerror))
  except decode.ImageError as error:
    return Unreadable(str(error))


class Reader(Protocol):
  """Reads images by a rule that it was made with."""

  def read(self, requests: Iterable[Request]) -> Generator[Image]:
    """Reads many images on several threads.

    Args:
      requests: an iterable that is read ahead of the images, maybe from another
        thread. Its exceptions are raised here.

    Yields:
      An Image for each request, in order.
    """

  def read_one(self, request: Request) -> Image:
    """Reads a single image in the caller's thread."""


class ArrayReader:
  """Implements Reader for images that are decoded already."""

  def __init__(self, rule: Rule):
    """Crops and resizes by a rule."""
    self._rule = rule

  def read(self, requests: Iterable[Request]) -> Generator[Image]:
    """See Reader."""
    for request in requests:
      yield self.read_one(request)

  def read_one(self, request: Request) -> Image:
    """See Reader."""
    return crop(request.source, request.draws, rule=self._rule)
