"""Decodes image files of all formats to RGB with Pillow.

If TensorFlow is installed, it decodes most JPEG files of three or one
components to the same bits (tf_reader.py); this module decodes everything else.
"""

import contextlib
import ctypes
import dataclasses
import functools
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

MAX_PIXELS = 178_956_970
"""Largest width times height; Pillow refuses larger images."""

_PILLOWS = re.compile(r"PIL\.")
_TOO_MANY = "{} pixels; expected {} or fewer"
# Formats whose files may hold several images of the same worth. Others hold
# previews of the image, or its layers.
_WITH_FRAMES = "GIF", "WEBP", "PNG", "TIFF", "AVIF"


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
    deep: whether it is grey of more than 8 bits, or of signed numbers, so that
      `Decoding.grey_range` counts.
    wide: whether channels are of 16 bits, of which the mode keeps the upper 8.
    frames: whether there are several: an animation or a stack.
  """

  format: str
  mode: str
  width: int
  height: int
  transparent: bool = False
  deep: bool = False
  wide: bool = False
  frames: bool = False


class ImageError(ValueError):
  """An image that can't be read; the message is the reason, without a path."""


def read_header(data: bytes) -> Header:
  """Format, mode and size of an encoded image.

  Raises:
    ImageError: Pillow knows no such format.
  """
  with _open(data) as image:
    return Header(
      image.format or "",
      image.mode,
      image.width,
      image.height,
      transparent=image.has_transparency_data,
      deep=_is_deep(image),
      wide=_is_wide(image),
      frames=_has_frames(image),
    )


def decode_rgb(data: bytes, decoding: Decoding = DEFAULT) -> np.ndarray:
  """Decodes an image of any format to RGB.

  Grey of 8 bits is repeated, palettes are looked up, CMYK is converted, of
  colours with 16 bits the upper 8 are taken, and an animation gives its first
  frame; all as Pillow's `convert("RGB")` does. Transparent pixels are laid over
  `background`, where Pillow drops their transparency; grey of more than 8 bits
  is scaled by `grey_range`, where Pillow clips it at 255; NaN becomes black and
  infinity white. TIFF and HEIC are
  turned as they say even without `exif_orientation`, because Pillow does it.

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
    deep = _is_deep(image)
    if deep and decoding.grey_range is None:
      raise ImageError(
        f"grey of more than 8 bits ({image.mode}), and none of the training "
        "images looked at was; expected 8 bits, or config.dataset.grey_range "
        "in training"
      )
    try:
      rgb = _grey_rgb(image, decoding) if deep else _rgb(image, decoding)
      return _upright(rgb, image) if decoding.exif_orientation else rgb
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
      return _values(image)
    except Exception as error:
      raise ImageError(f"damaged: {error}") from error


def has_clear_pixels(data: bytes) -> bool:
  """Whether a pixel of an image is less than opaque; False if unreadable."""
  try:
    with _open(data) as image:
      if _is_deep(image) or not image.has_transparency_data:
        return False
      return _rgba(image).getextrema()[3][0] < 255
  except Exception:  # The readers name damaged images.
    return False


def is_turned(data: bytes) -> bool:
  """Whether EXIF data ask for another orientation than the stored one."""
  # Most images hold none of these, and parsing a header takes time.
  if not any(mark in data for mark in _ORIENTATION_MARKS):
    return False
  try:
    with _open(data) as image:
      return _orientation(image) in _TURNS
  except ImageError:
    return False


def upright(rgb: np.ndarray, data: bytes) -> np.ndarray:
  """Turns the decoded pixels of a file, [h, w, 3], as its EXIF data say."""
  with _open(data) as image:
    return _upright(rgb, image)


def check_pixels(pixels: int, max_pixels: int) -> None:
  """Raises ImageError if there are more pixels than allowed."""
  if pixels > max_pixels:
    raise ImageError(_TOO_MANY.format(pixels, max_pixels))


# Tags of EXIF and of TIFF.
_BITS, _WHITE_IS_0, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339
# EXIF data of JPEG, PNG and WebP; programs also write it in XMP.
_ORIENTATION_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation")
# Orientation in EXIF data -> what brings an array into the upright position.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
  2: np.fliplr,
  3: lambda image: image[::-1, ::-1],
  4: np.flipud,
  5: lambda image: image.swapaxes(0, 1),
  6: lambda image: np.rot90(image, -1),
  7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
  8: np.rot90,
}


def _is_deep(image: Any) -> bool:
  """Whether an image is grey of 16 or 32 bits, floats, or signed numbers."""
  return image.mode.startswith(("I", "F")) or (
    image.mode == "L" and _tag(image, _SAMPLE_FORMAT) == (2,)
  )


def _is_wide(image: Any) -> bool:
  """Whether an image has colours of 16 bits, which Pillow cuts to 8."""
  return not _is_deep(image) and any(
    ";16" in str(tile[3]) for tile in image.tile
  )


def _has_frames(image: Any) -> bool:
  """Whether a file has more frames than the one that is read."""
  try:
    return image.format in _WITH_FRAMES and image.is_animated
  except Exception:  # Of a damaged second frame.
    return True


def _tag(image: Any, number: int) -> Any:
  """The value of a TIFF's tag; None for another tag or format."""
  return getattr(image, "tag_v2", {}).get(number)


