"""Many file names in little memory."""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, overload

import numpy as np

# Strings that exist at once while all of them are gone through.
_AT_ONCE = 65536


def as_text(name: str) -> str:
  r"""A file's name as text that can be printed and sent: \xe9 for odd bytes."""
  return os.fsencode(name).decode("utf-8", "backslashreplace")


class Folders(NamedTuple):
  """The folders of n paths.

  Attributes:
    names: of the folders without a "/" at the end, each once; "" is the folder
      of a path without "/".
    rows: int32 [n], position in `names` of each path's folder.
  """

  names: list[str]
  rows: np.ndarray


class Paths:
  """A sequence of file names below one folder, kept as one piece of text.

  Ten million names of 60 letters take 0.7 GB, half of what Python's strings
  do. Parts of a sequence share its text.
  """

  def __init__(
    self,
    text: bytes,
    starts: np.ndarray,
    lengths: np.ndarray,
    *,
    prefix: str = "",
  ):
    """Nothing is copied.

    Args:
      text: UTF-8 that holds the names, in any order.
      starts: int64 [n], where each begins in `text`.
      lengths: int32 [n], bytes of each.
      prefix: stands before every name: "root/".
    """
    self._text, self._starts, self._lengths = text, starts, lengths
    self._prefix = prefix

  @classmethod
  def of(cls, strings: "Paths | Iterable[str]") -> "Paths":
    """Copies strings; Paths are returned as they are."""
    if isinstance(strings, Paths):
      return strings
    encoded = [_encode(string) for string in strings]
    lengths = np.array([len(name) for name in encoded], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return cls(b"".join(encoded), starts, lengths)

  def __len__(self) -> int:
    return len(self._starts)

  def __iter__(self) -> Iterator[str]:
    for first in range(0, len(self), _AT_ONCE):
      yield from self._strings(slice(first, first + _AT_ONCE))

  @overload
  def __getitem__(self, index: int | np.integer) -> str: ...

  @overload
  def __getitem__(self, index: slice | np.ndarray) -> "Paths": ...

  def __getitem__(self, index):
    """One name, or the Paths at a slice or an array of positions."""
    if isinstance(index, int | np.integer):
      return self._strings(np.array([index]))[0]
    return Paths(
      self._text, self._starts[index], self._lengths[index], prefix=self._prefix
    )

  def __array__(self, dtype: Any = None, copy: bool | None = None):
    del copy  # There is no array to share.
    return np.array(self.tolist(), dtype or np.dtypes.StringDType())

  def tolist(self) -> list[str]:
    """All names."""
    return list(self)

  def below(self, prefix: str) -> "Paths":
    """The same names with another prefix."""
    return Paths(self._text, self._starts, self._lengths, prefix=prefix)

  def replaced(self, names: Mapping[int, str]) -> "Paths":
    """Other names at some positions; the prefix stays."""
    if not names:
      return self
    others = Paths.of(names.values())
    rows = np.fromiter(names, np.int64)
    starts, lengths = self._starts.copy(), self._lengths.copy()
    starts[rows] = others._starts + len(self._text)
    lengths[rows] = others._lengths
    text = self._text + others._text
    return Paths(text, starts, lengths, prefix=self._prefix)

  @functools.cached_property
  def folders(self) -> Folders:
    """Which folder each name lies in; the prefix plays no part."""
    numbers: dict[bytes, int] = {}
    rows = np.empty(len(self), np.int32)
    text = self._text
    for first in range(0, len(self), _AT_ONCE):
      part = slice(first, first + _AT_ONCE)
      rows[part] = [
        numbers.setdefault(
          text[start : max(start, text.rfind(b"/", start, end))], len(numbers)
        )
        for start, end in self._spans(part)
      ]
    return Folders([_decode(name) for name in numbers], rows)

  def files(self, index: np.ndarray, *, folder: str) -> list[str]:
    """The last parts of the names at positions that lie in this folder."""
    text, skip = self._text, len(_encode(folder)) + 1 if folder else 0
    return [
      text[start + skip : end].decode("utf-8", "surrogateescape")
      for start, end in self._spans(index)
    ]

  def _strings(self, index: slice | np.ndarray) -> list[str]:
    text, prefix = self._text, self._prefix
    return [
      prefix + text[start:end].decode("utf-8", "surrogateescape")
      for start, end in self._spans(index)
    ]

  def _spans(self, index: slice | np.ndarray):
    """Pairs of where names start and end in the text."""
    starts = self._starts[index]
    ends = starts + self._lengths[index]
    return zip(starts.tolist(), ends.tolist(), strict=True)


def _encode(name: str) -> bytes:
  return name.encode("utf-8", "surrogateescape")


def _decode(name: bytes) -> str:
  return name.decode("utf-8", "surrogateescape")
