"""From which confidence on a network's answers can be trusted."""

import dataclasses
import math

import numpy as np

from blt_jax.method import metrics
from blt_jax.report.measures import TAIL_FIRST
from blt_jax.report.record import CHOSEN_ON, TESTED, RunRecord
from blt_jax.workdir.records import Predictions

PRECISIONS = (0.90, 0.95, 0.99)


@dataclasses.dataclass(frozen=True)
class Threshold:
  """The confidence from which on a group's answers have a precision.

  Attributes:
    precision: aimed at, 0..1.
    group: "overall", or the group of the class that was answered.
    confidence: chosen on the validation images, calibrated, 0..1; None where
      no confidence reaches the precision.
    images: validation images from there on.
    tested: the precision that it has on the test images, 0..1; NaN where no
      image has this confidence.
    coverage: share of the group's answers on test images that is left, 0..1.
  """

  precision: float
  group: str
  confidence: float | None
  images: int = 0
  tested: float = math.nan
  coverage: float = math.nan


def answered(run: RunRecord, found: Predictions) -> dict[str, np.ndarray]:
  """Images by the group of the class they are taken for, bool [n] each.

  By their own class they can't be told apart where a network is used: it is
  not known there. The tail comes first; groups without an answer are left out.
  """
  masks = {
    "overall": np.ones(len(found), bool),
    **{group: mask[found.prediction] for group, mask in run.groups.items()},
  }
  return {group: masks[group] for group in TAIL_FIRST if masks[group].any()}


def thresholds(run: RunRecord) -> list[Threshold]:
  """Every precision's and group's; none where predictions are missing."""
  chosen_on, tested = run.predictions(CHOSEN_ON), run.predictions(TESTED)
  if chosen_on is None or tested is None:
    return []
  masks, others = answered(run, tested), answered(run, chosen_on)
  none = np.zeros(len(chosen_on), bool)
  return [
    _threshold(
      precision,
      group,
      _of(chosen_on, others.get(group, none)),
      _of(tested, mask),
    )
    for precision in PRECISIONS
    for group, mask in masks.items()
  ]


def _of(found: Predictions, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return found.calibrated_confidence[mask], found.correct[mask]


def _threshold(
  precision: float,
  group: str,
  chosen_on: tuple[np.ndarray, np.ndarray],
  tested: tuple[np.ndarray, np.ndarray],
) -> Threshold:
  """Chooses on (confidences, right or not) and measures on others."""
  limit = metrics.threshold_for(precision, *chosen_on)
  if limit is None:
    return Threshold(precision, group, None)
  kept = tested[0] >= limit
  return Threshold(
    precision,
    group,
    limit,
    images=int(np.sum(chosen_on[0] >= limit)),
    tested=float(np.mean(tested[1][kept])) if kept.any() else math.nan,
    coverage=float(np.mean(kept)),
  )
