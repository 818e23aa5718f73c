"""Reads and decodes every image of a data set once, on several threads."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import numpy as np
from PIL import Image

from blt_jax.data.checks import damage, near
from blt_jax.data.dataset import Dataset, Records, Split
from blt_jax.data.reading import decode
from blt_jax.data.text import reason
from blt_jax.data.threads import cores, in_order

_IMAGES_AT_ONCE = 32
# Formats that share the extensions of another one.
_SAME_NAMES = {"MPO": "JPEG", "DIB": "BMP"}

ROW = np.dtype(
  [
    ("split", np.uint8),
    ("label", np.int32),
    ("digest", "S16"),
    ("kind", np.int32),
    ("width", np.int32),
    ("height", np.int32),
    ("misnamed", bool),
    ("rotated", bool),
    ("look", np.uint64),
    ("low", np.float64),
    ("high", np.float64),
    ("infinite", bool),
  ]
)
"""A row of a Scan.

split: position in Scan.splits. digest: hash of the image's content. kind:
position in Scan.kinds. width, height: pixels. misnamed: the file's extension
belongs to another format. rotated: EXIF data ask for a rotation or mirroring.
look: see near.look. low, high: ends of the values of grey of more than 8 bits.
infinite: whether such values are NaN or infinite.
Fields that reading could not tell are 0.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
  """The results of reading all images of a data set.

  Attributes:
    splits: name -> Split; if validation and test are the same, they are one.
    rows: [n] of ROW, in the order of the splits.
    kinds: formats and modes: "JPEG RGB" or "PNG I;16" for example.
    errors: row -> why its image can't be decoded.
    damage: row -> what libjpeg says of an image with damaged pixels.
    not_searched: why nothing looked for damaged pixels of JPEG images, or "".
  """

  splits: dict[str, Split]
  rows: np.ndarray
  kinds: list[str]
  errors: dict[int, str]
  damage: dict[int, str] = dataclasses.field(default_factory=dict)
  not_searched: str = ""

  def __len__(self) -> int:
    return len(self.rows)

  @property
  def good(self) -> np.ndarray:
    """Bool [n], the images that can be decoded."""
    good = np.ones(len(self), bool)
    good[list(self.errors)] = False
    return good

  def split_name(self, row: int) -> str:
    """The split of an image."""
    return list(self.splits)[self.rows["split"][row]]

  def image_name(self, row: int) -> str:
    """The file or record of an image, or else its position in its split."""
    split, index = self.place(row)
    if split.paths is not None:
      return str(split.paths[index])
    if split.records is not None:
      return split.records.name(index)
    return f"image {index}"

  def place(self, row: int) -> tuple[Split, int]:
    """The split of an image, and its position there."""
    first = np.searchsorted(self.rows["split"], self.rows["split"][row])
    return self.splits[self.split_name(row)], int(row - first)


_TOLD = tuple(
  name for name in ROW.names or () if name not in ("split", "label", "kind")
)


class _Seen(NamedTuple):
  """The result of reading an image, see ROW.

  `error` is "" if it worked. `printed`: whether libjpeg may have said something
  of the image, see damage.JpegDecoder.decode.
  """

  digest: bytes
  kind: str = ""
  width: int = 0
  height: int = 0
  misnamed: bool = False
  rotated: bool = False
  look: int = 0
  low: float = 0.0
  high: float = 0.0
  infinite: bool = False
  error: str = ""
  printed: bool = False


def scan(
  dataset: Dataset,
  *,
  decoding: decode.Decoding = decode.DEFAULT,
  num_threads: int = 0,
  progress: Callable[..., Iterable] | None = None,
  listener: damage.Listener | None = None,
) -> Scan:
  """Reads and decodes every image once.

  Args:
    dataset: its splits hold images, paths or records.
    decoding: how files become RGB.
    num_threads: threads that decode; 0 takes one for each core.
    progress: called as progress(iterator, total=n); passes the items on.
    listener: hears libjpeg, to find JPEG images with damaged pixels; without
      one they are not looked for.

  Returns:
    The Scan; the same for any number of threads.
  """
  splits = _distinct_splits(dataset)
  sizes = [len(split) for split in splits.values()]
  rows = np.zeros(sum(sizes), ROW)
  rows["split"] = np.repeat(np.arange(len(sizes)), sizes)
  rows["label"] = np.concatenate([split.labels for split in splits.values()])
  parts = (
    (split, range(first, min(first + _IMAGES_AT_ONCE, len(split))))
    for split in splits.values()
    for first in range(0, len(split), _IMAGES_AT_ONCE)
  )
  kinds: dict[str, int] = {}
  errors: dict[int, str] = {}
  printed: list[int] = []
  jpegs = damage.JpegDecoder(listener)
  with warnings.catch_warnings():
    # Pillow warns of odd files; this scan finds those that matter itself.
    warnings.simplefilter("ignore")
    seen: Iterable[_Seen] = itertools.chain.from_iterable(
      in_order(
        lambda part: [_look_at(part[0], i, decoding, jpegs) for i in part[1]],
        parts,
        num_threads=num_threads or cores(),
      )
    )
    if progress is not None:
      seen = progress(seen, total=len(rows))
    for row, one in enumerate(seen):
      rows["kind"][row] = kinds.setdefault(one.kind, len(kinds))
      for field in _TOLD:
        rows[field][row] = getattr(one, field)
      if one.error:
        errors[row] = one.error
      elif one.printed:
        printed.append(row)
  result = Scan(splits, rows, list(kinds), errors)
  return dataclasses.replace(
    result,
    damage=_damage(result, printed, jpegs),
    not_searched=jpegs.missing,
  )


