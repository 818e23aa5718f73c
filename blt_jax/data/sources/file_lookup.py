"""Looks up many image files, and reads each folder once."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from blt_jax.data.dataset import path_array


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


def files_in(folder: str) -> tuple[set[str], set[str]]:
  """(names of a folder's files, names of the symbolic links among them).

  Both are empty if the folder can't be read.
  """
  try:
    with os.scandir(folder) as entries:
      files = [entry for entry in entries if not entry.is_dir()]
      links = {entry.name for entry in files if entry.is_symlink()}
      return {entry.name for entry in files}, links
  except OSError:
    return set(), set()


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
      raise ValueError(
        f"{place(missing[0])}: no file {prefix + paths[missing[0]]!r}; expected"
        f" paths of existing files, relative to the root ({len(missing)} of the"
        f" {len(paths)} files are missing)."
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
      return path
    top, file = path.split("/", 1)[0], path.rsplit("/", 1)[-1]
    for folder in self._flat_folders:
      flat = f"{folder}/{file}"
      if path.count("/") > 1 and folder.startswith(top) and self.exists(flat):
        return flat
    return None

  def exists(self, path: str) -> bool:
    """Whether a path relative to the root is a file below the root."""
    folder, _, file = path.rpartition("/")
    if file in self._files(folder):
      return True
    return self._holds(os.path.join(self.root, path))

  def _holds(self, path: str) -> bool:
    return os.path.isfile(path) and self._inside(path)

  def _inside(self, path: str) -> bool:
    """Whether a file or folder lies below the root, links followed."""
    return os.path.join(os.path.realpath(path), "").startswith(self._real_root)

  def _files(self, folder: str) -> set[str]:
    """Names of the files in a folder that lie below the root."""
    if folder not in self._known:
      whole = os.path.join(self.root, folder)
      files, links = files_in(whole) if self._inside(whole) else (set(), set())
      files -= {
        link for link in links if not self._holds(os.path.join(whole, link))
      }
      self._known[folder] = files
    return self._known[folder]
