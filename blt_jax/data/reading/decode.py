"""Decodes image files of all formats to RGB with Pillow, as is usual.

If TensorFlow is installed, it decodes JPEG files of three or one components to
the same bits (tf_reader.py); this module decodes everything else.
"""

import functools
import io
import warnings
from typing import Any, NamedTuple

import numpy as np

MAX_PIXELS = 178_956_970
"""Largest width times height; Pillow refuses larger images."""


class Header(NamedTuple):
  """The facts about an image that its file tells before it is decoded.

  Attributes:
    format: Pillow's name of the format, "JPEG" or "PNG" for example.
    mode: Pillow's name of the pixel format, "RGB", "L" or "CMYK" for example.
    width: pixels.
    height: pixels.
  """

  format: str
  mode: str
  width: int
  height: int


class ImageError(ValueError):
  """An image that can't be read; the message is the reason, without a path."""


def read_header(data: bytes) -> Header:
  """Format, mode and size of an encoded image.

  Raises:
    ImageError: Pillow knows no such format.
  """
  with _open(data) as image:
    return Header(image.format or "", image.mode, *image.size)


def decode_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """Decodes an image of any format to RGB.

  This is Pillow's `convert("RGB")`, except that 16-bit grey is cut to the upper
  8 bits, where Pillow clips it at 255. Grey is repeated, palettes are looked
  up, alpha is dropped, CMYK is converted, an animation gives its first frame,
  and the orientation in EXIF data is ignored.

  Args:
    data: content of a file; its name plays no part.
    max_pixels: largest width times height that is decoded.

  Returns:
    uint8 [h, w, 3].

  Raises:
    ImageError: not an image, damaged, or larger than max_pixels.
  """
  with _open(data) as image:
    check_pixels(image.width * image.height, max_pixels)
    try:
      image.load()
      if image.mode.startswith("I"):  # 16-bit grey, also as 32-bit integers.
        wide = np.asarray(image).astype(np.int64)
        grey = np.clip(wide >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
      return np.array(image.convert("RGB"))
    # Pillow's decoders raise anything on damaged data.
    except Exception as error:
      raise ImageError(f"damaged: {error}") from error


def check_pixels(pixels: int, max_pixels: int) -> None:
  """Raises ImageError if there are more pixels than allowed."""
  if pixels > max_pixels:
    raise ImageError(f"{pixels} pixels; expected {max_pixels} or fewer")


@functools.cache
def _pillow() -> Any:
  """PIL.Image, imported on its first use: the library does without Pillow."""
  from PIL import Image

  # Pillow warns of large images, which `check_pixels` refuses or allows.
  warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
  return Image


def _open(data: bytes) -> Any:
  """A PIL.Image.Image that is not decoded yet."""
  Image = _pillow()
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
