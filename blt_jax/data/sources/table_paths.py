"""Finds the files that the paths of a table mean."""

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from blt_jax.data.dataset import path_array
from blt_jax.data.sources.file_lookup import (
  FileFinder,
  check_root,
  files_in,
  identities,
)
from blt_jax.data.sources.image_files import find_images, is_image
from blt_jax.data.text import as_text, counted

# (folder, path in it)
Found = tuple[str, str]


class PathFinder:
  r"""Finds files below the root, or else beside the table.

  People write paths in several ways. Each is tried as it stands, then without
  spaces around it, with / for the \ of Windows, without a / in front, and with
  accents composed or decomposed. A name without a suffix is the one image that
  has this name and a suffix. A name without a folder may lie in any folder
  below the root, if no other file there has it.
  """

  def __init__(self, root: str, table: str, *, fallback: str = ""):
    """Reads no folder yet.

    Args:
      root: a folder; "" for that of the table.
      table: a file.
      fallback: where the images of a run are; "" for nowhere. It is looked in
        last, and only if a file is missing elsewhere.

    Raises:
      ValueError: the root is not a folder.
    """
    beside = os.path.dirname(table) or os.curdir
    if root:
      check_root(root)
    self._bases = [root or beside, beside]
    # Where to look if files are missing; then where it was looked.
    self._fallback = os.path.abspath(fallback) if fallback else ""
    self._fell_back = False
    self._found_in_fallback = 0
    self._open()

  def _open(self) -> None:
    """Forgets what was found; looks in each of the folders once."""
    once: dict[str, str] = {}
    for base in self._bases:
      once.setdefault(os.path.realpath(base), base)
    bases = list(once.values())
    if len(bases) > 1:
      # One file has one name, whichever folder leads to it.
      bases = [os.path.abspath(base) for base in bases]
    self._finders = [FileFinder(base) for base in bases]
    self._stems: dict[tuple[str, str], dict[str, list[str]]] = {}
    self._anywhere: dict[str, Found | None] | None = None
    self._found_anywhere = 0

  def find(
    self, paths: Sequence[str], *, place: Callable[[int], str]
  ) -> tuple[list[str], list[str]]:
    """The files of some paths.

    Args:
      paths: [n].
      place: what to call the i-th path in a message: "labels.csv:7".

    Returns:
      (n files, their n paths relative to the root or to the table's folder).

    Raises:
      ValueError: a file does not exist; names the first and counts them.
    """
    files, relative, missing = [], [], []
    for i, path in enumerate(paths):
      found = self._find(path)
      if found is None:
        missing.append(i)
      else:
        if self._fell_back and found[0] == self._fallback:
          self._found_in_fallback += 1
        files.append(os.path.join(*found))
        relative.append(found[1])
    if missing and not self._fell_back and os.path.isdir(self._fallback):
      self._fell_back = True
      self._bases.append(self._fallback)
      self._open()
      return self.find(paths, place=place)
    if missing:
      folders = " or ".join(repr(finder.root) for finder in self._finders)
      raise ValueError(
        f"{place(missing[0])}: no file {paths[missing[0]]!r} in {folders};"
        " expected paths of existing files there, relative to the root"
        " (--config.dataset.root) or to the table's folder"
        f" ({len(missing)} of the {len(paths)} files are missing)."
        f"{self._hint(paths[missing[0]])}"
      )
    return files, relative

  def _hint(self, path: str) -> str:
    """Where there is a file of the name of one that is missing."""
    name = path.replace("\\", "/").rpartition("/")[2].strip().casefold()
    for finder in self._finders:
      for inner in find_images(finder.root).paths:
        if name and name == inner.rpartition("/")[2].casefold():
          there = os.path.join(finder.root, inner)
          return f" There is a file {there!r}."
    return ""

  def identities(self, files: Sequence[str]) -> list[str]:
    """Names of files that `find` found, equal if the files are one."""
    return identities(self._finders, [path_array(files)])[0].tolist()

  def lines(self, files: Sequence[str]) -> list[str]:
    """Lines about files of other folders, and about images without a row.

    Args:
      files: what `find` found.
    """
    lines = []
    if self._found_in_fallback:
      lines.append(
        f"{counted(self._found_in_fallback, 'image')} found in"
        f" {self._fallback!r}, the folder of the run's images"
      )
    if self._found_anywhere:
      lines.append(
        f"{counted(self._found_anywhere, 'image')} found by name, in a folder"
        " that the table does not give"
      )
    others = _others(files)
    if others:
      lines.append(
        f"left out: {counted(len(others), 'image')} beside those of the table,"
        f" without a row that counts, such as {as_text(others[0])}"
      )
    return lines

  def _find(self, path: str) -> Found | None:
    if "\0" in path:
      return None
    for finder, inner in self._places(path):
      if finder.exists(inner):
        return finder.root, inner
    for finder, inner in self._places(path):
      whole = self._with_suffix(finder.root, inner)
      if whole and finder.exists(whole):
        return finder.root, whole
    return self._find_anywhere(path)

  def _places(self, path: str) -> Iterator[tuple[FileFinder, str]]:
    """Where a file may be: folders, and paths in them."""
    for form in _forms(path):
      for start in self._finders:
        if _is_plain(form):
          yield start, form
          continue
        whole = os.path.normpath(
          os.path.join(os.path.abspath(start.root), form)
        )
        for finder in self._finders:
          above = os.path.join(os.path.abspath(finder.root), "")
          if whole.startswith(above):
            yield finder, whole[len(above) :]

  def _with_suffix(self, base: str, inner: str) -> str | None:
    """The path of the one image that is called so with a suffix."""
    folder, _, name = inner.rpartition("/")
    if (base, folder) not in self._stems:
      self._stems[base, folder] = _by_stem(os.path.join(base, folder))
    same = [
      posixpath.join(folder, file)
      for file in self._stems[base, folder].get(name, ())
    ]
    images = [path for path in same if is_image(os.path.join(base, path))]
    return images[0] if len(images) == 1 else None

  def _find_anywhere(self, path: str) -> Found | None:
    """The file of a name without a folder, in any folder."""
    if "/" in path or "\\" in path:
      return None
    if self._anywhere is None:
      self._anywhere = {}
      for finder in self._finders:
        for inner in find_images(finder.root).paths:
          self._note(finder, inner)
    for form in _forms(path):
      if found := self._anywhere.get(form):
        self._found_anywhere += 1
        return found
    return None

  def _note(self, finder: FileFinder, inner: str) -> None:
    """Remembers an image by its name, with the suffix and without it."""
    assert self._anywhere is not None
    if not finder.exists(inner):  # A link out of the folder.
      return
    name = inner.rpartition("/")[2]
    for key in {name, os.path.splitext(name)[0]}:
      there = self._anywhere.setdefault(key, (finder.root, inner))
      # The same file may lie below both folders.
      if there is not None and os.path.realpath(
        os.path.join(*there)
      ) != os.path.realpath(os.path.join(finder.root, inner)):
        self._anywhere[key] = None


