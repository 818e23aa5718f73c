"""Names and errors as text for people."""

import itertools
import os
import unicodedata
from collections.abc import Sequence

import numpy as np
from rich import cells

# Invisible letters inside words of Persian and Hindi, and inside emoji.
_JOINERS = "\u200c\u200d"


def as_text(name: str) -> str:
  r"""A file's name as valid Unicode: a byte that is not UTF-8 becomes \xe9."""
  return os.fsencode(name).decode("utf-8", "backslashreplace")


def printable(name: str) -> str:
  """A name on one line; unprintable characters become question marks."""
  return "".join(map(_printable_letter, name))


def _printable_letter(letter: str) -> str:
  if letter.isprintable() or letter in _JOINERS:
    return letter
  # A blank that does not break a line, or one as wide as a Chinese letter.
  return " " if unicodedata.category(letter) == "Zs" else "?"


def columns(text: str) -> int:
  """How many columns of a terminal a text takes: Chinese letters two each."""
  return cells.cell_len(unicodedata.normalize("NFC", text))


def padded(text: str, width: int) -> str:
  """The text with blanks up to a number of columns."""
  return text + " " * (width - columns(text))


def shortened(text: str, width: int) -> str:
  """The text; if it takes more columns than `width`, its two ends.

  Names of species and parts often differ at their ends. Letters of two columns
  and letters of several parts, such as emoji, stay whole.
  """
  if columns(text) <= width:
    return text
  text = unicodedata.normalize("NFC", text)
  end = (width - 1) // 2
  return f"{_ends(text, width - 1 - end)[0]}…{_ends(text, end)[1]}"


def _ends(text: str, width: int) -> tuple[str, str]:
  """The beginning and the end of a text, of at most `width` columns each."""
  spans, _ = cells.split_graphemes(text)
  widths = np.array([span[2] for span in spans], int)
  first, last = (
    int(np.searchsorted(np.cumsum(some), width, side="right"))
    for some in (widths, widths[::-1])
  )
  beginning = text[: spans[first - 1][1]] if first else ""
  return beginning.rstrip(), text[spans[-last][0] :].lstrip() if last else ""


def shortened_apart(names: Sequence[str], width: int) -> list[str]:
  """Different names as texts of at most `width` columns that differ, too.

  Names of the same ends are cut so that what differs between them stays; the
  place in `names` is added where that does not fit.

  Args:
    names: n names; equal ones stay equal.
    width: columns, 8 or more.

  Returns:
    n texts.
  """
  short = {name: shortened(name, width) for name in names}
  for rival in _rivals(short):
    short.update(_around_difference(rival, width))
  for rival in _rivals(short):
    for name in rival:
      number = f"…{list(names).index(name)}"
      short[name] = shortened(name, width - len(number)) + number
  return [short[name] for name in names]


def _rivals(short: dict[str, str]) -> list[list[str]]:
  """Lists of names with the same short form."""
  same: dict[str, list[str]] = {}
  for name, text in short.items():
    same.setdefault(text, []).append(name)
  return [names for names in same.values() if len(names) > 1]


def _around_difference(names: list[str], width: int) -> dict[str, str]:
  """Names of the same ends: what differs between ellipses, where it fits."""
  start = _shared(names)
  end = _shared([name[start:][::-1] for name in names])
  result = {}
  for name in names:
    middle = _whole_words(name, start, len(name) - end)
    if columns(middle) > width - 4:
      middle = name[start : len(name) - end]
    if columns(middle) > width - 4:
      continue
    free = width - columns(middle) - 2
    head, tail = _ends(name, free - free // 2)[0], _ends(name, free // 2)[1]
    result[name] = f"{head}…{middle}…{tail}"
  return result


def _shared(names: Sequence[str]) -> int:
  """How many letters names have in common from the beginning."""
  letters = zip(*names, strict=False)
  return sum(1 for _ in itertools.takewhile(lambda x: len(set(x)) < 2, letters))


def _whole_words(text: str, first: int, last: int) -> str:
  """A part of a text, and what belongs to its first and its last word."""
  while first and text[first - 1].isalnum():
    first -= 1
  while last < len(text) and text[last].isalnum():
    last += 1
  return text[first:last].strip()


def reason(error: Exception) -> str:
  """Why a file can't be read, on one line and without the file's name."""
  text = str(getattr(error, "strerror", None) or error)
  return " ".join(text.split()) or type(error).__name__


def counted(number: int, noun: str) -> str:
  """A number with its noun: 1 row, 2 rows."""
  return f"{number} {noun}{'' if number == 1 else 's'}"
