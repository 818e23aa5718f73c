"""Looks at images for what decides how they become RGB.

These are the values of deep grey, transparent pixels, and colour of 16 bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.reading import decode

# Shares of an image's pixels beyond its limits: a hot pixel or a label burnt
# into the picture does not count. Then the same for the images of a data set.
_ODD_PIXELS, _ODD_IMAGES = 0.1, 2.0  # percent

_PIXELS = 1 << 20

# The white of number formats: 0..1 of floats, then 8 bits and more.
_WHITES = (1.0, *(2.0**bits - 1 for bits in range(8, 33)))


class Seen(NamedTuple):
  """What was found in an image.

  Attributes:
    header: format, mode and size.
    limits: lowest and highest value of deep grey, without the few odd pixels;
      None for other images.
    clear: whether there are pixels that are less than opaque.
    brightest: highest value of the upper 8 bits of 16-bit colour, 0..255; None
      for other images.
  """

  header: decode.Header
  limits: tuple[float, float] | None = None
  clear: bool = False
  brightest: int | None = None


def look(data: bytes, *, max_pixels: int = decode.MAX_PIXELS) -> Seen:
  """Looks at an encoded image; decodes it only where its header asks for it.

  Raises:
    decode.ImageError: it can't be read.
  """
  header = decode.read_header(data)
  if header.deep:
    values = decode.deep_values(data, max_pixels=max_pixels)
    return Seen(header, limits=limits(values))
  brightest = None
  if header.wide:
    whole = decode.Decoding(max_pixels=max_pixels, background=(0, 0, 0))
    brightest = int(decode.decode_rgb(data, whole).max())
  clear = header.transparent and decode.has_clear_pixels(data)
  return Seen(header, clear=clear, brightest=brightest)


def limits(values: np.ndarray) -> tuple[float, float] | None:
  """Lowest and highest value of an image, but for 0.1 % of its pixels each.

  Args:
    values: numbers of any type and shape; those that are not finite do not
      count.

  Returns:
    (low, high), or None where no value is finite.
  """
  # A part of a large image tells as much.
  some = values.ravel()[:: values.size // _PIXELS + 1]
  finite = some[np.isfinite(some)]
  if not finite.size:
    return None
  low, high = np.percentile(finite, [_ODD_PIXELS, 100 - _ODD_PIXELS])
  if values.dtype.kind in "iu":
    return float(np.floor(low)), float(np.ceil(high))
  return float(low), float(high)


def grey_range(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
  """One scale for the deep grey images of a data set.

  It reaches from the lowest to the highest value of the images, but for the
  outermost 2 % of the images. Values that begin near 0 and use more than half
  of 0..1, or of whole numbers of 8, 9, ... bits, get all of that range: 12 bits
  in files of 16 become 0..4095, so black stays black and no highlight that the
  sample lacks is cut.

  Args:
    found: `limits` of one or more images.

  Returns:
    (low, high), low < high.
  """
  lows, highs = np.array(found, np.float64).T
  low = float(np.percentile(lows, _ODD_IMAGES))
  high = float(np.percentile(highs, 100 - _ODD_IMAGES))
  if high <= low:  # All pixels are the same.
    return (0.0, 65535.0) if 0 <= low < 65535 else (low, low + 1.0)
  if 0 <= low <= high / 8:
    for white in _WHITES:
      if white / 2 < high <= white:
        return 0.0, white
  return low, high
