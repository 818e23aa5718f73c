"""Image lists ("path label" lines) and image folders (root/class/image.jpg)."""

import logging
import os
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.dataset import (
  Dataset,
  Split,
  assemble,
  check_every_class,
  drop_small_classes,
  string_array,
)

_log = logging.getLogger(__name__)
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_LINES_AT_ONCE = 65536


class _List(NamedTuple):
  """A parsed image list: paths below the root, labels and line numbers [n]."""

  file: str
  paths: np.ndarray
  labels: np.ndarray
  lines: np.ndarray


def load_image_lists(
  root: str,
  train_list: str,
  *,
  validation_list: str = "",
  test_list: str = "",
  name: str = "image_list",
  num_classes: int = 0,
  class_names_file: str = "",
  profile: str = "natural",
  max_per_class: int = 0,
  imbalance: float = 100.0,
  validation_per_class: int = 0,
  drop_below: int = 0,
  split_seed: int = 0,
) -> Dataset:
  """A data set from lists of "path label" lines.

  The format that OLTR, classifier-balancing and BLT's authors share. A line's
  last field is its label, so paths may contain spaces; empty lines are skipped.
  Every file of the lists is looked up before this returns.

  Args:
    root: folder that the lists' paths are relative to.
    train_list: text file.
    validation_list: text file; "" holds validation_per_class images a class
      out of training.
    test_list: text file; "" tests on the validation split.
    name: of the data set.
    num_classes: C; 0 takes it from class_names_file or the training list.
    class_names_file: one name a line in label order. "" names a class by the
      folder of its first training image if that tells all classes apart, else
      by number.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: images a class held out; unused with a validation
      list.
    drop_below: drops classes that keep fewer training images than this after
      the hold-out, from every split; 0 drops none.
    split_seed: of the choice of images.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the list and line, the field, or the class that is wrong.
  """
  _check_root(root)
  names = tuple(_read_names(class_names_file)) if class_names_file else ()
  if names and num_classes not in (0, len(names)):
    raise ValueError(
      f"{class_names_file}: {len(names)} names; allowed: num_classes ="
      f" {num_classes}"
    )
  listed = _read_list(train_list, num_classes or len(names))
  names = names or _names_from_folders(listed, num_classes)
  folders: dict[str, set[str]] = {}
  train = _to_split(root, listed, folders)
  validation, test = (
    _to_split(root, _read_list(file, len(names)), folders) if file else None
    for file in (validation_list, test_list)
  )
  if drop_below:
    names, train, (validation, test) = drop_small_classes(
      names,
      train,
      others=(validation, test),
      minimum=drop_below + validation_per_class,
    )
  return assemble(
    name,
    names,
    train=train,
    validation=validation,
    test=test,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def load_image_folder(
  root: str,
  *,
  name: str = "image_folder",
  profile: str = "natural",
  max_per_class: int = 0,
  imbalance: float = 100.0,
  validation_per_class: int = 0,
  test_per_class: int = 0,
  split_seed: int = 0,
) -> Dataset:
  """A data set from folders of images, one folder a class.

  Either root/train/class/image.jpg, with root/validation (or root/val) and
  root/test beside it where there are such, or root/class/image.jpg. Classes are
  numbered in the order of their names. Files other than .jpg, .jpeg, .png,
  .bmp, .gif and .webp are counted, logged and ignored; hidden ones are skipped.

  Args:
    root: folder.
    name: of the data set.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: images a class held out of training; unused with a
      validation folder.
    test_per_class: images a class held out of training first; unused with a
      test folder. With neither, the validation split is the test split as well.
    split_seed: of the choice of images.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the folder, field or class that is wrong.
  """
  _check_root(root)
  folders = _split_folders(root)
  class_names = _subfolders(folders["train"])
  if len(class_names) < 2:
    raise ValueError(
      f"{folders['train']}: {len(class_names)} class folders;"
      " allowed: 2 or more"
    )
  train = _read_classes(folders["train"], class_names)
  validation, test = (
    _read_classes(folders[part], class_names) if part in folders else None
    for part in ("validation", "test")
  )
  check_every_class(train.labels, class_names)
  if test is None and test_per_class:
    rest, held = longtail.hold_out(
      train.labels, test_per_class, seed=split_seed, class_names=class_names
    )
    train, test = train.take(rest), train.take(held)
  return assemble(
    name,
    class_names,
    train=train,
    validation=validation,
    test=test,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def _check_root(root: str) -> None:
  if not os.path.isdir(root):
    raise ValueError(f"root = {root!r}; allowed: an existing folder")


def _read_list(file: str, num_classes: int) -> _List:
  """Parses a list, checked; num_classes = 0 allows any label below n."""
  paths, labels, lines = [], [], []
  try:
    with open(file, encoding="utf-8-sig") as text:
      numbered = enumerate(text, 1)
      while chunk := list(islice(numbered, _LINES_AT_ONCE)):
        parsed = [
          _parse_line(file, number, line)
          for number, line in chunk
          if not line.isspace()
        ]
        paths.append(string_array([path for path, _, _ in parsed]))
        labels.append(np.array([label for _, label, _ in parsed], np.int64))
        lines.append(np.array([number for *_, number in parsed], np.int64))
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({error})"
    ) from error
  if not sum(map(len, labels)):
    raise ValueError(f"{file}: no line; allowed: 1 or more 'path label' lines")
  columns = (np.concatenate(part) for part in (paths, labels, lines))
  listed = _List(file, *columns)
  # Every class needs an image, so a training list of n lines has n at most.
  limit = num_classes or len(listed.labels)
  wrong = listed.labels >= limit
  if np.any(wrong):
    first = int(np.argmax(wrong))
    raise ValueError(
      f"{file}:{listed.lines[first]}: label {listed.labels[first]};"
      f" allowed: 0 to {limit - 1}, as there are {limit}"
      f" {'classes' if num_classes else 'lines'}"
    )
  return listed


def _parse_line(file: str, number: int, line: str) -> tuple[str, int, int]:
  fields = line.rsplit(None, 1)
  if len(fields) != 2 or not fields[0].strip():
    raise ValueError(
      f"{file}:{number}: {line.strip()!r};"
      " allowed: 'path label', the label last"
    )
  path, label = fields[0].strip(), fields[1]
  # int32 holds 9 digits; isdigit alone would let other scripts' digits pass.
  if not (label.isascii() and label.isdigit() and len(label) <= 9):
    raise ValueError(
      f"{file}:{number}: label {label!r}; allowed: a whole number, 0 or more"
    )
  if path[0] == "/" or (".." in path and ".." in path.split("/")):
    raise ValueError(
      f"{file}:{number}: path {path!r} leaves the root;"
      " allowed: paths below it, without '..'"
    )
  return path, int(label), number


def _read_names(file: str) -> list[str]:
  try:
    with open(file, encoding="utf-8-sig") as text:
      names = [line.strip() for line in text.read().splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({error})"
    ) from error
  while names and not names[-1]:
    names.pop()
  if not names or "" in names:
    line = names.index("") + 1 if names else 1
    raise ValueError(f"{file}:{line}: empty; allowed: one class name a line")
  return names


def _names_from_folders(train: _List, num_classes: int) -> tuple[str, ...]:
  labels, first = np.unique(train.labels, return_index=True)
  folders = [
    os.path.basename(os.path.dirname(path)) for path in train.paths[first]
  ]
  names = [str(c) for c in range(num_classes or int(labels[-1]) + 1)]
  if len(set(folders)) == len(folders) and "" not in folders:
    for label, folder in zip(labels, folders, strict=True):
      names[label] = folder
  return tuple(names)


def _check_files(root: str, listed: _List, known: dict[str, set[str]]) -> None:
  """Looks every path up; reads each folder once instead of asking per file."""
  missing = [
    i for i, path in enumerate(listed.paths) if not _exists(root, path, known)
  ]
  if missing:
    first = missing[0]
    raise ValueError(
      f"{listed.file}:{listed.lines[first]}: no file"
      f" {os.path.join(root, listed.paths[first])!r}; {len(missing)} of the"
      f" list's {len(listed.paths)} files are missing"
    )


def _exists(root: str, path: str, known: dict[str, set[str]]) -> bool:
  folder, _, file = path.rpartition("/")
  if folder not in known:
    known[folder] = _files(os.path.join(root, folder))
  # Some file systems ignore case or rewrite accents: ask about a miss.
  return file in known[folder] or os.path.isfile(os.path.join(root, path))


def _files(folder: str) -> set[str]:
  try:
    with os.scandir(folder) as entries:
      return {entry.name for entry in entries if not entry.is_dir()}
  except OSError:
    return set()


def _to_split(root: str, listed: _List, known: dict[str, set[str]]) -> Split:
  """The split of a list, all its files looked up."""
  _check_files(root, listed, known)
  prefix = string_array(os.path.join(root, ""))
  return Split(listed.labels, paths=np.strings.add(prefix, listed.paths))


def _split_folders(root: str) -> dict[str, str]:
  present = set(_subfolders(root))
  if "train" not in present:
    return {"train": root}
  if {"val", "validation"} <= present:
    raise ValueError(
      f"{root}: has 'val' and 'validation'; allowed: one of them"
    )
  parts = {"train": "train", "val": "validation", "validation": "validation"}
  parts["test"] = "test"
  return {
    part: os.path.join(root, folder)
    for folder, part in parts.items()
    if folder in present
  }


def _subfolders(folder: str) -> list[str]:
  with os.scandir(folder) as entries:
    return sorted(
      entry.name
      for entry in entries
      if entry.is_dir() and not entry.name.startswith(".")
    )


def _read_classes(folder: str, class_names: Sequence[str]) -> Split:
  """The images of one folder of class folders."""
  unknown = set(_subfolders(folder)) - set(class_names)
  if unknown:
    raise ValueError(
      f"{folder}: class {min(unknown)!r} is not a training class; allowed: the"
      f" {len(class_names)} folders of the training images"
    )
  paths, labels, ignored = [], [], 0
  for label, name in enumerate(class_names):
    files = [
      file
      for file in _files(os.path.join(folder, name))
      if not file.startswith(".")
    ]
    images = sorted(f for f in files if f.lower().endswith(_EXTENSIONS))
    ignored += len(files) - len(images)
    paths += [os.path.join(folder, name, file) for file in images]
    labels += [label] * len(images)
  if ignored:
    _log.warning("%s: ignored %d files that are not images", folder, ignored)
  if not paths:
    raise ValueError(
      f"{folder}: no image;"
      f" allowed: class folders with {', '.join(_EXTENSIONS)}"
    )
  return Split(np.array(labels), paths=string_array(paths))
