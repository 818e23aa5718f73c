"""Reads and decodes every image of a data set once, in parallel."""

import collections
import dataclasses
import hashlib
import io
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from blt_jax.data.dataset import Dataset, Records, Split
from blt_jax.data.reading import decode

EXTREME_ASPECT = 4.0
"""Long over short side from which an image is noted."""

_IMAGES_AT_ONCE = 32
_ORIENTATION = 0x0112  # EXIF tag.
_FORMATS = {
  ".jpg": ("JPEG", "MPO"),
  ".jpeg": ("JPEG", "MPO"),
  ".png": ("PNG",),
  ".bmp": ("BMP", "DIB"),
  ".gif": ("GIF",),
  ".webp": ("WEBP",),
  ".tif": ("TIFF",),
  ".tiff": ("TIFF",),
}


class Seen(NamedTuple):
  """What reading one image told.

  Attributes:
    digest: 16 bytes of a hash of the content; b"" where it can't be read.
    kind: format and mode, "JPEG RGB" or "PNG I;16" for example.
    width: pixels; 0 where it is not known.
    height: likewise.
    misnamed: the file's extension belongs to another format.
    rotated: its EXIF data ask for a rotation or mirroring.
    error: why it can't be decoded; "" if it can.
  """

  digest: bytes
  kind: str = ""
  width: int = 0
  height: int = 0
  misnamed: bool = False
  rotated: bool = False
  error: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
  """What reading all images of a data set told, n images in split order.

  Attributes:
    splits: name -> Split; a split that is two at once has one entry.
    split: uint8 [n], position in `splits`.
    label: int32 [n].
    digest: uint64 [n, 2], hash of the content.
    kinds: the formats and modes that occur.
    kind: int32 [n], position in `kinds`.
    width: int32 [n], pixels.
    height: int32 [n], pixels.
    misnamed: bool [n].
    rotated: bool [n].
    errors: image -> why it can't be decoded.
  """

  splits: dict[str, Split]
  split: np.ndarray
  label: np.ndarray
  digest: np.ndarray
  kinds: list[str]
  kind: np.ndarray
  width: np.ndarray
  height: np.ndarray
  misnamed: np.ndarray
  rotated: np.ndarray
  errors: dict[int, str]

  def __len__(self) -> int:
    return len(self.label)

  @property
  def good(self) -> np.ndarray:
    """Bool [n], the images that can be decoded."""
    good = np.ones(len(self), bool)
    good[list(self.errors)] = False
    return good

  def split_name(self, image: int) -> str:
    """The split of an image."""
    return list(self.splits)[self.split[image]]

  def image_name(self, image: int) -> str:
    """The file or record of an image, its position where it has neither."""
    split = self.splits[self.split_name(image)]
    index = int(image - np.searchsorted(self.split, self.split[image]))
    if split.paths is not None:
      return str(split.paths[index])
    if split.records is not None:
      return split.records.name(index)
    return f"image {index}"


def distinct_splits(dataset: Dataset) -> dict[str, Split]:
  """The splits by name; validation that is the test split as well is one."""
  if dataset.validation is dataset.test:
    return {"train": dataset.train, "validation = test": dataset.test}
  return {
    "train": dataset.train,
    "validation": dataset.validation,
    "test": dataset.test,
  }


def scan(
  dataset: Dataset,
  *,
  max_pixels: int = decode.MAX_PIXELS,
  num_threads: int = 0,
  progress: Callable[..., Iterable[Seen]] | None = None,
) -> Scan:
  """Reads and decodes every image once.

  Args:
    dataset: its splits hold images, paths or records.
    max_pixels: largest width times height that is decoded.
    num_threads: threads that decode; 0 takes one for each core.
    progress: called as progress(iterator, total=n); passes the items on.

  Returns:
    The Scan; the same for any number of threads.
  """
  splits = distinct_splits(dataset)
  sizes = [len(split) for split in splits.values()]
  total = sum(sizes)
  tasks = (
    (split, start, max_pixels)
    for split in splits.values()
    for start in range(0, len(split), _IMAGES_AT_ONCE)
  )
  seen: Iterable[Seen] = _in_parallel(_look_at, tasks, num_threads or cores())
  if progress is not None:
    seen = progress(seen, total=total)
  return _collect(
    seen,
    splits,
    split=np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes),
    label=np.concatenate([split.labels for split in splits.values()]),
  )


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _in_parallel(
  function: Callable[..., list[Seen]], tasks: Iterator, num_threads: int
) -> Iterator[Seen]:
  """The results in the order of the tasks, few of which wait at a time."""
  with warnings.catch_warnings(), ThreadPoolExecutor(num_threads) as pool:
    # Pillow's remarks on odd files: what matters of them is found here.
    warnings.simplefilter("ignore")
    waiting = collections.deque(
      pool.submit(function, *task)
      for task in itertools.islice(tasks, 4 * num_threads)
    )
    while waiting:
      yield from waiting.popleft().result()
      for task in itertools.islice(tasks, 1):
        waiting.append(pool.submit(function, *task))


