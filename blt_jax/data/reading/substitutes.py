"""What takes the place of images that can't be read."""

import collections
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading.tf_reader import Block, Reader, UnreadableError
from blt_jax.data.text import as_text

_log = logging.getLogger(__name__)

ON_ERROR = ("replace", "stop")

# A request before its images are fetched: rows of the split [n], draws [n, d].
Wanted = tuple[np.ndarray, np.ndarray]


class Substitutes:
  """Stands other images of the same class in for unreadable ones.

  Which image stands in depends on the split and its files alone: the next one
  of the class, in the split's order, that can be read. So a run that is resumed
  sees the same images as one that was never interrupted, whatever of the damage
  it knew before.
  """

  def __init__(
    self,
    split: Split,
    *,
    name: str,
    on_error: str = "replace",
    most_failures: float = 1e-3,
  ):
    """Watches over a split of files or records.

    Args:
      split: where the images are.
      name: of the split, for messages.
      on_error: "replace", or "stop" to raise at the first unreadable image.
      most_failures: share of the split's images, 0..1, that may be unreadable
        before reading stops; one image always may.

    Raises:
      ValueError: on_error is not allowed.
    """
    if on_error not in ON_ERROR:
      raise ValueError(
        f"on_error = {on_error!r}; allowed: {', '.join(ON_ERROR)}"
      )
    self._split, self._name, self._on_error = split, name, on_error
    self._most_failures = most_failures
    self._suspects: set[int] = set()
    self._failed: dict[int, str] = {}
    self._error: ValueError | None = None
    self.replaced = 0
    """Requested images so far for which another was given."""
    self.counts: list[int] = []
    """The same in each block of the latest pass."""

  def blocks(
    self,
    reader: Reader,
    wanted: Callable[[int], Iterable[Wanted]],
    *,
    size: int,
  ) -> Iterator[tuple[Block, np.ndarray]]:
    """Reads blocks of images.

    Args:
      reader: of this split's images.
      wanted: first -> iterator of what is wanted from block `first` on.
      size: images of a block; the last may be of fewer.

    Yields:
      (block of n images, bool [n], which of them are substitutes).

    Raises:
      ValueError: names what can't be read, when on_error is "stop" or too much
        is unreadable.
    """
    done = 0
    self.counts.clear()
    while True:
      # Filled by the reader's thread; a new one each round, since the thread of
      # the last one may linger.
      given: collections.deque[np.ndarray] = collections.deque()
      requests = functools.partial(
        self._requests, reader, wanted, first=done, given=given
      )
      try:
        for block in reader.blocks(requests, block_size=size):
          replaced = given.popleft()
          done += 1
          self.counts.append(int(replaced.sum()))
          self.replaced += self.counts[-1]
          yield block, replaced
      except UnreadableError as error:
        self._suspect(reader, next(iter(wanted(done))), error)
        continue
      if self._error:
        raise self._error
      return

  def _requests(self, reader: Reader, wanted, *, first: int, given):
    """What the reader is asked for; ends early when the run has to stop."""
    for rows, draws in wanted(first):
      settled = self._settle(reader, rows, draws)
      if self._error:
        return
      given.append(settled != rows)
      yield sources(self._split, settled), draws

  def _suspect(self, reader: Reader, wanted: Wanted, error: Exception) -> None:
    """Finds what is wrong with a block that could not be read."""
    rows, draws = wanted
    before = len(self._suspects)
    for row, draw in zip(rows.tolist(), draws, strict=True):
      if row not in self._suspects and self._problem(reader, row, draw):
        self._suspects.add(row)
    if self._error:
      raise self._error
    if len(self._suspects) == before:
      # Every image can be read now: the trouble is elsewhere.
      raise ValueError(f"{self._name} images can't be read: {error}") from error

  def _settle(
    self, reader: Reader, rows: np.ndarray, draws: np.ndarray
  ) -> np.ndarray:
    """The rows, with another one where an image is known to fail."""
    if not self._suspects:
      return rows
    settled = rows.copy()
    for k in np.flatnonzero(np.isin(rows, list(self._suspects))):
      settled[k] = self._stand_in(reader, int(rows[k]), draws[k])
    return settled

  def _stand_in(self, reader: Reader, row: int, draw: np.ndarray) -> int:
    """The row itself if this crop of it can be read, or the next that can."""
    label = self._split.labels[row]
    members = np.flatnonzero(self._split.labels == label)
    start = int(np.searchsorted(members, row))
    for candidate in np.roll(members, -start).tolist():
      if self._problem(reader, candidate, draw) is None:
        return candidate
      if self._error:
        return row
    self._error = ValueError(
      f"{self._name} images: none of class {label} can be read, "
      f"{self._title(row)} neither"
    )
    return row

  def _problem(self, reader: Reader, row: int, draw: np.ndarray) -> str | None:
    """Why an image can't be read, or None; what fails is counted."""
    source: Any = sources(self._split, np.array([row]))[0]
    reason = reader.problem(source, draw)
    if reason is not None and row not in self._failed:
      self._failed[row] = reason
      self._count(row, reason)
    return reason

  def _count(self, row: int, reason: str) -> None:
    title, images = self._title(row), len(self._split)
    if self._on_error == "stop":
      self._error = ValueError(f"{title}: can't be read ({reason})")
    elif len(self._failed) > max(1, self._most_failures * images):
      self._error = ValueError(
        f"{title}: can't be read ({reason}); that makes {len(self._failed)} of "
        f"{images} {self._name} images; allowed: "
        f"{self._most_failures:.1%}. --mode=check_data finds them all"
      )
    else:
      _log.warning("%s: can't be read (%s), replaced", title, reason)

  def _title(self, row: int) -> str:
    if self._split.records is None:
      return as_text(cast(np.ndarray, self._split.paths)[row])
    return self._split.records.name(row)


def sources(split: Split, rows: np.ndarray) -> np.ndarray:
  """What a Reader takes for some rows: bytes, paths or contents, object [n]."""
  if split.records is None:
    paths = cast(np.ndarray, split.paths)[rows]
    # Names need not be UTF-8.
    return np.array([os.fsencode(path) for path in paths], object)
  contents = np.empty(len(rows), object)
  contents[:] = split.records.read(rows)
  return contents
