"""Looks up many image files, and reads each folder once."""

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.dataset import path_array


class FilesIn(NamedTuple):
  """The files of a folder.

  Attributes:
    names: of the files.
    links: names of the symbolic links among them.
    numbers: uint64 [n], by which the file system knows them (inodes).
  """

  names: set[str]
  links: set[str]
  numbers: np.ndarray


def check_root(root: str) -> None:
  """Raises ValueError unless root is a folder."""
  if not os.path.isdir(root):
    found = "is a file" if os.path.exists(root) else "does not exist"
    raise ValueError(
      f"root is {root!r}, which {found}; expected an existing folder, named by"
      " --config.dataset.root=DIR."
    )


def leaves_root(path: str) -> bool:
  """Whether a relative path could lead out of the folder it is joined to."""
  return path[:1] == "/" or (".." in path and ".." in path.split("/"))


def plain_path(path: str) -> str:
  """A relative path in its shortest spelling: ./a//b.jpg is a/b.jpg."""
  if "//" in path or "./" in path or path[-1:] in ("/", "."):
    return posixpath.normpath(path)
  return path


def beginnings(root: str) -> tuple[str, ...]:
  """What absolute paths below a root begin with; nothing for the root ""."""
  if not root:
    return ()
  folders = os.path.abspath(root), os.path.realpath(root)
  return tuple(os.path.join(folder, "") for folder in folders)


def below(path: str, starts: Sequence[str]) -> str:
  """A path without the first of some beginnings that it has."""
  for start in starts:
    if path.startswith(start):
      return path[len(start) :]
  return path


def files_in(folder: str) -> FilesIn:
  """The files of a folder; none if it can't be read."""
  try:
    with os.scandir(folder) as entries:
      files = [entry for entry in entries if not entry.is_dir()]
      return FilesIn(
        {entry.name for entry in files},
        {entry.name for entry in files if entry.is_symlink()},
        np.array([entry.inode() for entry in files], np.uint64),
      )
  except OSError:
    return FilesIn(set(), set(), np.empty(0, np.uint64))


def identity(path: str) -> str:
  """A name of a file that all its links share, hard ones as well.

  Some file systems give several files one number, so size and time count, too.
  A link to nowhere is its own file.
  """
  try:
    status = os.stat(path)
  except OSError:
    return path
  return (
    f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
  )


def repeated(numbers: Iterable[np.ndarray]) -> bool:
  """Whether a file's number stands twice: it may have two names."""
  ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *numbers]))
  return bool(np.any(ordered[1:] == ordered[:-1]))


