"""Checks files of a work directory: they may be damaged or a stranger's."""

import pathlib
from collections.abc import Mapping
from typing import Any

from blt_jax.method.metrics import GROUPS


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
