"""What the rows of a table say: which count, and their classes and splits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.data.sources.splits import SPLIT_WORDS
from blt_jax.data.sources.table_columns import IS_VALID, NUMBER, plain
from blt_jax.data.sources.table_files import Cells
from blt_jax.data.sources.table_labels import (
  cell_text,
  is_empty,
  number_classes,
  whole_number,
)
from blt_jax.data.text import counted

# What to call the i-th row in a message.
Place = Callable[[int], str]

# Values of a column is_valid, in lower case.
_IS_VALID = {
  "true": "validation",
  "1": "validation",
  "1.0": "validation",
  "false": "train",
  "0": "train",
  "0.0": "train",
}


def complete_rows(cells: Cells) -> tuple[list[int], list[str]]:
  """(rows that have a path, a label and a split, lines about the others).

  Raises:
    ValueError: there is no such row.
  """
  lines = list(cells.left_out)
  rows: Sequence[int] = range(len(cells.rows))
  for content in ("path", "label", "split"):
    if content not in cells.chosen:
      continue
    column = cells.columns[content]
    # A class of a run may be called nan.
    exact = content == "label" and "number" in cells.chosen
    empty = "".__eq__ if exact else is_empty
    full = [i for i in rows if not empty(_text(cells, content, i, column))]
    if len(full) < len(rows):
      kept = set(full)
      first = next(i for i in rows if i not in kept)
      lines.append(
        f"left out: {counted(len(rows) - len(full), 'row')} without a"
        f" {content}, such as {cells.place(first)}"
      )
    rows = full
  if not rows:
    needed = " and a split" if "split" in cells.chosen else ""
    raise ValueError(
      f"{cells.file}: no row has a path and a label{needed}; expected 1 or more"
      f"{''.join(f' ({line})' for line in lines)}."
    )
  return list(rows), lines


def _text(cells: Cells, content: str, i: int, column: Sequence[Any]) -> str:
  """A cell as text."""
  value = column[i]
  if isinstance(value, str):
    return value
  try:
    return cell_text(value)
  except ValueError as error:
    raise ValueError(
      f"{cells.place(i)}: {cells.chosen[content]} is {error}; expected a text"
      " or a number."
    ) from None


def texts(cells: Cells, content: str, rows: Sequence[int]) -> list[str]:
  """The cells of some rows as texts."""
  column = cells.columns[content]
  return [_text(cells, content, i, column) for i in rows]


def classes(
  cells: Cells, rows: Sequence[int], place: Place
) -> tuple[tuple[str, ...], np.ndarray]:
  """(names of classes, labels) of some rows."""
  column = cells.columns["label"]
  labels: list[Any] = [column[i] for i in rows]
  order: Sequence[str] | None = cells.order
  if "number" in cells.chosen:
    labels = texts(cells, "label", rows)
    order = _numbered(labels, texts(cells, "number", rows), place)
  return number_classes(labels, place=place, typed=cells.typed, order=order)


def _numbered(
  labels: Sequence[str],
  numbers: Sequence[str],
  place: Place,
) -> list[str]:
  """The names of classes in the order of their numbers."""
  names: dict[int, str] = {}
  number_of: dict[str, int] = {}
  for i, (label, text) in enumerate(zip(labels, numbers, strict=True)):
    if not (text.isascii() and text.isdigit()):
      raise ValueError(
        f"{place(i)}: {NUMBER} is {text!r}; expected a whole number."
      )
    number = int(text)
    if (
      names.setdefault(number, label) != label
      or number_of.setdefault(label, number) != number
    ):
      raise ValueError(
        f"{place(i)}: {NUMBER} is {number} and the label {label!r}; expected"
        " one number for each label, as in an earlier row."
      )
  return [names[number] for number in sorted(names)]


def splits(cells: Cells, rows: Sequence[int], place: Place) -> list[str] | None:
  """The split of each row, None without a column."""
  if "split" not in cells.chosen:
    return None
  values = [text.strip() for text in texts(cells, "split", rows)]
  is_yes_or_no = plain(cells.chosen["split"]) == IS_VALID
  known = _IS_VALID if is_yes_or_no else SPLIT_WORDS
  meaning = {value: known.get(value.lower(), "") for value in set(values)}
  unknown = [i for i, value in enumerate(values) if not meaning[value]]
  if unknown:
    value = values[unknown[0]]
    are_folds = all(map(str.isdecimal, meaning)) and not is_yes_or_no
    what = " is a number of a fold" if are_folds else ""
    expected = "train, validation (or val, dev) or test"
    if is_yes_or_no:
      expected = "True (validation) or False (training), or 1 or 0"
    raise ValueError(
      f"{place(unknown[0])}: {cells.chosen['split']} {value!r}{what}; expected"
      f" {expected}. --config.dataset.split=none"
      " takes no column of splits, and holds images out."
    )
  return [meaning[value] for value in values]


def groups(
  cells: Cells, rows: Sequence[int]
) -> tuple[list[str] | None, list[str]]:
  """(the group of each row, lines about groups that are joined).

  A group is "" where it is empty; they are None without a column. Whole numbers
  of one value are one group: 7, 07 and 7.0. It has the shortest of these names.
  """
  if "group" not in cells.chosen:
    return None, []
  values = [text.strip() for text in texts(cells, "group", rows)]
  forms: dict[str, set[str]] = {}
  for value in set(values):
    forms.setdefault(whole_number(value) or value, set()).add(value)
  name_of: dict[str, str] = {}
  joined: list[list[str]] = []
  for written in forms.values():
    names = sorted(written, key=lambda value: (len(value), value))
    name_of |= dict.fromkeys(names, "" if is_empty(names[0]) else names[0])
    if len(names) > 1:
      joined.append(names)
  lines = []
  if joined:
    example = ", ".join(map(repr, min(joined)))
    lines.append(
      f"joined: {counted(len(joined), 'group')} whose number is written in"
      f" several ways, such as {example}"
    )
  return [name_of[value] for value in values], lines


def each_once(
  paths: Sequence[str],
  said: Mapping[str, Sequence[str] | None],
  *,
  place: Place,
) -> tuple[np.ndarray, list[str]]:
  """(the first row of each file, a line about the others if there are any).

  Raises:
    ValueError: two rows of one file say different things; names both.
  """
  first: dict[str, int] = {}
  kept, repeated = [], []
  for i, path in enumerate(paths):
    before = first.setdefault(path, i)
    if before == i:
      kept.append(i)
      continue
    repeated.append(i)
    for content, values in said.items():
      if values is not None and values[i] != values[before]:
        raise ValueError(
          f"{place(i)}: {content} of {path!r} is {values[i]!r}; expected"
          f" {values[before]!r}, as {place(before)} says. A file has one label"
          " and lies in one split."
        )
  lines = []
  if repeated:
    lines.append(
      f"counted once: {counted(len(repeated), 'row')} of an image that an"
      f" earlier row has, such as {place(repeated[0])}"
    )
  return np.array(kept, np.int64), lines
