"""Class names from text files and from the names of folders."""

import os
import re
import unicodedata
from typing import NamedTuple

from blt_jax.data.text import reason

# Places365's own list: "/a/apartment_building/outdoor 8".
_NUMBERED = re.compile(r"/\w/(\S.*)\s+([0-9]{1,9})")


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
  lines = _lines(file)
  matches = [_NUMBERED.fullmatch(line) for line in lines]
  if not all(matches):
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


def folder_form(name: str) -> str:
  """The folder's name of a class: "-" where Places365 writes "/"."""
  return name.replace("/", "-")


def class_folder(path: str) -> str:
  """Name of the folder that an image lies in, "" for none."""
  return os.path.basename(os.path.dirname(path))


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
