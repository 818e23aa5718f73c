"""The numbers of a report, computed from the record of a run."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.method.metrics import GROUPS
from blt_jax.report.record import CHOSEN_ON, TESTED, RunRecord
from blt_jax.workdir.progress import EpochRow, best_first
from blt_jax.workdir.records import Confusion

SHOT_GROUPS = GROUPS[1:]
TAIL_FIRST = GROUPS[::-1]  # The tail is what the method is for.


@dataclasses.dataclass(frozen=True)
class Pair:
  """A class, and another one that its images are taken for."""

  true: int
  predicted: int
  count: int
  total: int

  @property
  def share(self) -> float:
    """Share of the true class's images, 0..1."""
    return self.count / self.total


def confused_pairs(entries: Confusion, limit: int = 12) -> list[Pair]:
  """The pairs of different classes that were confused most often."""
  totals = entries.totals()
  wrong = np.flatnonzero(entries.true != entries.predicted)
  # Pairs that tie with the last one are kept until they are sorted.
  least = np.sort(entries.count[wrong])[-limit:].min(initial=2**31 - 1)
  pairs = [
    Pair(
      int(entries.true[i]),
      int(entries.predicted[i]),
      int(entries.count[i]),
      int(totals[entries.true[i]]),
    )
    for i in wrong[entries.count[wrong] >= least]
  ]
  pairs.sort(key=lambda p: (-p.count, -p.share, p.true, p.predicted))
  return pairs[:limit]


def group_flow(
  entries: Confusion, groups: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Where the images of each shot group, bool [C], end up.

  Returns:
    {group: {"correct", "many", "medium", "few"}}: percent classified correctly
    and taken for another class of a group, means over the group's classes, so
    that "correct" is the group's accuracy. NaN for a group without images.
  """
  totals = entries.totals().astype(np.float64)
  wrong = entries.true != entries.predicted
  columns = {"correct": entries.correct().astype(np.float64)}
  for name, mask in groups.items():
    chosen = wrong & mask[entries.predicted]
    columns[name] = np.bincount(
      entries.true[chosen],
      weights=entries.count[chosen],
      minlength=entries.num_classes,
    ).astype(np.float64)
  flow = {}
  for group, mask in groups.items():
    members = mask & (totals > 0)
    flow[group] = {
      name: float(np.mean(100 * column[members] / totals[members]))
      if members.any()
      else math.nan
      for name, column in columns.items()
    }
  return flow


def by_size(class_counts: np.ndarray) -> np.ndarray:
  """Classes from the largest to the smallest, equal ones in their order."""
  return np.argsort(-np.asarray(class_counts), kind="stable")


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
  """Neighbouring classes taken together.

  Attributes:
    edges: float64 [b + 1], ranks at which bins begin and end.
    mean: float64 [b], NaN for a bin without a known value.
    low: float64 [b], the first quartile.
    high: float64 [b], the third quartile.
  """

  edges: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def binned(values: np.ndarray, bins: int) -> Bins:
  """Means and quartiles of values, float [C], in about equal parts."""
  bins = min(bins, len(values))
  edges = np.round(np.linspace(0, len(values), bins + 1)).astype(int)
  rows = []
  for start, end in itertools.pairwise(edges):
    known = values[start:end][~np.isnan(values[start:end])]
    if len(known):
      rows.append((known.mean(), *np.quantile(known, [0.25, 0.75])))
    else:
      rows.append((math.nan,) * 3)
  mean, low, high = np.array(rows).T
  return Bins(edges.astype(np.float64), mean, low, high)


def stage_starts(rows: Sequence[EpochRow]) -> list[int]:
  """Positions of the first row of each stage."""
  stages = [row.stage for row in rows]
  return [i for i, s in enumerate(stages) if i == 0 or stages[i - 1] != s]


def column(rows: Sequence[EpochRow], name: str) -> np.ndarray:
  """A column of metrics.csv, float64 [rows]."""
  return np.array([getattr(row, name) for row in rows], np.float64)


def hallucinates(run: RunRecord) -> bool:
  """Whether any image was hallucinated in the epochs so far."""
  return bool(np.nansum(column(run.rows, "hallucinated")) > 0)


def times(run: RunRecord) -> dict[str, np.ndarray]:
  """Seconds of each epoch by what they were spent on, float64 [rows].

  Returns:
    {"computing", "waiting" for images, "validation"}.
  """
  seconds = column(run.rows, "seconds")
  waiting = seconds * column(run.rows, "data_wait_share")
  return {
    "computing": seconds - waiting,
    "waiting": waiting,
    "validation": column(run.rows, "validation_seconds"),
  }


def best_epoch(run: RunRecord) -> int | None:
  """Place of the best row of the stage that was trained last, if any.

  Of equal rows it is the earlier one, as in training.
  """
  best = next(iter(best_first(run.rows)), None)
  return None if best is None else run.rows.index(best)


def accuracies_so_far(run: RunRecord) -> dict[str, dict[str, Any]]:
  """What results.json will hold of validation, from the epochs so far."""
  best = best_epoch(run)
  if best is None:
    return {}
  return {
    which: {
      "stage": row.stage,
      "epoch": row.epoch,
      "validation": {group: row.validation[group] for group in GROUPS},
    }
    for which, row in (("best", run.rows[best]), ("last", run.rows[-1]))
  }


def test_set(content: Mapping[str, Any]) -> list[str]:
  """What the test images are and what "overall" then means, in sentences.

  Args:
    content: of results.json; without "test_set" nothing is known.
  """
  found = content.get("test_set")
  if found is None:
    return []
  accuracy = content["best"]["test"]["accuracy"]
  share = "unknown" if accuracy is None else f"{accuracy:.1f} %"
  kind = {
    "balanced": "balanced",
    "natural": "about as long-tailed as the training images",
    "neither": "neither balanced nor as long-tailed as the training images",
  }[found["kind"]]
  lines = [
    f"The test set is {kind}: {found['images']:,} images of "
    f"{found['classes']:,} classes.",
    f"Overall is about the share of images that are right, {share}."
    if found["kind"] == "balanced"
    else f"Overall counts classes alike; of the images {share} are right.",
  ]
  lacking = len(content["class_counts"]) - found["classes"]
  if lacking:
    lines.append(f"Classes without a test image: {lacking:,}.")
  if found["is_validation"]:
    lines.append(
      "The test images are the validation images: the best epoch, the "
      "temperature and the thresholds of confidence were chosen on them."
    )
  if content["prior"]:
    lines.append(
      f"By dataset.prior={content['prior']}, F1, the share of right images, "
      "likelihood and calibration error are for classes as frequent as it "
      "says; charts and thresholds count the test images as they are."
    )
  return lines


def missing(run: RunRecord) -> list[str]:
  """What the run has not recorded yet, in sentences."""
  lines = []
  if run.results is None:
    epochs = f"{len(run.rows)} epochs are" if run.rows else "no epoch is"
    lines.append(
      f"The run is not finished, {epochs} recorded: there are no results on "
      "the test images yet."
    )
  if not len(run.class_counts):
    lines.append("The classes and their sizes are not recorded yet.")
  if run.results is not None and run.entries(TESTED) is None:
    lines.append(
      "There are no confusion matrices: classes and confused pairs are left "
      "out."
    )
  if run.results is not None and run.classes is None:
    lines.append("There is no classes.csv: the table of classes is left out.")
  if run.results is not None and not all(
    run.predictions(name) for name in (TESTED, CHOSEN_ON)
  ):
    lines.append(
      "There are no predictions for single images: what the confidence is "
      "worth is left out."
    )
  return lines