def identities(
  finders: Sequence["FileFinder"], found: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Names of files that are equal if the files are one.

  Links lead to their targets, hard links are one file, and a file system that
  ignores case gives a file several names.

  Args:
    finders: those that found the files.
    found: of each list its files, strings [n], as `FileFinder.find` returns
      them.

  Returns:
    Strings [n] of each list; `found` itself as long as no finder has met
    anything of that kind.
  """
  if not any(finder.met_links for finder in finders) and not repeated(
    numbers for finder in finders for numbers in finder.numbers
  ):
    return list(found)
  return [path_array(map(identity, files)) for files in found]


class FileFinder:
  """Finds files below a root folder; remembers the folders that it has read."""

  def __init__(self, root: str, flat_folders: Sequence[str] = ()):
    """Reads nothing yet.

    Args:
      root: folder that paths are relative to.
      flat_folders: folders below the root whose images lie side by side. A path
        top/class/file that does not exist is looked up as folder/file in those
        that begin with `top`: val/airfield/1.jpg as val/1.jpg or val_256/1.jpg.
    """
    self.root = root
    self._real_root = os.path.join(os.path.realpath(root), "")
    self._flat_folders = tuple(flat_folders)
    self._known: dict[str, set[str]] = {}
    self._composed: dict[str, dict[str, str]] = {}
    # What tells that a file may have two names, see `identities`.
    self.met_links = False
    self.numbers: list[np.ndarray] = []

  def find(
    self, paths: Iterable[str], *, place: Callable[[int], str]
  ) -> np.ndarray:
    """The files of some paths.

    Args:
      paths: n relative paths with "/".
      place: what to call the i-th path in a message: "train.txt:7".

    Returns:
      Strings [n], the root joined with each file's relative path.

    Raises:
      ValueError: a file does not exist (the message names the first one and
        counts them), or is a symbolic link to somewhere outside of the root.
    """
    prefix = os.path.join(self.root, "")
    paths = path_array(paths)
    moved, missing = {}, []
    for i, path in enumerate(paths):
      folder, _, file = path.rpartition("/")
      if file not in self._files(folder):
        there = self._find_elsewhere(path, place(i))
        if there is None:
          missing.append(i)
        elif there != path:
          moved[i] = there
    if missing:
      path = paths[missing[0]]
      hint = ", with '/' between folders" if "\\" in path else ""
      raise ValueError(
        f"{place(missing[0])}: no file {prefix + path!r}; expected"
        f" paths of existing files, relative to the root{hint} ({len(missing)}"
        f" of the {len(paths)} files are missing)."
      )
    if moved:
      paths = path_array(moved.get(i, path) for i, path in enumerate(paths))
    root = path_array([prefix])
    if root.dtype != paths.dtype:  # A name is not UTF-8, see path_array.
      root, paths = root.astype(object), paths.astype(object)
    return root + paths

  def _find_elsewhere(self, path: str, place: str) -> str | None:
    """The path of a file that its folder does not list, None if none exists."""
    # Some file systems ignore case or rewrite accents, so look for the file.
    whole = os.path.join(self.root, path)
    if os.path.isfile(whole):
      if not self._inside(whole):
        raise ValueError(
          f"{place}: {whole!r} is a link out of the root, to"
          f" {os.path.realpath(whole)!r}; expected files below the root. A root"
          " above both, with paths from there, can hold them."
        )
      self.met_links = True
      return path
    if composed := self._find_composed(path):
      return composed
    top, file = path.split("/", 1)[0], path.rsplit("/", 1)[-1]
    for folder in self._flat_folders:
      flat = f"{folder}/{file}"
      if path.count("/") > 1 and folder.startswith(top) and self.exists(flat):
        return flat
    return None

  def _find_composed(self, path: str) -> str | None:
    """The file whose name differs only in how accents are written."""
    if path.isascii():
      return None
    place = ""
    for part in path.split("/"):
      if place not in self._composed:
        try:
          names = os.listdir(os.path.join(self.root, place))
        except OSError:
          names = []
        self._composed[place] = {
          unicodedata.normalize("NFC", name): name for name in sorted(names)
        }
      name = self._composed[place].get(unicodedata.normalize("NFC", part))
      if name is None:
        return None
      place = f"{place}/{name}" if place else name
    return place if self._holds(os.path.join(self.root, place)) else None

  def exists(self, path: str) -> bool:
    """Whether a path relative to the root is a file below the root."""
    folder, _, file = path.rpartition("/")
    if file in self._files(folder):
      return True
    if self._holds(os.path.join(self.root, path)):
      self.met_links = True  # The folder lists it in another way.
      return True
    return False

  def _holds(self, path: str) -> bool:
    return os.path.isfile(path) and self._inside(path)

  def _inside(self, path: str) -> bool:
    """Whether a file or folder lies below the root, links followed."""
    return os.path.join(os.path.realpath(path), "").startswith(self._real_root)

  def _files(self, folder: str) -> set[str]:
    """Names of the files in a folder that lie below the root."""
    if folder not in self._known:
      whole = os.path.join(self.root, folder)
      files, links, numbers = files_in(whole if self._inside(whole) else "")
      self._known[folder] = files - {
        link for link in links if not self._holds(os.path.join(whole, link))
      }
      self.met_links = self.met_links or bool(links & self._known[folder])
      self.numbers.append(numbers)
    return self._known[folder]
