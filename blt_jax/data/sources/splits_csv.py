"""Writes the splits of a data set as a table that a run can read again."""

import csv
import io
import os

import numpy as np

from blt_jax.data.dataset import Dataset
from blt_jax.data.sources.table_columns import NUMBER
from blt_jax.data.sources.table_labels import is_empty, number_classes

HEADER = ("path", "label", "split", "group")


def splits_csv(dataset: Dataset, root: str) -> bytes | None:
  """A CSV table of every image: its path, class, split and group.

  configs/image_table.py reads it: the splits are then the same, and so are the
  classes and their order, because the rows are sorted by class. A further
  column, class_number, orders classes whose names are numbers in another order
  than that of the numbers, or could be read as other names.

  Args:
    dataset: the data set. Where the validation images are the test as well,
      their split is "validation".
    root: folder of the images. Paths below it are written relative to it,
      others as absolute ones.

  Returns:
    The content of the file, UTF-8; bytes of file names that are not UTF-8 stay
    as they are. None if the images are not in files: arrays and records have
    no paths.
  """
  splits = {"train": dataset.train, "validation": dataset.validation}
  if dataset.test is not dataset.validation:
    splits["test"] = dataset.test
  paths: list[str] = []
  parts: list[str] = []
  groups: list[str] = []
  for part, split in splits.items():
    if split.paths is None:
      return None
    paths += _relative(split.paths, root)
    parts += [part] * len(split)
    given = split.groups
    groups += [""] * len(split) if given is None else given.tolist()
  labels = np.concatenate([split.labels for split in splits.values()])
  names, numbered = dataset.class_names, _needs_numbers(dataset.class_names)
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow((*HEADER, NUMBER) if numbered else HEADER)
  number = labels.tolist()
  for i in np.argsort(labels, kind="stable").tolist():
    c = number[i]
    row = (paths[i], names[c], parts[i], groups[i])
    writer.writerow((*row, c) if numbered else row)
  return text.getvalue().encode("utf-8", "surrogateescape")


def _relative(paths: np.ndarray, root: str) -> list[str]:
  """Paths relative to the root if they lie below it, else absolute ones."""
  prefix = os.path.join(root or os.curdir, "")
  start = os.path.join(os.path.abspath(root or os.curdir), "")

  def relative(path: str) -> str:
    if path.startswith(prefix):
      return path[len(prefix) :]
    whole = os.path.abspath(path)
    return whole[len(start) :] if whole.startswith(start) else whole

  return [relative(path) for path in paths.tolist()]


def _needs_numbers(names: tuple[str, ...]) -> bool:
  """Whether a table with these labels in order is read as other classes."""
  if any(map(is_empty, names)):
    return True
  try:
    return number_classes(names, place=str)[0] != names
  except ValueError:  # Numbers that are not whole.
    return True
