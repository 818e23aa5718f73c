"""Finds the images of a folder, and says what it left out and why."""

import collections
import dataclasses
import functools
import importlib.util
import os
from collections.abc import Iterable, Iterator

from blt_jax.data.text import as_text, reason

# Folders that systems make beside people's images, in lower case. A folder of
# one of these names is never a class.
_SYSTEM_FOLDERS = frozenset(
  (
    "@eadir",  # Synology: thumbnails
    "#recycle",
    "#snapshot",
    "@tmp",
    "@sharebin",
    "@recycle",  # QNAP: bin
    "@recently-snapshot",
    "$recycle.bin",  # Windows: bin
    "system volume information",
    "lost+found",  # Linux: what a repaired file system has found
    "__macosx",  # macOS: the Finder's archives
    "network trash folder",
    "temporary items",
    "thumbs.db:encryptable",
  )
)

# Raw files of cameras. Pillow takes some of them for TIFF and would give the
# small preview inside.
_RAW = frozenset(
  f".{name}"
  for name in (
    *("3fr", "arw", "cr2", "cr3", "crw", "dng", "iiq", "kdc", "mrw", "nef"),
    *("nrw", "orf", "pef", "raf", "raw", "rw2", "sr2", "x3f"),
  )
)
_HEIC = frozenset((".heic", ".heif", ".hif"))

# Pillow recognises these formats, but can't decode them by itself.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"))

# Formats that begin with bytes of their own, by which a file without a known
# suffix is recognised.
_SNIFFED = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF")

# Most suffixes that a line names.
_NAMED = 4


@dataclasses.dataclass(frozen=True)
class FoundFiles:
  """The images of a folder and of the folders in it.

  Attributes:
    paths: of the images, relative to the folder, with "/", sorted.
    left_out: what was left out -> the paths of the files that it is about.
    links: whether a symbolic link was met.
  """

  paths: list[str]
  left_out: dict[str, list[str]]
  links: bool = False

  @property
  def num_left_out(self) -> int:
    """Files that were left out."""
    return sum(map(len, self.left_out.values()))

  def lines(self) -> tuple[str, ...]:
    """A line for each kind of files that were left out."""
    return tuple(
      f"left out: {len(paths)} {'file' if len(paths) == 1 else 'files'} {what},"
      f" such as {as_text(paths[0])}"
      for what, paths in self.left_out.items()
    )


def find_images(folder: str) -> FoundFiles:
  """Finds the images of a folder and of the folders in it, however deep.

  A file is an image if its suffix is of a format that Pillow reads or, with
  another suffix or none, if its first bytes are. Hidden files, the folders that
  systems make (thumbnails, bins) and all other files are left out. Links to
  folders are followed, each folder once.

  Raises:
    ValueError: a folder can't be read.
  """
  found: list[str] = []
  left_out: dict[str, list[str]] = {}
  others: dict[str, list[str]] = {}
  links = False
  for place, names, files, linked in _walk(folder):
    links = links or linked
    for system in _take(names, is_system_folder):
      what = f"in folders that systems make ({system!r})"
      inner = _all_files(os.path.join(folder, place, system))
      left_out.setdefault(what, []).extend(
        f"{place}{system}/{file}" for file in inner
      )
    for hidden in _take(names, _is_hidden):
      inner = _all_files(os.path.join(folder, place, hidden))
      left_out.setdefault(_HIDDEN, []).extend(
        f"{place}{hidden}/{file}" for file in inner
      )
    for file in files:
      path = f"{place}{file}"
      if _is_hidden(file):
        left_out.setdefault(_HIDDEN, []).append(path)
      elif is_image(os.path.join(folder, path)):
        found.append(path)
      else:
        others.setdefault(_suffix(file), []).append(path)
  left_out |= _explained(others)
  kept = {what: sorted(paths) for what, paths in left_out.items() if paths}
  return FoundFiles(sorted(found), kept, links)


