"""The rows of metrics.csv, and where a run stands."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class EpochRow:
  """A finished epoch: a row of metrics.csv, whose columns are these fields.

  Attributes:
    stage: 1 or 2.
    epoch: its number in the stage, from 1.
    step: training steps of the run at its end.
    loss: mean over the images that were trained on, by their weights.
    val_overall: top-1 on the validation images, percent: the mean of the
      accuracies of the classes, NaN without any. Likewise, each over its own
      classes, the columns that follow.
    val_many: of the many-shot classes.
    val_medium: of the medium-shot classes.
    val_few: of the few-shot classes.
    val_top5_overall: top-5 of all classes.
    val_top5_many: of the many-shot classes.
    val_top5_medium: of the medium-shot classes.
    val_top5_few: of the few-shot classes.
    hallucinated: images that were hallucinated.
    hallucinated_share: of all images trained on, 0..1.
    mean_updates: updates of the ascent for a hallucinated image.
    reached_share: of the hallucinated images, those that reached their
      confidence, 0..1.
    overflow: hallucinations that were dropped for lack of slots.
    replaced: images that could not be read.
    seconds: that the training steps took.
    data_wait_share: of these, in which the steps waited for images, 0..1.
    validation_seconds: that the validation took.
    images_per_second: training images, hallucinated ones aside.
  """

  stage: int
  epoch: int
  step: int
  loss: float
  val_overall: float
  val_many: float
  val_medium: float
  val_few: float
  val_top5_overall: float
  val_top5_many: float
  val_top5_medium: float
  val_top5_few: float
  hallucinated: int
  hallucinated_share: float
  mean_updates: float
  reached_share: float
  overflow: int
  replaced: int
  seconds: float
  data_wait_share: float
  validation_seconds: float
  images_per_second: float

  @property
  def validation(self) -> dict[str, Any]:
    """Top-1 by group, and top-5 under "top5": as results.json has them."""
    groups = ("overall", "many", "medium", "few")
    return {
      **{group: getattr(self, f"val_{group}") for group in groups},
      "top5": {group: getattr(self, f"val_top5_{group}") for group in groups},
    }


@dataclasses.dataclass(frozen=True)
class Midway:
  """How far an unfinished epoch is.

  Attributes:
    stage: 1 or 2.
    epoch: its number in the stage, from 1.
    steps: steps of it that were made.
    sums: over those steps, by name: see `training.epoch.Epoch`.
  """

  stage: int
  epoch: int
  steps: int
  sums: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands.

  Attributes:
    rows: one for each finished epoch.
    midway: how far the epoch after these is; None at its beginning.
  """

  rows: tuple[EpochRow, ...] = ()
  midway: Midway | None = None

  @classmethod
  def from_json(cls, content: Mapping[str, Any]) -> Self:
    """The progress that `dataclasses.asdict` turned into `content`."""
    midway = content["midway"]
    return cls(
      tuple(EpochRow(**row) for row in content["rows"]),
      None if midway is None else Midway(**midway),
    )

  @property
  def stage(self) -> int:
    """Stage of the last finished epoch, 0 before the first one."""
    return self.rows[-1].stage if self.rows else 0

  @property
  def epoch(self) -> int:
    """The last finished epoch of that stage."""
    return self.rows[-1].epoch if self.rows else 0

  @property
  def best(self) -> EpochRow | None:
    """The best finished epoch of that stage."""
    return next(iter(best_first(self.rows)), None)

  def after(self, row: EpochRow) -> "Progress":
    """The progress after one more epoch."""
    return Progress((*self.rows, row))

  def epochs_done(self, stage: int) -> int:
    """Finished epochs of a stage."""
    return sum(row.stage == stage for row in self.rows)

  def step_after(self, stage: int) -> int:
    """Training steps at the end of a stage's last finished epoch, of 1 or more.

    Raises:
      ValueError: when the stage has no finished epoch.
    """
    return max(row.step for row in self.rows if row.stage == stage)

  def ended_early(self, stage: int, *, patience: int) -> bool:
    """Whether a stage has ended before its last epoch, or with it, for nothing.

    It has when each of the last `patience` epochs, if there is a patience,
    came after the stage's best one. Nothing but the rows counts, so a run that
    goes on decides as one that was never stopped.

    Args:
      stage: 1 or 2.
      patience: of the stage, `stage1.patience` or `stage2.patience`.
    """
    rows = [row for row in self.rows if row.stage == stage]
    if not patience or not rows:
      return False
    return rows[-1].epoch - best_first(rows)[0].epoch >= patience

  def midway_in(self, stage: int) -> Midway | None:
    """How far the unfinished epoch is, if it is of this stage."""
    midway = self.midway
    return midway if midway and midway.stage == stage else None


def best_first(rows: Sequence[EpochRow]) -> list[EpochRow]:
  """Epochs of the last stage by falling overall top-1 on validation.

  Equal ones keep their order. NaN and infinities come last. Accuracies are
  compared to six decimals, so that rounding errors decide nothing.
  """
  last: Iterable[EpochRow] = (r for r in rows if r.stage == rows[-1].stage)
  return sorted(last, key=lambda row: -_rank(row.val_overall))


def _rank(accuracy: float) -> float:
  return round(accuracy, 6) if math.isfinite(accuracy) else -math.inf