def _values(image: Any) -> np.ndarray:
  """The values of deep grey; Pillow takes some types of TIFF for others."""
  # Decoding forgets the tags.
  signed = _tag(image, _SAMPLE_FORMAT) == (2,)
  long = _tag(image, _BITS) == (32,)
  values = np.asarray(image)
  if signed and values.dtype == np.uint8:
    return values.view(np.int8)
  if long and not signed and values.dtype == np.int32:
    return values.view(np.uint32)
  return values


def _grey_rgb(image: Any, decoding: Decoding) -> np.ndarray:
  """Deep grey as uint8 [h, w, 3]."""
  assert decoding.grey_range is not None
  low, high = decoding.grey_range
  inverted = _tag(image, _WHITE_IS_0) == 0
  values = _values(image)
  scaled = (values.astype(np.float64) - low) * (255 / (high - low))
  grey = np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
  rgb = np.repeat((255 - grey if inverted else grey)[..., None], 3, axis=-1)
  rgb[np.isnan(values)] = 0  # Infinity becomes white, or black if inverted.
  clear = image.info.get("transparency")
  if isinstance(clear, int):
    rgb[values == clear] = decoding.background
  return rgb


def _rgb(image: Any, decoding: Decoding) -> np.ndarray:
  """An image of 8 bits as uint8 [h, w, 3], over the background."""
  wide = _is_wide(image)
  image.load()
  if not image.has_transparency_data:
    return np.array(image.convert("RGB"))
  clear = image.info.get("transparency")
  if wide and isinstance(clear, tuple):  # A colour, of 16 bits as well.
    image.info["transparency"] = tuple(value >> 8 for value in clear)
  rgba = _rgba(image)
  below = _pillow().new("RGB", image.size, decoding.background)
  below.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
  return np.array(below)


def _rgba(image: Any) -> Any:
  """An image as a PIL.Image.Image of mode RGBA."""
  return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _orientation(image: Any) -> int:
  """The orientation in EXIF data; 1 for none or damaged ones."""
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except Exception:
    return 1


def _upright(rgb: np.ndarray, image: Any) -> np.ndarray:
  """Turns and mirrors the pixels of an image as its EXIF data say."""
  turn = _TURNS.get(_orientation(image))
  return rgb if turn is None else np.ascontiguousarray(turn(rgb))


@functools.cache
def _pillow() -> Any:
  """PIL.Image, imported on its first use: the library does without Pillow."""
  from PIL import Image

  # Its remarks do not name the file; what matters becomes an ImageError.
  logging.getLogger("PIL").setLevel(logging.CRITICAL)
  _silence_libtiff()
  if importlib.util.find_spec("pillow_heif"):
    importlib.import_module("pillow_heif").register_heif_opener()
  return Image


def _silence_libtiff() -> None:
  """Keeps libtiff from printing errors, which do not name the file either.

  Pillow raises an exception for the same errors. Where Pillow is linked in a
  way that hides libtiff, it goes on printing.
  """
  from PIL import _imaging

  with contextlib.suppress(OSError, AttributeError):
    library = ctypes.CDLL(_imaging.__file__)
    library.TIFFSetErrorHandler.restype = ctypes.c_void_p
    library.TIFFSetErrorHandler(None)


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
    # Pillow's text is that a file of so many pixels might be an attack.
    numbers = re.findall(r"\d+", str(error))
    text = _TOO_MANY.format(*numbers) if len(numbers) == 2 else str(error)
    raise ImageError(text) from error
  except Exception as error:
    from blt_jax.data.reading import not_images  # Few files need it.

    unknown = isinstance(error, Image.UnidentifiedImageError)
    pillows = "" if unknown else str(error)
    raise ImageError(not_images.reason(data, pillows)) from error


def _ignore_warnings() -> None:
  """Silences Pillow's warnings, which do not name the file.

  Looked at each time, because programs (and tests) take filters back.
  """
  entry = ("ignore", None, Warning, _PILLOWS, 0)
  if entry not in warnings.filters:
    warnings.filterwarnings("ignore", module=_PILLOWS.pattern)