def _damage(
  scan: Scan, rows: Iterable[int], jpegs: damage.JpegDecoder
) -> dict[int, str]:
  """Which of some images libjpeg speaks of, and what it says; one at a time."""
  found = {}
  for row in rows:
    with contextlib.suppress(OSError, ValueError):  # It was readable.
      found[row] = jpegs.damage(_read(*scan.place(row))[0])
  return {row: words for row, words in found.items() if words}


def _distinct_splits(dataset: Dataset) -> dict[str, Split]:
  """The splits by name; if validation and test are the same, they are one."""
  if dataset.validation is dataset.test:
    return {"train": dataset.train, "validation = test": dataset.test}
  return {
    "train": dataset.train,
    "validation": dataset.validation,
    "test": dataset.test,
  }


def _look_at(
  split: Split,
  index: int,
  decoding: decode.Decoding,
  jpegs: damage.JpegDecoder,
) -> _Seen:
  """Reads and decodes one image."""
  if split.images is not None:
    image = split.images[index]
    height, width = image.shape[:2]
    seen = _Seen(_digest(image.tobytes()), "array RGB", width, height)
    return seen._replace(look=near.look(image))
  digest, kind, width, height = b"", "", 0, 0
  try:
    data, name = _read(split, index)
    digest = _digest(data)
    header = decode.read_header(data)
    kind, width, height = _kind(header, data), header.width, header.height
    decode.check_pixels(width * height, decoding.max_pixels)
    deep = _deep_values(data, decoding) if header.deep else {}
    found = _SAME_NAMES.get(header.format, header.format)
    turned, printed = _is_turned(data, found), False
    if found == "JPEG" and jpegs.begin():
      rgb, printed = jpegs.decode(data, decoding, turned=turned)
    else:
      rgb = decode.decode_rgb(data, decoding)
    look = near.look(rgb)
  except (OSError, ValueError) as error:
    return _Seen(digest, kind, width, height, error=reason(error))
  extension = os.path.splitext(name)[1].lower()
  misnamed = Image.registered_extensions().get(extension, found) != found
  seen = _Seen(digest, kind, width, height, misnamed, turned)
  return seen._replace(look=look, printed=printed, **deep)


def _is_turned(data: bytes, kind: str) -> bool:
  """Whether EXIF data ask for another orientation."""
  head = data[: _end_of_head(data)] if kind == "JPEG" else data
  return decode.is_turned(head)


def _deep_values(data: bytes, decoding: decode.Decoding) -> dict[str, Any]:
  """What a row says about the values of deep grey; its ends are finite."""
  values = decode.deep_values(data, max_pixels=decoding.max_pixels)
  finite = values[np.isfinite(values)]
  told: dict[str, Any] = {"infinite": len(finite) < values.size}
  if len(finite):
    told |= {"low": float(finite.min()), "high": float(finite.max())}
  return told


def _read(split: Split, index: int) -> tuple[bytes, str]:
  """Content and file name of an image; records have no name."""
  if split.paths is not None:
    path = str(split.paths[index])
    with open(path, "rb") as file:
      return file.read(), path
  (content,) = cast(Records, split.records).read(np.array([index]))
  return content, ""


def _end_of_head(data: bytes) -> int:
  """Where the segments of a JPEG file end that come before its pixels.

  EXIF data are in one of these. To search the pixels for them, too, would take
  a tenth of the time of decoding.
  """
  place = 2
  while place + 4 <= len(data) and data[place] == 0xFF != data[place + 1]:
    if data[place + 1] == 0xDA:  # Start of scan.
      break
    place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
  return place


def _digest(data: bytes) -> bytes:
  # Half the time of BLAKE2 on a processor that knows SHA.
  return hashlib.sha256(data).digest()[:16]


def _kind(header: decode.Header, data: bytes) -> str:
  """Format and mode; Pillow calls 16-bit colour RGB, so PNG's depth is read."""
  kind = f"{header.format} {header.mode}"
  deep = header.format == "PNG" and data[24:25] == b"\x10"
  return f"{kind} 16 bit" if deep else kind
