"""Names and errors as text for people."""

import os


def as_text(name: str) -> str:
  r"""A file's name as valid Unicode: a byte that is not UTF-8 becomes \xe9."""
  return os.fsencode(name).decode("utf-8", "backslashreplace")


def printable(name: str) -> str:
  """A name for a terminal; unprintable characters become question marks."""
  return "".join(c if c.isprintable() else "?" for c in name)


def reason(error: Exception) -> str:
  """Why a file can't be read, on one line and without the file's name."""
  text = str(getattr(error, "strerror", None) or error)
  return " ".join(text.split()) or type(error).__name__


def counted(number: int, noun: str) -> str:
  """A number with its noun: 1 row, 2 rows."""
  return f"{number} {noun}{'' if number == 1 else 's'}"
