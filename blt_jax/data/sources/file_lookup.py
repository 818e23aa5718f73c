"""Looking up many image files: every folder is read once, no file is asked."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from blt_jax.data.paths import Paths

# Names of files that a FileFinder remembers, 0.1 GB: lists of the same folders
# read them once, and ten million names don't fill the memory.
_MOST_KNOWN = 1_000_000


def check_root(root: str) -> None:
  """Raises ValueError unless root is a folder."""
  if not os.path.isdir(root):
    found = "is a file" if os.path.exists(root) else "does not exist"
    raise ValueError(
      f"root = {root!r}, which {found}; allowed: an existing folder, named by"
      " --config.dataset.root=DIR"
    )


def leaves_root(path: str) -> bool:
  """Whether a relative path could lead out of the folder it is joined to."""
  return path[:1] == "/" or (".." in path and ".." in path.split("/"))


def reason(error: Exception) -> str:
  """Why a file can't be read, without the file's name."""
  return str(getattr(error, "strerror", None) or error or type(error).__name__)


def files_in(folder: str) -> tuple[set[str], set[str]]:
  """Names of a folder's files, and of those of them that are symbolic links.

  There are none if the folder can't be read.
  """
  try:
    with os.scandir(folder) as entries:
      files = [entry for entry in entries if not entry.is_dir()]
      links = {entry.name for entry in files if entry.is_symlink()}
      return {entry.name for entry in files}, links
  except OSError:
    return set(), set()


def files_below(folder: str) -> list[str]:
  """All files of a folder and of the folders in it, however deep.

  What is hidden is skipped. Links to folders are followed, each folder once.

  Args:
    folder: where to look.

  Returns:
    Paths from that folder on, with "/", in order.

  Raises:
    ValueError: a folder can't be read.
  """

  def refuse(error: OSError) -> None:
    raise ValueError(
      f"folder {error.filename!r} can't be read: {reason(error)}"
    )

  found: list[str] = []
  entered = set()
  for place, folders, files in os.walk(
    folder, onerror=refuse, followlinks=True
  ):
    status = os.stat(place)
    if (status.st_dev, status.st_ino) in entered:
      folders.clear()
      continue
    entered.add((status.st_dev, status.st_ino))
    folders[:] = sorted(name for name in folders if name[0] != ".")
    below = os.path.relpath(place, folder).replace(os.sep, "/")
    prefix = "" if below == "." else f"{below}/"
    found += [f"{prefix}{name}" for name in files if name[0] != "."]
  return sorted(found)


class FileFinder:
  """Finds files below a root folder; remembers the folders it read last."""

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
    self._num_known = 0

  def find_all(
    self, paths: Paths | Iterable[str], *, place: Callable[[int], str]
  ) -> Paths:
    """The files of some paths.

    Args:
      paths: n relative paths with "/".
      place: what to call the i-th path in a message: "train.txt:7".

    Returns:
      [n], each the root joined with where the file lies. They share the memory
      of `paths`.

    Raises:
      ValueError: names the first file that does not exist, and counts them; or
        a file or folder that is a symbolic link to somewhere outside the root.
    """
    (found,) = self.find_lists([(Paths.of(paths), place)])
    return found

  def find_lists(
    self, lists: Sequence[tuple[Paths, Callable[[int], str]]]
  ) -> list[Paths]:
    """The files of several lists, each folder read once for all of them.

    Args:
      lists: pairs of what find_all takes.

    Returns:
      What find_all gives for each.

    Raises:
      ValueError: see find_all, for the first list with a missing file.
    """
    found = []
    absent = self._absent([paths for paths, _ in lists])
    for (paths, place), rows in zip(lists, absent, strict=True):
      elsewhere = {row: self._find(paths[row], place(row)) for row in rows}
      missing = [row for row, path in elsewhere.items() if path is None]
      if missing:
        first = min(missing)
        raise ValueError(
          f"{place(first)}: no file {os.path.join(self.root, paths[first])!r};"
          f" {len(missing)} of the list's {len(paths)} files are missing;"
          " allowed: paths of existing files, from the root on"
        )
      moved = {row: path for row, path in elsewhere.items() if path is not None}
      found.append(paths.replaced(moved).below(os.path.join(self.root, "")))
    return found

  def _absent(self, lists: Sequence[Paths]) -> list[list[int]]:
    """Rows of each list's paths that their folders don't hold."""
    wanted: dict[str, list[tuple[int, np.ndarray]]] = {}
    for number, paths in enumerate(lists):
      for folder, rows in _by_folder(paths):
        wanted.setdefault(folder, []).append((number, rows))
    absent: list[list[int]] = [[] for _ in lists]
    for folder, parts in wanted.items():
      known = self._files(folder)
      for number, rows in parts:
        files = lists[number].files(rows, folder=folder)
        if not known.issuperset(files):
          misses = [file not in known for file in files]
          absent[number] += rows[misses].tolist()
    return absent

  def _find(self, path: str, place: str) -> str | None:
    # Some file systems ignore case or rewrite accents: ask about a miss.
    whole = os.path.join(self.root, path)
    if os.path.isfile(whole):
      if not self._inside(whole):
        raise ValueError(
          f"{place}: {whole!r} is a link out of the root, to"
          f" {os.path.realpath(whole)!r}; allowed: files below the root. A root"
          " above both, with paths from there, can hold them"
        )
      return path
    top, file = path.split("/", 1)[0], path.rsplit("/", 1)[-1]
    for folder in self._flat_folders:
      flat = f"{folder}/{file}"
      if path.count("/") > 1 and folder.startswith(top) and self._exists(flat):
        return flat
    return None

  def _exists(self, path: str) -> bool:
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
    """Names of a folder's files; all folders are forgotten when too many."""
    if folder not in self._known:
      whole = os.path.join(self.root, folder)
      files, links = files_in(whole) if self._inside(whole) else (set(), set())
      files -= {
        link for link in links if not self._holds(os.path.join(whole, link))
      }
      if self._num_known + len(files) > _MOST_KNOWN:
        self._known, self._num_known = {}, 0
      self._known[folder] = files
      self._num_known += len(files)
    return self._known[folder]


def _by_folder(paths: Paths) -> Iterator[tuple[str, np.ndarray]]:
  """Pairs of a folder and the rows, ascending, of the paths in it."""
  names, folder_of = paths.folders
  order = np.argsort(folder_of, kind="stable")
  ends = np.cumsum(np.bincount(folder_of, minlength=len(names)))
  return zip(names, np.split(order, ends[:-1]), strict=True)
