"""Looks at images for what decides how they become RGB.

These are the values of deep grey, transparent pixels, colour of 16 bits, and
several frames.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading import decode
from blt_jax.data.threads import cores, in_order

# Shares of an image's pixels beyond its limits: a hot pixel or a label burnt
# into the picture does not count. Then the same for the images of a data set.
_ODD_PIXELS, _ODD_IMAGES = 0.1, 2.0  # percent

_PIXELS = 1 << 20

# The white of number formats: 0..1 of floats, then 8 bits and more.
_WHITES = (1.0, *(2.0**bits - 1 for bits in range(8, 33)))


# Images that are looked at, and as many again that are no JPEGs: only these can
# be deep or transparent.
_MOST = 200
# The beginning of a file, which holds most headers, bytes.
_HEAD = 1 << 18
# Of an image whose brightest value is darker than this share of the range it
# is said that it stays dark.
_DARK = 1 / 8


class Seen(NamedTuple):
  """What was found in an image.

  Attributes:
    header: format, mode and size.
    limits: lowest and highest value of deep grey, without the few odd pixels;
      None for other images.
    clear: whether there are pixels that are less than opaque.
    turned: whether EXIF data ask for another orientation.
    brightest: highest value of the upper 8 bits of 16-bit colour, 0..255; None
      for other images.
    infinite: whether values of deep grey are NaN or infinite.
  """

  header: decode.Header
  limits: tuple[float, float] | None = None
  clear: bool = False
  turned: bool = False
  brightest: int | None = None
  infinite: bool = False


@dataclasses.dataclass(frozen=True)
class Survey:
  """What was found in some images of a data set.

  Attributes:
    seen: a Seen for each image that could be read.
  """

  seen: Sequence[Seen] = ()

  @property
  def limits(self) -> list[tuple[float, float]]:
    """Of the deep grey images."""
    return [each.limits for each in self.seen if each.limits is not None]

  def lines(self, decoding: decode.Decoding) -> list[str]:
    """What is done to the images, a line for each kind that was found."""
    kinds = (
      self._deep_line(decoding.grey_range),
      self._infinite_line(),
      self._wide_line(),
      self._frames_line(),
      self._clear_line(decoding.background),
      self._turned_line(decoding.exif_orientation),
    )
    return [line for line in kinds if line]

  def _share(self, count: int) -> str:
    return f"{count} of the {len(self.seen)} images looked at"

  def _deep_line(self, used: tuple[float, float] | None) -> str:
    found = self.limits
    if not found or used is None:
      return ""
    lows, highs = zip(*found, strict=True)
    line = (
      f"grey of more than 8 bits in {self._share(len(found))}, with values "
      f"from {min(lows):g} to {max(highs):g}: {used[0]:g} becomes black and "
      f"{used[1]:g} white (config.dataset.grey_range)"
    )
    dark = sum(high < used[0] + (used[1] - used[0]) * _DARK for high in highs)
    if dark:
      line += f"; {dark} of them stay dark, below 1/8 of this range"
    return line

  def _infinite_line(self) -> str:
    found = sum(each.infinite for each in self.seen)
    if not found:
      return ""
    return (
      f"NaN or infinity in {self._share(found)}: NaN and -infinity become "
      "black, infinity white"
    )

  def _wide_line(self) -> str:
    found = [e.brightest for e in self.seen if e.brightest is not None]
    if not found:
      return ""
    line = (
      f"colours of 16 bits in {self._share(len(found))}: the upper 8 bits are "
      "read"
    )
    if max(found) < 255 * _DARK:
      line += (
        f", which reach {max(found)} of 255 only; expected files whose values "
        "use all 16 bits"
      )
    return line

  def _frames_line(self) -> str:
    found = sum(each.header.frames for each in self.seen)
    if not found:
      return ""
    return f"several frames in {self._share(found)}: the first is used"

  def _clear_line(self, background: tuple[int, int, int]) -> str:
    found = sum(each.clear for each in self.seen)
    if not found:
      return ""
    return (
      f"transparent pixels in {self._share(found)}: laid over {background} "
      "(config.dataset.background)"
    )

  def _turned_line(self, followed: bool) -> str:
    found = sum(each.turned for each in self.seen)
    if not found:
      return ""
    done = "turned as they say" if followed else "left as they are stored"
    return (
      f"EXIF data ask for another orientation in {self._share(found)}: {done} "
      "(config.dataset.exif_orientation)"
    )


def survey(split: Split, *, max_pixels: int = decode.MAX_PIXELS) -> Survey:
  """Looks at some images of a split, at regular distances in its order.

  Args:
    split: images of any kind; of those in memory none is looked at.
    max_pixels: a larger image counts as unreadable.

  Returns:
    A Survey, without the images that can't be read. It is the same for any
    number of threads.
  """
  if split.images is not None or not len(split):
    return Survey()

  def look_at(row: int) -> Seen | None:
    try:
      return _look_at(split, row, max_pixels)
    except (decode.ImageError, OSError):
      return None  # Training and --mode=check_data name it.

  found = in_order(look_at, _rows(split), num_threads=cores())
  return Survey([seen for seen in found if seen is not None])


def _rows(split: Split) -> list[int]:
  """The images to look at, in order."""
  rows = set(_spread(np.arange(len(split))))
  if split.paths is not None:
    others = [
      row
      for row, path in enumerate(split.paths)
      if not str(path).lower().endswith((".jpg", ".jpeg"))
    ]
    rows |= set(_spread(np.array(others, int)))
  return sorted(rows)


def _spread(rows: np.ndarray) -> list[int]:
  """At most `_MOST` of some rows, at regular distances."""
  count = min(_MOST, len(rows))
  return rows[np.linspace(0, len(rows) - 1, count).astype(int)].tolist()


def _look_at(split: Split, row: int, max_pixels: int) -> Seen:
  """Looks at an image of a split; reads no more of a file than it needs."""
  if split.paths is None:
    assert split.records is not None
    (data,) = split.records.read(np.array([row]))
    return look(data, max_pixels=max_pixels)
  with open(split.paths[row], "rb") as file:
    head = file.read(_HEAD)
    try:
      header = decode.read_header(head)
    except decode.ImageError:
      return look(head + file.read(), max_pixels=max_pixels)
    # The second frame of a GIF comes after the first one.
    whole = header.format == "GIF"
    if whole or header.deep or header.wide or header.transparent:
      return look(head + file.read(), max_pixels=max_pixels)
    return Seen(header, turned=decode.is_turned(head))


def look(data: bytes, *, max_pixels: int = decode.MAX_PIXELS) -> Seen:
  """Looks at an encoded image; decodes it only where its header asks for it.

  Raises:
    decode.ImageError: it can't be read.
  """
  header, turned = decode.read_header(data), decode.is_turned(data)
  if header.deep:
    values = decode.deep_values(data, max_pixels=max_pixels)
    return Seen(
      header,
      limits=limits(values),
      turned=turned,
      infinite=not np.isfinite(values).all(),
    )
  brightest = None
  if header.wide:
    whole = decode.Decoding(max_pixels=max_pixels, background=(0, 0, 0))
    brightest = int(decode.decode_rgb(data, whole).max())
  clear = header.transparent and decode.has_clear_pixels(data)
  return Seen(header, clear=clear, turned=turned, brightest=brightest)


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
  low = np.percentile(finite, _ODD_PIXELS, method="lower")
  high = np.percentile(finite, 100 - _ODD_PIXELS, method="higher")
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
