"""Image lists: "path label" lines, and the options that data sets need."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from blt_jax.data.class_names import (
  ImageList,
  labels_of_folders,
  names_from_folders,
  read_names,
  relabel,
)
from blt_jax.data.dataset import (
  Dataset,
  Split,
  assemble,
  string_array,
)
from blt_jax.data.file_lookup import FileFinder, check_root, leaves_root

_LINES_AT_ONCE = 65536


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
  finder = FileFinder(root, flat_folders)
  splits = [_to_split(listed, finder) for listed in lists]
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


def _to_split(listed: ImageList, finder: FileFinder) -> Split:
  """The split of a list, all its files looked up."""
  paths = finder.find_all(listed.paths, place=listed.place)
  return Split(listed.labels, paths=paths)


def read_list(file: str, num_classes: int) -> ImageList:
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
  listed = ImageList(file, *columns)
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
  if leaves_root(path):
    raise ValueError(
      f"{file}:{number}: path {path!r} leaves the root;"
      " allowed: paths below it, without '..'"
    )
  return path, int(label), number
