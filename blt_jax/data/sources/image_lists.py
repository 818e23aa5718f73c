"""Image lists: "path label" lines, and the options that data sets need."""

import codecs
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.dataset import Dataset, Split, assemble
from blt_jax.data.paths import Paths
from blt_jax.data.sources.class_names import (
  ImageList,
  labels_of_folders,
  names_from_folders,
  read_names,
  relabel,
)
from blt_jax.data.sources.file_lookup import (
  FileFinder,
  check_root,
  leaves_root,
  reason,
)

_BYTES_AT_ONCE = 1 << 22
# Of a label: int32 holds 9, and int() alone takes other scripts' digits.
_MOST_DIGITS = 9


def load_image_lists(
  root: str,
  train_list: str,
  *,
  validation_list: str = "",
  test_list: str = "",
  name: str = "image_list",
  num_classes: int = 0,
  class_names_file: str = "",
  class_folders: bool = False,
  flat_folders: Sequence[str] = (),
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
    class_names_file: one name a line in label order, or Places365's numbered
      names, see class_names.read_names: then an image's label is the number of
      its folder's name, whatever number its list has. "" names a class by the
      folder of its first training image if that tells all classes apart, else
      by number.
    class_folders: refuses lists in which a folder has two labels or a label two
      folders, over all lists together. Always so with numbered names.
    flat_folders: where else to look for images, see file_lookup.FileFinder.
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
  check_root(root)
  known = read_names(class_names_file) if class_names_file else None
  if known and num_classes not in (0, len(known.names)):
    raise ValueError(
      f"{class_names_file}: {len(known.names)} names; allowed: num_classes ="
      f" {num_classes}"
    )
  limit = len(known.names) if known else num_classes
  lists = [read_list(train_list, limit)]
  names = known.names if known else names_from_folders(lists[0], num_classes)
  others = [file for file in (validation_list, test_list) if file]
  lists += [read_list(file, len(names)) for file in others]
  if known and known.numbered:
    lists = relabel(lists, names, names_file=class_names_file)
  elif class_folders:
    labels_of_folders(lists)
  found = FileFinder(root, flat_folders).find_lists(
    [(listed.paths, listed.place) for listed in lists]
  )
  splits = [
    Split(listed.labels, paths=paths)
    for listed, paths in zip(lists, found, strict=True)
  ]
  return assemble(
    name,
    names,
    train=splits.pop(0),
    validation=splits.pop(0) if validation_list else None,
    test=splits.pop(0) if test_list else None,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    drop_below=drop_below,
    split_seed=split_seed,
  )


def read_list(file: str, num_classes: int) -> ImageList:
  """Parses a list, checked; num_classes = 0 allows any label below n."""
  try:
    text = pathlib.Path(file).read_bytes()
    listed = ImageList(file, *_columns(file, text))
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({reason(error)}); allowed: 'path"
      " label' lines in a file that is found as it is named or below the root"
    ) from error
  if not len(listed.labels):
    raise ValueError(f"{file}: no line; allowed: 1 or more 'path label' lines")
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


class _Columns(NamedTuple):
  """What some lines hold; positions and lines count from the first one.

  Attributes:
    starts: int64 [n], where each path begins.
    lengths: int [n], its bytes.
    labels: int [n].
    lines: int [n], the number of each one's line, from 0.
    num_lines: with the empty ones.
  """

  starts: np.ndarray
  lengths: np.ndarray
  labels: np.ndarray
  lines: np.ndarray
  num_lines: int