def merged(parts: Iterable[tuple[str, FoundFiles]]) -> FoundFiles:
  """Files of several folders as those of one.

  Args:
    parts: (prefix that the paths get, files) of each folder.
  """
  paths: list[str] = []
  left_out: dict[str, list[str]] = {}
  links = False
  for prefix, found in parts:
    paths += [prefix + path for path in found.paths]
    links = links or found.links
    for what, files in found.left_out.items():
      left_out.setdefault(what, []).extend(prefix + file for file in files)
  return FoundFiles(paths, left_out, links)


_HIDDEN = "that are hidden (their names begin with a dot)"


def _explained(others: dict[str, list[str]]) -> dict[str, list[str]]:
  """Files that are no images, by suffix -> the same by the reason, in words."""
  left_out: dict[str, list[str]] = {}
  rest: collections.Counter[str] = collections.Counter()
  plain: list[str] = []
  for suffix, paths in sorted(others.items()):
    if suffix in _HEIC:
      left_out[
        f"in the format HEIC ({suffix}; `pip install pillow-heif` makes them"
        " readable)"
      ] = paths
    elif suffix in _RAW:
      left_out[f"in a camera's raw format ({suffix}; develop them first)"] = (
        paths
      )
    else:
      rest[suffix or "without a suffix"] += len(paths)
      plain += paths
  if plain:
    named = [f"{suffix}: {count}" for suffix, count in rest.most_common(_NAMED)]
    if len(rest) > _NAMED:
      named.append("...")
    left_out[f"that are no images ({', '.join(named)})"] = plain
  return left_out


def is_system_folder(name: str) -> bool:
  """Whether a folder of this name is one that systems make."""
  return name.lower() in _SYSTEM_FOLDERS


def _is_hidden(name: str) -> bool:
  return name.startswith(".")


def _take(names: list[str], belongs) -> list[str]:
  """Removes the names of some folders, so that the walk skips these."""
  taken = [name for name in names if belongs(name)]
  names[:] = [name for name in names if not belongs(name)]
  return taken


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str], bool]]:
  """(place with "/" behind it, names of folders, names of files, links?)."""

  def refuse(error: OSError) -> None:
    raise ValueError(
      f"{error.filename}: can't be read ({reason(error)}); expected a folder"
      " that may be opened."
    )

  entered = set()
  for place, folders, files in os.walk(
    folder, onerror=refuse, followlinks=True
  ):
    status = os.stat(place)
    if (status.st_dev, status.st_ino) in entered:
      folders.clear()
      continue
    entered.add((status.st_dev, status.st_ino))
    folders.sort()
    below = os.path.relpath(place, folder).replace(os.sep, "/")
    linked = any(
      os.path.islink(os.path.join(place, name)) for name in (*folders, *files)
    )
    yield ("" if below == "." else f"{below}/"), folders, files, linked


def _all_files(folder: str) -> list[str]:
  """All files of a folder that is left out; what can't be read is not."""
  return [
    os.path.relpath(os.path.join(place, file), folder).replace(os.sep, "/")
    for place, _, files in os.walk(folder)
    for file in files
  ]


def _suffix(name: str) -> str:
  """The suffix of a file's name in lower case, "" for none."""
  return os.path.splitext(name)[1].lower()


def is_image(path: str) -> bool:
  """Whether a file is an image, by its suffix or else by its first bytes."""
  suffix = _suffix(os.path.basename(path))
  if suffix in _image_suffixes():
    return True
  if suffix in _RAW or suffix in _HEIC:
    return False
  from PIL import Image  # The library does without Pillow.

  try:
    with Image.open(path, formats=_SNIFFED):
      return True
  except Exception:  # Pillow's plugins raise anything on other data.
    return False


@functools.cache
def _image_suffixes() -> frozenset[str]:
  """The suffixes of the formats that Pillow decodes, in lower case."""
  from PIL import Image

  if importlib.util.find_spec("pillow_heif"):
    import pillow_heif  # type: ignore[import-not-found]

    pillow_heif.register_heif_opener()
  Image.init()
  return frozenset(
    suffix
    for suffix, name in Image.registered_extensions().items()
    if name not in _NOT_DECODED and (name in Image.OPEN or name == "MPO")
  )
