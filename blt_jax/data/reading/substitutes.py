"""Other images in place of those that can't be read."""

import logging
import os
from typing import Any, cast

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading.reader import Reader, Request, Unreadable
from blt_jax.data.text import as_text

_log = logging.getLogger(__name__)

ON_ERROR = ("replace", "stop")

FEW = 10
"""Unreadable images that a split may have, however small it is."""


class Substitutes:
  """Counts a split's unreadable images and finds others in their place.

  The substitute is the next image of the class, in the split's order, that can
  be read. It depends on the split and its files alone, so a run that is resumed
  sees the same images as one that was never interrupted.
  """

  def __init__(
    self,
    split: Split,
    *,
    name: str,
    on_error: str = "replace",
    max_unreadable: int = 0,
  ):
    """Starts with no unreadable image.

    Args:
      split: where the images are.
      name: of the split, for messages.
      on_error: "replace", or "stop" to raise at the first unreadable image.
      max_unreadable: unreadable images before reading stops; 0 for 1 % of the
        split's images or `FEW`, whichever is more.

    Raises:
      ValueError: on_error is not allowed.
    """
    if on_error not in ON_ERROR:
      raise ValueError(
        f"on_error is {on_error!r}; expected {' or '.join(ON_ERROR)}."
      )
    self._split, self._name, self._on_error = split, name, on_error
    self._most = max_unreadable or max(FEW, len(split) // 100)
    self._failed: set[int] = set()

  def note(
    self, row: int, reason: str, *, done: str = "another one stands in"
  ) -> None:
    """Counts an unreadable image and logs it, both only the first time.

    Args:
      row: of the image in the split.
      reason: why it can't be read.
      done: what is done about it, for the message.

    Raises:
      ValueError: on_error is "stop", or too many images are unreadable.
    """
    if row in self._failed:
      return
    self._failed.add(row)
    title, images = self._title(row), len(self._split)
    if self._on_error == "stop":
      raise ValueError(f"{title}: can't be read ({reason}).")
    if len(self._failed) > self._most:
      raise ValueError(
        f"{title}: can't be read ({reason}); that makes {len(self._failed)} of "
        f"{images} {self._name} images; expected at most {self._most} "
        "(config.dataset.max_unreadable). --mode=check_data finds them all."
      )
    _log.warning("%s: can't be read (%s); %s", title, reason, done)

  def find(self, reader: Reader, row: int, draws: np.ndarray) -> np.ndarray:
    """Reads the next image of the class that can be read.

    Raises:
      ValueError: no image of the class can be read, or see `note`.
    """
    label = self._split.labels[row]
    members = np.flatnonzero(self._split.labels == label)
    after = np.roll(members, -int(np.searchsorted(members, row)) - 1)[:-1]
    for candidate in after.tolist():
      (source,) = sources(self._split, np.array([candidate]))
      image = reader.read_one(Request(source, draws))
      if not isinstance(image, Unreadable):
        return image
      self.note(candidate, image.reason)
    raise ValueError(
      f"{self._name} images: none of class {label} can be read, "
      f"{self._title(row)} neither."
    )

  def _title(self, row: int) -> str:
    if self._split.paths is not None:
      return as_text(self._split.paths[row])
    if self._split.records is not None:
      return self._split.records.name(row)
    return f"image {row}"


def sources(split: Split, rows: np.ndarray) -> list[Any]:
  """The sources of some rows of a split, for a Reader; see Request."""
  if split.images is not None:
    return list(split.images[rows])
  if split.records is not None:
    return split.records.read(rows)
  paths = cast(np.ndarray, split.paths)[rows]
  return [os.fsencode(path) for path in paths]  # Names need not be UTF-8.