def _columns(file: str, text: bytes):
  """(paths, labels, lines) of a list; the paths stay where they are in it."""
  parts, first = [], len(codecs.BOM_UTF8) * text.startswith(codecs.BOM_UTF8)
  line = 1
  while first < len(text):
    # Whole lines; find gives -1 where the last one has no end.
    end = text.find(b"\n", first + _BYTES_AT_ONCE) + 1 or len(text)
    chunk = text[first:end]
    part = _plain_lines(chunk) or _any_lines(file, chunk, first_line=line)
    parts.append(
      (
        part.starts + first,
        part.lengths.astype(np.int32),
        part.labels.astype(np.int32),
        (part.lines + line).astype(np.int32),
      )
    )
    first, line = end, line + part.num_lines
  if not parts:
    return Paths.of([]), np.empty(0, np.int32), np.empty(0, np.int32)
  starts, lengths, labels, lines = map(np.concatenate, zip(*parts, strict=True))
  return Paths(text, starts, lengths), labels, lines


def _plain_lines(chunk: bytes) -> _Columns | None:
  """Parses "path label" lines of ASCII; None if they need a closer look."""
  letters = np.frombuffer(chunk, np.uint8)
  if np.any((letters < 32) & (letters != 10)) or not chunk.isascii():
    return None
  ends = np.flatnonzero(letters == 10)
  if letters[-1] != 10:
    ends = np.append(ends, len(letters))
  starts = np.concatenate([[0], ends[:-1] + 1])
  lines = np.flatnonzero(starts < ends)
  starts, ends, num_lines = starts[lines], ends[lines], len(ends)
  spaces = np.concatenate([[0], np.flatnonzero(letters == 32)])
  last = spaces[np.searchsorted(spaces, ends) - 1]
  labels = _whole_numbers(letters, last + 1, ends)
  if labels is None or np.any(last <= starts) or b".." in chunk:
    return None
  # Paths that begin with "/" or stand between more spaces than one.
  if np.any(np.isin(letters[starts], (32, 47)) | (letters[last - 1] == 32)):
    return None
  return _Columns(starts, last - starts, labels, lines, num_lines)


def _whole_numbers(letters, starts, ends) -> np.ndarray | None:
  """The numbers that stand between positions; None if one is none."""
  sizes = ends - starts
  if np.any((sizes < 1) | (sizes > _MOST_DIGITS)):
    return None
  numbers = np.zeros(len(starts), np.int64)
  for k in range(int(np.max(sizes, initial=0))):
    more = np.flatnonzero(sizes > k)
    digits = letters[starts[more] + k].astype(np.int64) - ord("0")
    if np.any((digits < 0) | (digits > 9)):
      return None
    numbers[more] = 10 * numbers[more] + digits
  return numbers


def _any_lines(file: str, chunk: bytes, *, first_line: int) -> _Columns:
  """Parses lines one by one, and says what is wrong with the first bad one."""
  rows, start = [], 0
  lines = chunk.splitlines(keepends=True)
  for number, encoded in enumerate(lines):
    line = encoded.decode()
    if line and not line.isspace():
      path, label = _parse_line(file, first_line + number, line)
      indent = line[: len(line) - len(line.lstrip())]
      at = start + len(indent.encode())
      rows.append((at, len(path.encode()), label, number))
    start += len(encoded)
  starts, lengths, labels, numbers = np.array(rows, np.int64).reshape(-1, 4).T
  return _Columns(starts, lengths, labels, numbers, len(lines))


def _parse_line(file: str, number: int, line: str) -> tuple[str, int]:
  fields = line.rsplit(None, 1)
  if len(fields) != 2 or not fields[0].strip():
    raise ValueError(
      f"{file}:{number}: {line.strip()!r};"
      " allowed: 'path label', the label last"
    )
  path, label = fields[0].strip(), fields[1]
  digits = label.isascii() and label.isdigit()
  if not (digits and len(label) <= _MOST_DIGITS):
    raise ValueError(
      f"{file}:{number}: label {label!r}; allowed: a whole number, 0 or"
      f" more, of {_MOST_DIGITS} digits at most"
    )
  if leaves_root(path):
    raise ValueError(
      f"{file}:{number}: path {path!r} leaves the root;"
      " allowed: paths below it, without '..'"
    )
  return path, int(label)
