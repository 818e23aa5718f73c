"""Decodes image files of all formats to RGB with Pillow.

If TensorFlow is installed, it decodes most JPEG files of three or one
components to the same bits (tf_reader.py); this module decodes everything else.
"""

import dataclasses
import functools
import io
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MAX_PIXELS = 178_956_970
"""Largest width times height; Pillow refuses larger images."""

_PILLOWS = re.compile(r"PIL\.")


@dataclasses.dataclass(frozen=True)
class Decoding:
  """How files become RGB; the same for all images of a data set.

  Attributes:
    max_pixels: largest width times height that is decoded.
    background: red, green and blue, 0..255, that lie under transparent pixels.
    exif_orientation: whether images are turned and mirrored as their EXIF data
      say, as cameras and telephones expect it.
    grey_range: (low, high), the values that become black and white in grey
      images of more than 8 bits, also of floats; those beyond are cut. None
      refuses such images.
  """

  max_pixels: int = MAX_PIXELS
  background: tuple[int, int, int] = (255, 255, 255)
  exif_orientation: bool = False
  grey_range: tuple[float, float] | None = None


DEFAULT = Decoding()
"""8 bits, white below transparent pixels, turned as stored."""


def grey_range(values: Sequence[float]) -> tuple[float, float] | None:
  """`Decoding.grey_range` of a list of two values or none."""
  return (values[0], values[1]) if values else None


class Header(NamedTuple):
  """The facts about an image that its file tells before it is decoded.

  Attributes:
    format: Pillow's name of the format, "JPEG" or "PNG" for example.
    mode: Pillow's name of the pixel format, "RGB", "L" or "CMYK" for example.
    width: pixels.
    height: pixels.
    transparent: whether there is an alpha channel or a transparent colour; all
      pixels may be opaque nevertheless.
  """

  format: str
  mode: str
  width: int
  height: int
  transparent: bool = False

  @property
  def deep(self) -> bool:
    """Whether it is grey of more than 8 bits: `Decoding.grey_range` counts."""
    return _is_deep(self.mode)


class ImageError(ValueError):
  """An image that can't be read; the message is the reason, without a path."""


def read_header(data: bytes) -> Header:
  """Format, mode and size of an encoded image.

  Raises:
    ImageError: Pillow knows no such format.
  """
  with _open(data) as image:
    clear = image.has_transparency_data
    width, height = image.size
    return Header(image.format or "", image.mode, width, height, clear)


def decode_rgb(data: bytes, decoding: Decoding = DEFAULT) -> np.ndarray:
  """Decodes an image of any format to RGB.

  Grey of 8 bits is repeated, palettes are looked up, CMYK is converted, of
  colours with 16 bits the upper 8 are taken, and an animation gives its first
  frame; all as Pillow's `convert("RGB")` does. Transparent pixels are laid over
  `background`, where Pillow drops their transparency; grey of more than 8 bits
  is scaled by `grey_range`, where Pillow clips it at 255.

  Args:
    data: content of a file; its name plays no part.
    decoding: how to read it.

  Returns:
    uint8 [h, w, 3].

  Raises:
    ImageError: not an image, damaged, larger than max_pixels, or deeper than 8
      bits where there is no grey_range.
  """
  with _open(data) as image:
    check_pixels(image.width * image.height, decoding.max_pixels)
    if _is_deep(image.mode) and decoding.grey_range is None:
      raise ImageError(
        f"grey of more than 8 bits ({image.mode}), and none of the training "
        "images looked at was; expected 8 bits, or dataset.grey_range=LOW,HIGH"
      )
    try:
      image.load()
      if decoding.exif_orientation:
        image = _turned(image)
      if _is_deep(image.mode):
        return _grey_rgb(image, decoding)
      if image.has_transparency_data:
        image = _over(image, decoding.background)
      return np.array(image.convert("RGB"))
    # Pillow's decoders raise anything on damaged data.
    except Exception as error:
      raise ImageError(f"damaged: {error}") from error


