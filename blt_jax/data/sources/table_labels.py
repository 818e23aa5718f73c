"""The classes of a table: numbers or names, and their order."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from blt_jax.data.sources.class_names import shown_name
from blt_jax.data.text import as_text

# Of a whole number; pandas writes 3 as 3.0 where a column has empty cells.
_WHOLE = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")
# What pandas writes for a cell without a value.
_EMPTY = ("", "nan", "NaN")


def cell_text(value: Any) -> str:
  """A cell as text, "" for an empty one.

  Raises:
    ValueError: it is a list or an object of JSON.
  """
  if isinstance(value, str):
    return value
  if value is None or value != value:  # NaN.
    return ""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, float) and value.is_integer():
    return str(int(value))
  if isinstance(value, int | float):
    return str(value)
  raise ValueError(f"{str(value)[:40]!r}")


def is_empty(text: str) -> bool:
  """Whether a cell has no content."""
  return text.strip() in _EMPTY


def whole_number(text: str) -> str | None:
  """The digits of a whole number, 7 for 007 and 7.0; None for another text."""
  match = _WHOLE.fullmatch(text)
  if match is None:
    return None
  sign = "-" if text.startswith("-") else ""
  return sign + (match[1].lstrip("-").lstrip("0") or "0")


def number_classes(
  cells: Sequence[Any],
  *,
  place: Callable[[int], str],
  typed: bool = False,
  order: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], np.ndarray]:
  """Numbers the classes of a table's labels.

  Names keep the order in which they appear first; those that look the same,
  whatever their spaces and the form of their accents, are one class. Labels
  that are numbers, all of them, are in the order of the numbers, so that 0 is
  the first class however the rows are sorted.

  Args:
    cells: [n] labels, none of them empty.
    place: what to call the i-th row in a message.
    typed: whether "3" is a name and only 3 is a number, as in JSON.
    order: names of classes in their order, if the table has one; labels are
      then names as they stand. Classes that no row has are left out.

  Returns:
    (names [C], labels int32 [n], 0..C-1).

  Raises:
    ValueError: numbers and names stand beside each other in JSON, or a number
      is not whole or is negative or is written in two ways, such as 1 and 01,
      or a name is not UTF-8.
  """
  if typed:
    _check_one_kind(cells, place)
  codes_of: dict[Any, int] = {}
  codes = np.fromiter(
    (codes_of.setdefault(cell, len(codes_of)) for cell in cells),
    np.int64,
    len(cells),
  )
  texts = [cell_text(cell) for cell in codes_of]

  def where(code: int) -> str:
    return place(int(np.argmax(codes == code)))

  if order is not None:
    there = set(texts)
    names, ordered = texts, [name for name in order if name in there]
  else:
    names = [shown_name(text) for text in texts]
    ordered = list(dict.fromkeys(names))
    is_text = typed and bool(cells) and isinstance(cells[0], str)
    if not is_text and all(map(_NUMBER.fullmatch, names)):
      names = [_whole(name, where, code) for code, name in enumerate(names)]
      ordered = sorted(set(names), key=int)
    _check_one_form(names, where)
  for code, name in enumerate(names):
    if not _is_utf_8(name):
      raise ValueError(
        f"{where(code)}: label is {as_text(name)!r}, which is not UTF-8;"
        " expected a table that is saved as UTF-8."
      )
  number = {name: c for c, name in enumerate(ordered)}
  table = np.array([number[name] for name in names], np.int32)
  return tuple(ordered), table[codes]


def _check_one_kind(cells: Sequence[Any], place: Callable[[int], str]) -> None:
  """Raises ValueError if JSON's labels are partly numbers, partly names."""
  first: dict[bool, int] = {}
  for i, cell in enumerate(cells):
    first.setdefault(isinstance(cell, str), i)
  if len(first) == 2:
    name, number = first[True], first[False]
    raise ValueError(
      f"{place(number)}: label is {cells[number]!r}, a number, but"
      f" {cells[name]!r} of {place(name)} is a name; expected all numbers or"
      " all names."
    )


def _check_one_form(names: Sequence[str], where: Callable[[int], str]) -> None:
  """Raises ValueError if two labels are one number, such as 1 and 01."""
  first: dict[str, int] = {}
  for code, name in enumerate(names):
    number = whole_number(name)
    if number is None:
      continue
    before = first.setdefault(number, code)
    if names[before] != name:
      raise ValueError(
        f"{where(code)}: label is {name!r}, but {where(before)} says"
        f" {names[before]!r}, which is the same number; expected each class's"
        " number in one form."
      )


def _whole(name: str, where: Callable[[int], str], code: int) -> str:
  """A whole number without a fraction of zeros."""
  match = _WHOLE.fullmatch(name)
  if match is None or name.startswith("-"):
    raise ValueError(
      f"{where(code)}: label is {name}; expected names, or whole numbers of 0"
      " or more. Rows whose label is empty are left out."
    )
  return match[1]


def _is_utf_8(name: str) -> bool:
  try:
    name.encode()
  except UnicodeEncodeError:
    return False
  return True
