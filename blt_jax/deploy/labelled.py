"""Labelled images of a folder or table, for a network that was trained."""

import collections
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from blt_jax.data.sources import (
  USUAL_COLUMNS,
  Columns,
  folder_layout,
  image_tables,
)
from blt_jax.data.sources.class_names import folder_form, normal_name
from blt_jax.data.text import counted

# Most names that a line has.
_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
  """Images of a network's classes.

  Attributes:
    paths: [n], of files.
    labels: int [n], places in the network's class names.
    left_out: lines about what is not among them.
  """

  paths: Sequence[str]
  labels: np.ndarray
  left_out: Sequence[str]


def find_labelled(
  source: str,
  class_names: Sequence[str],
  *,
  root: str = "",
  columns: Columns = USUAL_COLUMNS,
  run_root: str = "",
) -> Labelled:
  """Finds the labelled images of a folder or table; their classes by name.

  Args:
    source: a folder with a folder for each class, or a table as
      `image_tables.read_table` takes it. Of a table with a column of splits the
      rows of the test are taken.
    class_names: [C], of the network.
    root: folder that the paths of a table are relative to, "" for its own.
    columns: of a table.
    run_root: the folder of the run's images, where files are looked for that
      are not in the table's folder; not used with a root.

  Returns:
    One or more images.

  Raises:
    ValueError: there is no such file or folder, no image of a class of the
      network, or it holds splits of which none is named.
  """
  if os.path.isdir(source):
    names, labels, paths, lines = _of_folder(source, class_names)
  elif os.path.isfile(source):
    table = image_tables.read_table(
      source, root=root, columns=columns, fallback="" if root else run_root
    )
    names, labels, paths, lines = _of_table(table)
  else:
    raise ValueError(
      f"--input={source}: there is no such file or folder; expected a folder "
      "of class folders, or a table of labelled images."
    )
  places = _places(class_names)
  known = np.array([places.get(normal_name(name), -1) for name in names], int)
  images = np.bincount(labels, minlength=len(names))
  unknown = {
    name: count
    for name, place, count in zip(names, known, images.tolist(), strict=True)
    if place < 0 and count
  }
  matched = known[labels]
  if not np.any(matched >= 0):
    there = _with_hints(unknown, class_names)
    raise ValueError(
      f"--input={source}: {_none_known(names, there)}; expected classes of "
      f"the network: {_some(class_names)}."
    )
  if unknown:
    named = _some(_with_hints(unknown, class_names))
    lines.append(
      f"left out: {counted(sum(unknown.values()), 'image')} of "
      f"{_classes(len(unknown))} that the network does not know: {named}"
    )
  kept = np.flatnonzero(matched >= 0).tolist()
  return Labelled([paths[i] for i in kept], matched[kept], lines)


def without_images(counts: np.ndarray, class_names: Sequence[str]) -> str:
  """The line about classes that have no image; "" if all have.

  Args:
    counts: int [C], images of each class.
    class_names: [C].
  """
  lacking = [name for name, n in zip(class_names, counts, strict=True) if not n]
  if not lacking:
    return ""
  return (
    f"note: no image of {len(lacking)} of the network's {len(class_names)} "
    f"classes, which have no part in the means: {_some(lacking)}"
  )


_Found = tuple[Sequence[str], np.ndarray, Sequence[str], list[str]]


def _of_folder(folder: str, class_names: Sequence[str]) -> _Found:
  """(names of classes, labels, paths, lines) of class folders.

  Raises:
    ValueError: the folder holds splits.
  """
  classes = folder_layout.find_classes(folder)
  known = _places(class_names)
  parts = folder_layout.parts_of(folder_layout.subfolders(folder))
  splits = [name for part in sorted(parts) for name in parts[part]]
  if splits and not any(normal_name(name) in known for name in classes):
    raise ValueError(
      f"--input={folder} holds splits ({', '.join(splits)}); expected "
      f"the folder of one of them, such as "
      f"--input={os.path.join(folder, splits[0])}."
    )
  paths: list[str] = []
  labels: list[int] = []
  for label, each in enumerate(classes.values()):
    paths += [os.path.join(each.folder, path) for path in each.found.paths]
    labels += [label] * len(each.found.paths)
  lines = folder_layout.left_out_lines(folder, [folder], classes.values())
  return list(classes), np.array(labels, int), paths, lines


def _of_table(table: image_tables.ImageTable) -> _Found:
  """(names of classes, labels, paths, lines) of a table.

  Raises:
    ValueError: the table has splits, but no test.
  """
  file = table.file
  labels, paths = table.labels, table.paths.tolist()
  lines = list(table.left_out)
  if table.splits is not None:
    counts = collections.Counter(table.splits.tolist())
    here = ", ".join(f"{part}: {n}" for part, n in sorted(counts.items()))
    if "test" not in counts:
      raise ValueError(
        f"--input={file} has the splits {here}; expected rows of the split "
        "test. --config.dataset.split=none takes the rows of all splits."
      )
    kept = [
      i for i, split in enumerate(table.splits.tolist()) if split == "test"
    ]
    labels, paths = labels[kept], [paths[i] for i in kept]
    if len(counts) > 1:
      lines.append(f"taken: the rows of the split test of {file} ({here})")
  return table.names, labels, paths, lines


def _places(class_names: Sequence[str]) -> Mapping[str, int]:
  """Name of a class, also as its folder is called -> its place."""
  places: dict[str, int] = {}
  for form in (normal_name, lambda name: folder_form(normal_name(name))):
    for place, name in enumerate(class_names):
      places.setdefault(form(name), place)
  return places


def _with_hints(
  unknown: Mapping[str, int], class_names: Sequence[str]
) -> list[str]:
  """Unknown classes with their images; first those that may be known ones."""
  alike = {_loose(name): name for name in reversed(class_names)}
  meant, others = [], []
  for name, count in unknown.items():
    hint = alike.get(_loose(name))
    if hint is None:
      others.append(f"{name} ({count})")
    else:
      meant.append(f"{name} ({count}; did you mean {hint}?)")
  return meant + others


def _loose(name: str) -> str:
  """A class's name without case and spaces, and signs in place of spaces."""
  return re.sub(r"[\s_-]", "", normal_name(name)).casefold()


def _none_known(names: Sequence[str], there: Sequence[str]) -> str:
  """What a folder or table holds that has no image of a known class."""
  if there:
    return f"no class of the network among its {len(there)}: {_some(there)}"
  if names:
    return f"no image in its {len(names)} class folders ({_some(names)})"
  return "no class folder"


def _classes(number: int) -> str:
  return f"{number} class" if number == 1 else f"{number} classes"


def _some(names: Sequence[str]) -> str:
  """The first names, and how many more there are."""
  shown = ", ".join(names[:_NAMED])
  return shown + (
    f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
  )
