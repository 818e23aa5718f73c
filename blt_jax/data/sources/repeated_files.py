"""Files that lists name more than once: each one counts once, in one split."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from blt_jax.data.text import as_text


class ListedFiles(NamedTuple):
  """The files of a list.

  Attributes:
    name: what the list is called in a message.
    files: strings [n]; two that are equal are one file, others are not.
    labels: int [n].
    place: what to call the i-th image in a message: "train.txt:7".
  """

  name: str
  files: np.ndarray
  labels: np.ndarray
  place: Callable[[int], str]


def first_places(
  lists: Sequence[ListedFiles],
) -> tuple[list[np.ndarray | None], list[str]]:
  """Rows that name a file for the first time.

  Args:
    lists: of the splits of one data set.

  Returns:
    (int64 rows of each list, ascending, or None if they are all of them; a line
    about each list with rows that are not).

  Raises:
    ValueError: a file has two labels, or is in two lists; names both places.
  """
  starts = np.cumsum([0, *(len(listed.files) for listed in lists)])
  again: list[list[int]] = [[] for _ in lists]
  lines: list[str] = [""] * len(lists)
  shared: list[str] = []
  seen: dict[str, tuple[int, int]] = {}
  for row in _candidates([listed.files for listed in lists]):
    k = int(np.searchsorted(starts, row, side="right")) - 1
    i = int(row - starts[k])
    file = str(lists[k].files[i])
    first_k, first_i = seen.setdefault(file, (k, i))
    if (first_k, first_i) == (k, i):
      continue
    here, first = lists[k].place(i), lists[first_k].place(first_i)
    label, other = int(lists[k].labels[i]), int(lists[first_k].labels[first_i])
    if label != other:
      raise ValueError(
        f"{first} and {here}: the file {as_text(file)!r} has the labels {other}"
        f" and {label}; expected one."
      )
    if k != first_k:
      shared.append(f"{first} and {here}: the file {as_text(file)!r}")
    else:
      again[k].append(i)
      lines[k] = lines[k] or f"such as {here}, which repeats {first}"
  if shared:
    raise ValueError(
      f"{shared[0]} is in two splits; expected each file in one (there are"
      f" {len(shared)} such lines)."
    )
  rows = [
    np.delete(np.arange(len(listed.files)), more) if more else None
    for listed, more in zip(lists, again, strict=True)
  ]
  return rows, [
    f"left out: {len(more)} {'line' if len(more) == 1 else 'lines'} of"
    f" {listed.name} that name a file again, {line}"
    for listed, more, line in zip(lists, again, lines, strict=True)
    if more
  ]


def _candidates(files: Sequence[np.ndarray]) -> np.ndarray:
  """Rows of all lists whose files may be there twice: int64, ascending.

  Equal names have equal hashes; sorting those of millions of names takes a
  second, where a dictionary of the names takes gigabytes.
  """
  hashes = np.concatenate(
    [np.fromiter(map(hash, names), np.int64, len(names)) for names in files]
  )
  order = np.argsort(hashes, kind="stable")
  ordered = hashes[order]
  same = ordered[1:] == ordered[:-1]
  twice = np.zeros(len(order), bool)
  twice[order[1:][same]] = True
  twice[order[:-1][same]] = True
  return np.flatnonzero(twice)