def deep_values(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """The values of a grey image of more than 8 bits, as they are stored.

  Returns:
    [h, w] of whole numbers or floats; floats may be NaN or infinite.

  Raises:
    ImageError: not an image, damaged, or larger than max_pixels.
  """
  with _open(data) as image:
    check_pixels(image.width * image.height, max_pixels)
    try:
      return np.asarray(image)
    except Exception as error:
      raise ImageError(f"damaged: {error}") from error


def has_clear_pixels(data: bytes) -> bool:
  """Whether a pixel of an image is less than opaque; False if unreadable."""
  try:
    with _open(data) as image:
      if _is_deep(image.mode) or not image.has_transparency_data:
        return False
      return image.convert("RGBA").getextrema()[3][0] < 255
  except Exception:  # The readers name damaged images.
    return False


def is_turned(data: bytes) -> bool:
  """Whether EXIF data ask for another orientation than the stored one."""
  # Most images hold none of these, and parsing a header takes time.
  if not any(mark in data for mark in _ORIENTATION_MARKS):
    return False
  try:
    with _open(data) as image:
      return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
  except Exception:  # Damaged EXIF data leave the image as it is.
    return False


def check_pixels(pixels: int, max_pixels: int) -> None:
  """Raises ImageError if there are more pixels than allowed."""
  if pixels > max_pixels:
    raise ImageError(f"{pixels} pixels; expected {max_pixels} or fewer")


_ORIENTATION = 0x0112  # EXIF tag.
# EXIF data of JPEG, PNG and WebP; programs also write it in XMP.
_ORIENTATION_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation")


def _is_deep(mode: str) -> bool:
  """Whether a mode is grey of 16 or 32 bits, whole numbers or floats."""
  return mode.startswith(("I", "F"))


def _grey_rgb(image: Any, decoding: Decoding) -> np.ndarray:
  """Deep grey as uint8 [h, w, 3]."""
  assert decoding.grey_range is not None
  low, high = decoding.grey_range
  values = np.asarray(image)
  scaled = (values.astype(np.float64) - low) * (255 / (high - low))
  # A float that is no number becomes black, one that is infinite white.
  grey = np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
  rgb = np.repeat(grey[..., None], 3, axis=-1)
  clear = image.info.get("transparency")
  if isinstance(clear, int):
    rgb[values == clear] = decoding.background
  return rgb


def _over(image: Any, background: tuple[int, int, int]) -> Any:
  """A transparent image laid over a colour: a PIL.Image.Image in RGB."""
  rgba = image.convert("RGBA")
  below = _pillow().new("RGB", image.size, background)
  below.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
  return below


def _turned(image: Any) -> Any:
  """An image as its EXIF data say; damaged data leave it as it is."""
  from PIL import ImageOps

  try:
    return ImageOps.exif_transpose(image)
  except Exception:
    return image


@functools.cache
def _pillow() -> Any:
  """PIL.Image, imported on its first use: the library does without Pillow."""
  from PIL import Image

  # Its remarks do not name the file; what matters becomes an ImageError.
  logging.getLogger("PIL").setLevel(logging.CRITICAL)
  return Image


def _open(data: bytes) -> Any:
  """A PIL.Image.Image that is not decoded yet."""
  Image = _pillow()
  _ignore_warnings()
  try:
    return Image.open(io.BytesIO(data))
  # A program may have turned the warning into an error.
  except (
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    raise ImageError(str(error)) from error
  except Exception as error:
    raise ImageError("not an image that can be read") from error


def _ignore_warnings() -> None:
  """Silences Pillow's warnings, which do not name the file.

  Looked at each time, because programs (and tests) take filters back.
  """
  entry = ("ignore", None, Warning, _PILLOWS, 0)
  if entry not in warnings.filters:
    warnings.filterwarnings("ignore", module=_PILLOWS.pattern)
