"""Looking up many image files: every folder is read once, no file is asked."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from blt_jax.data.dataset import string_array


def check_root(root: str) -> None:
  """Raises ValueError unless root is a folder."""
  if not os.path.isdir(root):
    raise ValueError(f"root = {root!r}; allowed: an existing folder")


def leaves_root(path: str) -> bool:
  """Whether a relative path could lead out of the folder it is joined to."""
  return path[:1] == "/" or (".." in path and ".." in path.split("/"))


def files_in(folder: str) -> set[str]:
  """Names of the files of a folder; none if it can't be read."""
  try:
    with os.scandir(folder) as entries:
      return {entry.name for entry in entries if not entry.is_dir()}
  except OSError:
    return set()


class FileFinder:
  """Finds files below a root folder and remembers the folders it has read."""

  def __init__(self, root: str, flat_folders: Sequence[str] = ()):
    """Reads nothing yet.

    Args:
      root: folder that paths are relative to.
      flat_folders: folders below the root whose images lie side by side. A path
        top/class/file that does not exist is looked up as folder/file in those
        that begin with `top`: val/airfield/1.jpg as val/1.jpg or val_256/1.jpg.
    """
    self.root = root
    self._flat_folders = tuple(flat_folders)
    self._known: dict[str, set[str]] = {}

  def find_all(
    self, paths: Iterable[str], *, place: Callable[[int], str]
  ) -> np.ndarray:
    """The files of some paths.

    Args:
      paths: n relative paths with "/".
      place: what to call the i-th path in a message: "train.txt:7".

    Returns:
      [n] strings, each the root joined with where the file lies.

    Raises:
      ValueError: names the first file that does not exist, and counts them.
    """
    wanted = list(paths)
    found = [self._find(path) for path in wanted]
    missing = [i for i, path in enumerate(found) if path is None]
    if missing:
      first = missing[0]
      raise ValueError(
        f"{place(first)}: no file {os.path.join(self.root, wanted[first])!r};"
        f" {len(missing)} of the list's {len(found)} files are missing"
      )
    prefix = string_array(os.path.join(self.root, ""))
    return np.strings.add(prefix, string_array(found))

  def _find(self, path: str) -> str | None:
    if self._exists(path):
      return path
    top, file = path.split("/", 1)[0], path.rsplit("/", 1)[-1]
    for folder in self._flat_folders:
      flat = f"{folder}/{file}"
      if path.count("/") > 1 and folder.startswith(top) and self._exists(flat):
        return flat
    return None

  def _exists(self, path: str) -> bool:
    folder, _, file = path.rpartition("/")
    if folder not in self._known:
      self._known[folder] = files_in(os.path.join(self.root, folder))
    if file in self._known[folder]:
      return True
    # Some file systems ignore case or rewrite accents: ask about a miss.
    return os.path.isfile(os.path.join(self.root, path))
