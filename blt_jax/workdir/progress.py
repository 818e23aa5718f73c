"""Where a run stands, beside the values of its arrays."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands.

  Attributes:
    stage: stage of the last finished epoch, 1 or 2; 0 before the first one.
    epoch: last finished epoch of that stage, from 1.
    best: the best epoch of that stage so far: {"stage", "epoch", "step",
      "overall"}, or None.
    rows: one row of metrics.csv for each finished epoch.
    midway: how far the epoch after it is, see `epoch.Sums.midway`; None in a
      checkpoint of a finished epoch.
  """

  stage: int = 0
  epoch: int = 0
  best: Mapping[str, Any] | None = None
  rows: tuple[Mapping[str, Any], ...] = ()
  midway: Mapping[str, Any] | None = None

  def after(self, row: Mapping[str, Any]) -> "Progress":
    """The progress after one more epoch.

    The best epoch is the one with the highest overall top-1 on validation, the
    earlier of equals; every stage looks for its own.

    Args:
      row: has "stage", "epoch", "step" and "val_overall", percent or NaN.

    Returns:
      A new Progress.
    """
    overall = score(row["val_overall"])
    best = self.best if row["stage"] == self.stage else None
    if best is None or overall > best["overall"]:
      best = {
        "stage": row["stage"],
        "epoch": row["epoch"],
        "step": row["step"],
        "overall": overall,
      }
    return Progress(row["stage"], row["epoch"], best, (*self.rows, row))


def score(overall: float) -> float:
  """What epochs are compared by.

  NaN and infinities, which must never be best, lie below everything, and a
  rounding error of a mean decides nothing.
  """
  return round(float(overall), 6) if math.isfinite(overall) else -math.inf
