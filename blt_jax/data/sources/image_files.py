"""Finds the images of a folder, and says what it left out and why."""

import collections
import dataclasses
import functools
import importlib.util
import mimetypes
import os
import warnings
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from blt_jax.data.sources.system_files import file_kind, folder_kind
from blt_jax.data.text import as_text, counted, reason

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
# What programs name files that are not complete, and copies before a change.
_UNFINISHED = frozenset(
  (".part", ".partial", ".crdownload", ".download", ".filepart", ".bak")
)

# Pillow recognises these formats, but can't decode them by itself.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"))

# Formats that begin with bytes of their own, by which a file without a known
# suffix is recognised.
_SNIFFED = (
  *("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF", "PPM"),
)
# Files of these kinds are not opened to see whether they are images: a folder
# may hold a text for each image.
_OTHER_KINDS = ("text/", "audio/", "video/", "application/")

# Most suffixes that a line names.
_NAMED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class FoundFiles:
  """The images of a folder and of the folders in it.

  Attributes:
    paths: of the images, relative to the folder, with "/", sorted.
    left_out: what was left out -> the paths of the files that it is about; a
      folder without files has "/" at the end.
    links: whether a symbolic link was met.
    numbers: uint64 [n], by which the file system knows the files (inodes).
  """

  paths: list[str]
  left_out: dict[str, list[str]]
  links: bool
  numbers: np.ndarray

  def lines(self) -> tuple[str, ...]:
    """A line for each kind of files that were left out."""
    lines = []
    for what, paths in self.left_out.items():
      files = [path for path in paths if path[-1:] != "/"]
      if what.startswith(_FOLDER):
        name = what[len(_FOLDER) :].split("'", 1)[0].lower()
        number = len({_through(path, name) for path in paths})
        what = f"in {counted(number, 'folder')} '{what[len(_FOLDER) :]}"
      lines.append(
        f"left out: {counted(len(files), 'file')} {what}, such as"
        f" {as_text((files or paths)[0])}"
      )
    return tuple(lines)


# A kind of files in folders of a name; `lines` counts the folders.
_FOLDER = "in folders '"


def _through(path: str, name: str) -> str:
  """The beginning of a path as far as the folder of a name."""
  parts = path.split("/")
  last = [part.lower() for part in parts].index(name)
  return "/".join(parts[: last + 1])


def find_images(folder: str, *, without: Collection[str] = ()) -> FoundFiles:
  """Finds the images of a folder and of the folders in it, however deep.

  A file is an image if its suffix is of a format that Pillow reads or, with
  another suffix or none, if its first bytes are. Hidden files, the files and
  folders that systems make (thumbnails, bins), files that are not complete and
  all others are left out. Links to folders are followed, each folder once.

  Args:
    folder: where to look.
    without: names of folders in it that are not looked into.

  Raises:
    ValueError: a folder can't be read.
  """
  found: list[str] = []
  left_out: dict[str, list[str]] = {}
  others: dict[str, list[str]] = {}
  links = False
  numbers: list[int] = []
  for place, names, files in _walk(folder, frozenset(without)):
    for name in _take(names, _is_left_out):
      kind = folder_kind(name)
      what = f"{_FOLDER}{name}' ({kind})" if kind else _HIDDEN
      inner = _all_files(os.path.join(folder, place, name))
      if kind or inner:
        left_out.setdefault(what, []).extend(
          f"{place}{name}/{file}" for file in inner or [""]
        )
    links = links or any(map(os.path.islink, _joined(folder, place, names)))
    for entry in files:
      path = f"{place}{entry.name}"
      links = links or entry.is_symlink()
      if why := _reason(entry):
        left_out.setdefault(why, []).append(path)
      elif is_image(entry.path):
        found.append(path)
        numbers.append(entry.inode())
      else:
        others.setdefault(_suffix(entry.name), []).append(path)
  left_out |= _explained(others)
  kept = {what: sorted(left_out[what]) for what in sorted(left_out)}
  return FoundFiles(sorted(found), kept, links, np.array(numbers, np.uint64))


