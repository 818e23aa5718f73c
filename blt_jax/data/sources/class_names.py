"""Class names from text files and from the names of folders."""

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from blt_jax.data.text import reason

# Places365's own list: "/a/apartment_building/outdoor 8".
_NUMBERED = re.compile(r"/\w/(\S.*)\s+([0-9]{1,9})")

# Zero-width signs that change what is shown: Persian, Indian scripts, emoji.
_JOINERS = "\u200c\u200d"


class NamesFile(NamedTuple):
  """A file of class names.

  Attributes:
    names: [C], in the order of the labels.
    numbered: whether the file numbers the names. If so, an image's label comes
      from its folder's name and not from the number in a list.
  """

  names: tuple[str, ...]
  numbered: bool


def read_names(file: str) -> NamesFile:
  """Reads class names from a text file.

  The file has one name a line in label order, or lines as in Places365's
  categories_places365.txt, "/a/apartment_building/outdoor 8". The name of such
  a line is returned as its folder is called, apartment_building-outdoor.

  Raises:
    ValueError: the file can't be read, or a line is empty, or numbers or names
      are not unique, or a number is missing.
  """
  lines = [normal_name(line) for line in _lines(file)]
  matches = [_NUMBERED.fullmatch(line) for line in lines]
  if not all(matches):
    check_distinct(
      (line, f"{file}:{number}") for number, line in enumerate(lines, 1)
    )
    return NamesFile(tuple(lines), numbered=False)
  names: dict[int, str] = {}
  for line, match in enumerate(matches, 1):
    name, number = folder_form(match[1]), int(match[2])  # type: ignore[index]
    if number >= len(lines) or number in names or name in names.values():
      raise ValueError(
        f"{file}:{line}: the line is {lines[line - 1]!r}; expected each name"
        f" once and each number from 0 to {len(lines) - 1} once."
      )
    names[number] = name
  return NamesFile(tuple(names[c] for c in range(len(names))), numbered=True)


def normal_name(name: str) -> str:
  """A class's name with composed accents, so that file systems agree on it."""
  return unicodedata.normalize("NFC", name)


def check_distinct(names: Iterable[tuple[str, str]]) -> None:
  """Checks that no two classes have one name.

  Names that differ only in spaces, in how accents are written or in characters
  that are not shown count as one: nobody tells them apart in a table. Upper and
  lower case are different, as in data sets of handwritten letters.

  Args:
    names: (name of a class, place that it is from) of each class.

  Raises:
    ValueError: names both places.
  """
  places: dict[str, tuple[str, str]] = {}
  for name, place in names:
    first, where = places.setdefault(shown_name(name), (name, place))
    if where != place:
      other = "" if name == first else f" (there {first!r})"
      raise ValueError(
        f"{where} and {place} are two classes of one name, {name!r}{other};"
        " expected names that can be told apart, or one class."
      )


def shown_name(name: str) -> str:
  """What is seen of a name: composed, single spaces, no invisible signs."""
  shown = "".join(c for c in normal_name(name) if not _is_invisible(c))
  return " ".join(shown.split())


def _is_invisible(character: str) -> bool:
  """Whether a character is not shown and changes nothing beside it."""
  return unicodedata.category(character) == "Cf" and character not in _JOINERS


def folder_form(name: str) -> str:
  """The folder's name of a class: "-" where Places365 writes "/"."""
  return name.replace("/", "-")


def class_folder(path: str) -> str:
  """Name of the folder that an image lies in, composed, "" for none."""
  return normal_name(os.path.basename(os.path.dirname(path)))


def _lines(file: str) -> list[str]:
  """The stripped lines of a text file, without empty ones at its end."""
  try:
    with open(file, encoding="utf-8-sig") as text:
      lines = [line.strip() for line in text.read().splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({reason(error)}); expected one"
      " class name a line."
    ) from error
  while lines and not lines[-1]:
    lines.pop()
  if not lines or "" in lines:
    line = lines.index("") + 1 if lines else 1
    raise ValueError(
      f"{file}:{line}: the line is empty; expected one class name a line."
    )
  return lines
