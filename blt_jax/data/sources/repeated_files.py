"""Files that lists name more than once: each one counts once, in one split."""

from collections.abc import Callable, Sequence

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.sources.file_lookup import FileFinder, identities
from blt_jax.data.text import as_text, counted


def each_file_once(
  names: Sequence[str],
  splits: Sequence[Split],
  *,
  places: Sequence[Callable[[int], str]],
  finder: FileFinder,
) -> tuple[list[Split], list[str]]:
  """The splits without rows whose file is there already.

  Args:
    names: of the lists that the splits are from, for a message.
    splits: of one data set, with paths.
    places: for each list, what to call its i-th image: "train.txt:7".
    finder: that has found the paths.

  Returns:
    (the splits, a line about each list that names a file again).

  Raises:
    ValueError: a file has two labels, or is in two lists; names both places.
  """
  paths = [split.paths for split in splits if split.paths is not None]
  files = identities([finder], paths)
  starts = np.cumsum([0, *map(len, splits)])
  again: list[list[int]] = [[] for _ in splits]
  lines: list[str] = [""] * len(splits)
  shared: list[str] = []
  seen: dict[str, tuple[int, int]] = {}
  for row in _candidates(files):
    k = int(np.searchsorted(starts, row, side="right")) - 1
    i = int(row - starts[k])
    first_k, first_i = seen.setdefault(str(files[k][i]), (k, i))
    if (first_k, first_i) == (k, i):
      continue
    file = as_text(str(paths[k][i]))
    here, first = places[k](i), places[first_k](first_i)
    label, other = splits[k].labels[i], splits[first_k].labels[first_i]
    if label != other:
      raise ValueError(
        f"{first} and {here}: the file {file!r} has the labels {other}"
        f" and {label}; expected one."
      )
    if k != first_k:
      shared.append(f"{first} and {here}: the file {file!r}")
    else:
      again[k].append(i)
      lines[k] = lines[k] or f"such as {here}, which repeats {first}"
  if shared:
    raise ValueError(
      f"{shared[0]} is in two splits; expected each file in one (there are"
      f" {len(shared)} such images)."
    )
  kept = [
    split.take(np.delete(np.arange(len(split)), more)) if more else split
    for split, more in zip(splits, again, strict=True)
  ]
  return kept, [
    f"left out: {counted(len(more), 'image')} of {name} named before, {line}"
    for name, more, line in zip(names, again, lines, strict=True)
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
