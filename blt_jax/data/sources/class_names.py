"""Names of classes: read from files, told by folders, matched by name."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.paths import Paths
from blt_jax.data.sources.file_lookup import reason

# Places365's own list: "/a/apartment_building/outdoor 8".
_NUMBERED = re.compile(r"/\w/(\S.*)\s+([0-9]{1,9})")


class ImageList(NamedTuple):
  """A parsed image list.

  Attributes:
    file: its name.
    paths: [n] with "/", relative to the root.
    labels: int32 [n], 0 or more.
    lines: int32 [n], the number of each one's line in the file.
  """

  file: str
  paths: Paths
  labels: np.ndarray
  lines: np.ndarray

  def place(self, i: int) -> str:
    """Where the i-th image stands, for a message."""
    return f"{self.file}:{self.lines[i]}"


class NamesFile(NamedTuple):
  """A file of class names.

  Attributes:
    names: [C], in the order of the labels.
    numbered: whether the file itself gave each name its number, so that the
      names, not the numbers of a list, say what a label is.
  """

  names: tuple[str, ...]
  numbered: bool


def read_names(file: str) -> NamesFile:
  """Reads class names from a text file.

  Either one name a line in label order, or the form of Places365's
  categories_places365.txt, "/a/apartment_building/outdoor 8", whose names are
  returned as folders are called: apartment_building-outdoor.

  Args:
    file: text file.

  Returns:
    The names and which of the forms it was.

  Raises:
    ValueError: the file can't be read, or a line is empty, or numbers or names
      are not unique, or a number is missing.
  """
  lines = _lines(file)
  matches = [_NUMBERED.fullmatch(line) for line in lines]
  if not all(matches):
    return NamesFile(tuple(lines), numbered=False)
  names: dict[int, str] = {}
  for line, match in enumerate(matches, 1):
    name, number = folder_form(match[1]), int(match[2])  # type: ignore[index]
    if number >= len(lines) or number in names or name in names.values():
      raise ValueError(
        f"{file}:{line}: {lines[line - 1]!r}; allowed: each name once and each"
        f" number from 0 to {len(lines) - 1} once"
      )
    names[number] = name
  return NamesFile(tuple(names[c] for c in range(len(names))), numbered=True)


def folder_form(name: str) -> str:
  """A class name as folders are called: "-" where Places365 writes "/"."""
  return name.replace("/", "-")


def names_from_folders(train: ImageList, num_classes: int) -> tuple[str, ...]:
  """Names classes by the folder of their first image, or else by number.

  Args:
    train: the training images.
    num_classes: C; 0 for the largest label + 1.

  Returns:
    [C] names: folders if they tell all classes apart, else numbers.
  """
  first = np.full(int(np.max(train.labels)) + 1, -1)
  # The last of several assignments to the same place stays.
  first[train.labels[::-1]] = np.arange(len(train.labels))[::-1]
  labels = np.flatnonzero(first >= 0)
  folders = [class_folder(path) for path in train.paths[first[labels]]]
  names = [str(c) for c in range(num_classes or len(first))]
  if len(set(folders)) == len(folders) and "" not in folders:
    for label, folder in zip(labels, folders, strict=True):
      names[label] = folder
  return tuple(names)


def class_folder(path: str) -> str:
  """Name of the folder that an image lies in, "" for none."""
  return os.path.basename(os.path.dirname(path))


def labels_of_folders(lists: Sequence[ImageList]) -> dict[str, int]:
  """The label that lists give to each folder, checked line by line.

  Args:
    lists: of one data set.

  Returns:
    A label for each folder's name and a folder for each label.

  Raises:
    ValueError: names the first line whose folder has another label in an
      earlier line, or whose label has another folder, or that has no folder.
  """
  labels: dict[str, int] = {}
  folders: dict[int, str] = {}
  for listed in lists:
    for i in _first_rows(listed).tolist():
      path, label = listed.paths[i], int(listed.labels[i])
      folder = class_folder(path)
      if not folder:
        raise ValueError(
          f"{listed.place(i)}: path {path!r}; allowed: 'folder/file', as the"
          " folder names the class"
        )
      if labels.setdefault(folder, label) != label:
        raise ValueError(
          f"{listed.place(i)}: folder {folder!r} has label {label}; allowed:"
          f" {labels[folder]}, its label in an earlier line"
        )
      if folders.setdefault(label, folder) != folder:
        raise ValueError(
          f"{listed.place(i)}: label {label} for folder {folder!r}; allowed:"
          f" folder {folders[label]!r}, which has this label in an earlier line"
        )
  return labels


def _first_rows(listed: ImageList) -> np.ndarray:
  """Rows, ascending, that are the first with their folder and label."""
  folders = listed.paths.folders.rows.astype(np.int64)
  pairs = folders * (int(np.max(listed.labels, initial=0)) + 1) + listed.labels
  return np.sort(np.unique(pairs, return_index=True)[1])


def relabel(
  lists: Sequence[ImageList], names: Sequence[str], *, names_file: str
) -> list[ImageList]:
  """Gives every image the number that its folder's name has in `names`.

  Args:
    lists: of one data set; their own numbers only have to be consistent.
    names: [C], as folder_form gives them.
    names_file: where the names come from, for a message.

  Returns:
    The lists with new labels, 0..C-1.

  Raises:
    ValueError: the lists contradict each other or themselves (see
      labels_of_folders), or names the line of a folder that is no class.
  """
  old = labels_of_folders(lists)
  numbers = {name: number for number, name in enumerate(names)}
  table = np.full(max(old.values(), default=0) + 1, -1, np.int64)
  for folder, label in old.items():
    table[label] = numbers.get(folder_form(folder), -1)
  changed = [listed._replace(labels=table[listed.labels]) for listed in lists]
  for listed in changed:
    unknown = np.flatnonzero(listed.labels < 0)
    if len(unknown):
      i = int(unknown[0])
      raise ValueError(
        f"{listed.place(i)}: folder {class_folder(listed.paths[i])!r}; allowed:"
        f" the {len(names)} classes of {names_file}"
      )
  return changed


def _lines(file: str) -> list[str]:
  """The stripped lines of a text file, without empty ones at its end."""
  try:
    with open(file, encoding="utf-8-sig") as text:
      lines = [line.strip() for line in text.read().splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({reason(error)}); allowed: one"
      " class name a line"
    ) from error
  while lines and not lines[-1]:
    lines.pop()
  if not lines or "" in lines:
    line = lines.index("") + 1 if lines else 1
    raise ValueError(f"{file}:{line}: empty; allowed: one class name a line")
  return lines