def _forms(path: str) -> Iterator[str]:
  """The ways to read a path, each once."""
  yield path
  seen = {path}
  plain = path.strip()
  slashes = plain.replace("\\", "/")
  forms = [plain, slashes, slashes.lstrip("/")]
  if not path.isascii():
    forms += [unicodedata.normalize(f, slashes) for f in ("NFC", "NFD")]
  for form in forms:
    if form not in seen:
      seen.add(form)
      yield form


def _is_plain(path: str) -> bool:
  """Whether a path is relative and has neither "." nor ".." nor "//" in it."""
  return path[:1] not in ("/", ".") and "/." not in path and "//" not in path


def _others(files: Sequence[str]) -> list[str]:
  """Images in the folders of some files that are none of them.

  They are told by their suffixes, which some of the files have.
  """
  named: dict[str, set[str]] = {}
  for file in files:
    folder, _, name = file.rpartition("/")
    named.setdefault(folder, set()).add(name)
  suffixes = {
    os.path.splitext(name)[1].lower()
    for names in named.values()
    for name in names
  }
  return [
    f"{folder}/{name}"
    for folder, names in named.items()
    for name in sorted(files_in(folder or os.curdir).names - names)
    if os.path.splitext(name)[1].lower() in suffixes and name[0] != "."
  ]


def _by_stem(folder: str) -> dict[str, list[str]]:
  """{name without its suffix: names} of a folder's files."""
  stems: dict[str, list[str]] = {}
  for name in sorted(files_in(folder).names):
    stems.setdefault(os.path.splitext(name)[0], []).append(name)
  return stems
