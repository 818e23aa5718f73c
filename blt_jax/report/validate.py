"""Checks files of a work directory: they may be damaged or a stranger's."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from blt_jax.method.metrics import GROUPS

_COLUMNS = ("stage", "epoch", "step", "loss", *(f"val_{g}" for g in GROUPS))

_Arrays = TypeVar("_Arrays")


def check_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Raises ValueError if the rows of metrics.csv lack a column."""
  missing = [name for name in _COLUMNS if rows and name not in rows[0]]
  if missing:
    raise ValueError(
      f"{path} has no column {missing[0]!r}; expected {', '.join(_COLUMNS)}."
    )


def check_results(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  """Raises ValueError unless results.json tells of a finished run."""
  for which in ("best", "last"):
    epoch = content.get(which)
    if not isinstance(epoch, dict) or "epoch" not in epoch:
      epoch = {}
    for split in ("validation", "test"):
      values = epoch.get(split)
      if not isinstance(values, dict) or not set(GROUPS) <= values.keys():
        raise ValueError(
          f"{path} lacks {which}.{split}; expected what a finished run writes."
        )


def check_classes(path: pathlib.Path, content: Any) -> None:
  """Raises ValueError unless there are counts of classes, and names if any."""
  if not isinstance(content, dict):
    raise ValueError(
      f"{path} holds a {type(content).__name__}; expected an object."
    )
  counts = content.get("class_counts", [])
  names = content.get("class_names", [""] * len(counts))
  if not (
    isinstance(counts, list)
    and all(type(n) is int and 0 <= n < 2**31 for n in counts)
    and isinstance(names, list)
    and all(isinstance(name, str) for name in names)
    and len(names) == len(counts)
  ):
    raise ValueError(
      f"{path} has bad class_counts or class_names; expected a whole number "
      "and a name for each class."
    )


def arrays_of(
  kind: type[_Arrays], path: pathlib.Path, content: Mapping[str, Any]
) -> _Arrays:
  """Arrays of one length as a dataclass; what has one value is no array.

  Args:
    kind: the dataclass.
    path: of the file, for messages.
    content: its arrays.

  Raises:
    ValueError: when some are missing, unknown or of different lengths.
  """
  names = [field.name for field in dataclasses.fields(kind)]  # type: ignore
  if sorted(names) != sorted(content):
    raise ValueError(
      f"{path} holds {sorted(content)}; expected the arrays {sorted(names)}."
    )
  lengths = {len(array) for array in content.values() if np.ndim(array)}
  if len(lengths) != 1:
    raise ValueError(
      f"{path} has arrays of {sorted(lengths)} entries; expected as many in "
      "each."
    )
  return kind(**content)