def merged(parts: Iterable[tuple[str, FoundFiles]]) -> FoundFiles:
  """Files of several folders as those of one.

  Args:
    parts: (prefix that the paths get, files) of each folder.
  """
  paths: list[str] = []
  left_out: dict[str, list[str]] = {}
  others: dict[str, list[str]] = {}
  parts = list(parts)
  for prefix, found in parts:
    paths += [prefix + path for path in found.paths]
    for what, files in found.left_out.items():
      more = [prefix + file for file in files]
      if what.startswith(_NO_IMAGES):
        for path in more:
          others.setdefault(_suffix(path), []).append(path)
      else:
        left_out.setdefault(what, []).extend(more)
  return FoundFiles(
    paths,
    left_out | _explained(others),
    any(found.links for _, found in parts),
    np.concatenate(
      [np.empty(0, np.uint64), *(found.numbers for _, found in parts)]
    ),
  )


_HIDDEN = "with hidden names (a dot begins them)"
_NO_IMAGES = "without an image"


def _reason(entry: os.DirEntry) -> str | None:
  """Why a file is left out, whatever it holds."""
  name = entry.name
  if kind := file_kind(name):
    title = "._*" if name.startswith("._") else name.strip()
    return f"called '{title}' ({kind})"
  if name.startswith("."):
    return _HIDDEN
  # The readers name a link to nowhere, as they do with damaged files.
  if not entry.is_file() and not entry.is_symlink():
    return "of other kinds (pipes, devices)"
  if _suffix(name) in _UNFINISHED or name.endswith("~"):
    return "of unfinished downloads and of copies before a change"
  return None


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
      rest[suffix or "no suffix"] += len(paths)
      plain += paths
  if plain:
    named = [f"{suffix}: {count}" for suffix, count in rest.most_common(_NAMED)]
    if len(rest) > _NAMED:
      named.append("...")
    left_out[f"{_NO_IMAGES} that Pillow reads ({', '.join(named)})"] = plain
  return left_out


def is_system_folder(name: str) -> bool:
  """Whether a folder of this name is one that systems make."""
  return folder_kind(name) is not None


def _is_left_out(name: str) -> bool:
  return name.startswith(".") or is_system_folder(name)


def _take(names: list[str], belongs) -> list[str]:
  """Removes the names of some folders, so that the walk skips these."""
  taken = [name for name in names if belongs(name)]
  names[:] = [name for name in names if not belongs(name)]
  return taken


def _walk(
  folder: str, without: frozenset[str]
) -> Iterator[tuple[str, list[str], list[os.DirEntry]]]:
  """(place with "/" behind it, names of folders in it, files in it).

  Names that the caller takes out of the list of folders are not entered.
  """
  entered = set()
  waiting = [""]
  while waiting:
    place = waiting.pop()
    whole = os.path.join(folder, place)
    try:
      status = os.stat(whole)
      with os.scandir(whole) as entries:
        inside = list(entries)
    except OSError as error:
      raise ValueError(
        f"{whole}: can't be read ({reason(error)}); expected a folder that may"
        " be opened."
      ) from error
    if (status.st_dev, status.st_ino) in entered:
      continue
    entered.add((status.st_dev, status.st_ino))
    names = sorted(entry.name for entry in inside if entry.is_dir())
    if not place:
      names = [name for name in names if name not in without]
    yield place, names, [entry for entry in inside if not entry.is_dir()]
    waiting += [f"{place}{name}/" for name in reversed(names)]


def _joined(folder: str, place: str, names: list[str]) -> Iterator[str]:
  return (os.path.join(folder, place, name) for name in names)


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
  if suffix in _RAW or suffix in _HEIC or _is_other_kind(suffix):
    return False
  # Opening a pipe waits for somebody to write into it.
  return os.path.isfile(path) and _begins_as_image(path)


def _begins_as_image(path: str) -> bool:
  """Whether the first bytes of a file are those of an image."""
  from PIL import Image  # The library does without Pillow.

  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      with Image.open(path, formats=_SNIFFED):
        return True
  except Image.DecompressionBombError:
    return True  # The readers say that it is too large.
  except Exception:  # Pillow's plugins raise anything on other data.
    return False


@functools.cache
def _is_other_kind(suffix: str) -> bool:
  """Whether files of a suffix are texts, sounds, films or documents."""
  # Without the tables of this machine, so that all machines agree.
  kind = mimetypes.MimeTypes().guess_type(f"x{suffix}")[0] or ""
  return kind.startswith(_OTHER_KINDS) and kind != "application/octet-stream"


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