def _look_at(split: Split, start: int, max_pixels: int) -> list[Seen]:
  """Looks at the images of a split from `start` on."""
  stop = min(start + _IMAGES_AT_ONCE, len(split))
  if split.images is not None:
    return [_look_at_array(split.images[i]) for i in range(start, stop)]
  return [_look_at_file(split, i, max_pixels) for i in range(start, stop)]


def _look_at_array(image: np.ndarray) -> Seen:
  height, width = image.shape[:2]
  return Seen(_digest(image.tobytes()), "array RGB", width, height)


def _look_at_file(split: Split, index: int, max_pixels: int) -> Seen:
  digest, kind, width, height = b"", "", 0, 0
  try:
    data, name = _read(split, index)
    digest = _digest(data)
    header = decode.read_header(data)
    kind, width, height = _kind(header, data), header.width, header.height
    decode.decode_rgb(data, max_pixels=max_pixels)
  except (OSError, ValueError) as error:
    # An OSError's own text repeats the path, which is reported beside it.
    reason = getattr(error, "strerror", None) or str(error)
    reason = " ".join(reason.split()) or type(error).__name__
    return Seen(digest, kind, width, height, error=reason)
  extension = os.path.splitext(name)[1].lower()
  misnamed = header.format not in _FORMATS.get(extension, (header.format,))
  return Seen(digest, kind, width, height, misnamed, _is_rotated(data))


def _read(split: Split, index: int) -> tuple[bytes, str]:
  """Content and file name of an image; records have no name."""
  if split.paths is not None:
    path = str(split.paths[index])
    with open(path, "rb") as file:
      return file.read(), path
  (content,) = cast(Records, split.records).read(np.array([index]))
  return content, ""


def _digest(data: bytes) -> bytes:
  return hashlib.blake2b(data, digest_size=16).digest()


def _kind(header: decode.Header, data: bytes) -> str:
  """Format and mode; Pillow calls 16-bit colour RGB, so PNG's depth is read."""
  kind = f"{header.format} {header.mode}"
  deep = header.format == "PNG" and data[24:25] == b"\x10"
  return f"{kind} 16 bit" if deep else kind


def _is_rotated(data: bytes) -> bool:
  """Whether EXIF data ask for another orientation than the stored one."""
  if not any(mark in data for mark in (b"Exif\0\0", b"eXIf", b"EXIF")):
    return False
  try:
    with Image.open(io.BytesIO(data)) as image:
      return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
  except Exception:  # Damaged EXIF data leave the image as it is.
    return False


def _collect(
  seen: Iterable[Seen],
  splits: dict[str, Split],
  *,
  split: np.ndarray,
  label: np.ndarray,
) -> Scan:
  """Columns of what was seen."""
  total = len(label)
  digest = np.zeros((total, 2), np.uint64)
  kind, width, height = (np.zeros(total, np.int32) for _ in range(3))
  misnamed, rotated = (np.zeros(total, bool) for _ in range(2))
  kinds: dict[str, int] = {}
  errors: dict[int, str] = {}
  for i, one in enumerate(seen):
    if one.digest:
      digest[i] = np.frombuffer(one.digest, np.uint64)
    kind[i] = kinds.setdefault(one.kind, len(kinds))
    width[i], height[i] = one.width, one.height
    misnamed[i], rotated[i] = one.misnamed, one.rotated
    if one.error:
      errors[i] = one.error
  return Scan(
    splits=splits,
    split=split,
    label=label,
    digest=digest,
    kinds=list(kinds),
    kind=kind,
    width=width,
    height=height,
    misnamed=misnamed,
    rotated=rotated,
    errors=errors,
  )
