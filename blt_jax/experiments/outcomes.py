"""What the finished runs of a comparison found, with intervals.

The images of a split are the same for all methods and seeds. An interval is
that of a bootstrap over the images; over several seeds it is widened by the
spread of the seeds. The test images of all folds are put together, and the
interval is never narrower than the spread of the folds makes it.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from blt_jax.experiments import run_status
from blt_jax.experiments.comparison import Comparison
from blt_jax.experiments.figures import parts
from blt_jax.experiments.plan import Repeat
from blt_jax.method import metrics
from blt_jax.report.record import RunRecord, read_run
from blt_jax.workdir import records
from blt_jax.workdir.records import Predictions


@dataclasses.dataclass(frozen=True)
class Estimate:
  """An accuracy in percent, or a difference in points, with its interval.

  Attributes:
    mean: over the seeds or folds, NaN for a group without classes.
    low: lower end of the 95 % interval.
    high: upper end.
    each: of every seed or fold.
  """

  mean: float
  low: float
  high: float
  each: tuple[float, ...] = ()

  @property
  def is_noise(self) -> bool:
    """Whether a difference may be none: its interval has 0 in it."""
    return not (self.low > 0 or self.high < 0)

  @property
  def spread(self) -> float:
    """Standard deviation over the seeds or folds, NaN for one."""
    return _deviation(self.each)

  def within(self, lowest: float) -> "Estimate":
    """The same with an interval that is within lowest ... 100."""
    low, high = max(self.low, lowest), min(self.high, 100.0)
    return dataclasses.replace(self, low=low, high=high)


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
  """The finished runs of a comparison.

  Attributes:
    runs: {method: {seed or fold: its run}}, of methods with any finished run.
    missing: (method, seed or fold) of the runs that are not finished.
  """

  runs: Mapping[str, Mapping[Repeat, RunRecord]]
  missing: tuple[tuple[str, Repeat], ...] = ()

  @functools.cached_property
  def repeats(self) -> tuple[Repeat, ...]:
    """The seeds or folds that all these methods have; they are compared."""
    first, *others = self.runs.values()
    return tuple(
      repeat for repeat in first if all(repeat in each for each in others)
    )

  def accuracy(self, split: str, method: str) -> dict[str, Estimate]:
    """Accuracy by group on the "validation" or "test" split."""
    found = self._estimate(split, method, None)
    return {group: each.within(0.0) for group, each in found.items()}

  def difference(
    self, split: str, method: str, other: str
  ) -> dict[str, Estimate]:
    """By how many points a method is better than another, by group."""
    found = self._estimate(split, method, other)
    return {group: each.within(-100.0) for group, each in found.items()}

  def seconds(self, method: str) -> float:
    """Training with validation of both stages, mean over the repeats."""
    return statistics.fmean(
      sum(row.seconds + row.validation_seconds for row in run.rows)
      for run in self._of(method)
    )

  def hallucinates(self, method: str) -> bool:
    """Whether a method trains on perturbed images."""
    return parts.hallucinates(self._of(method)[0])

  def _of(self, method: str) -> list[RunRecord]:
    return [self.runs[method][repeat] for repeat in self.repeats]

  def _estimate(
    self, split: str, method: str, other: str | None
  ) -> dict[str, Estimate]:
    """Made once: with thousands of classes a bootstrap takes seconds."""
    key = (split, method, other)
    if key not in self._made:
      self._made[key] = self._bootstrap(split, method, other)
    return self._made[key]

  def _bootstrap(
    self, split: str, method: str, other: str | None
  ) -> dict[str, Estimate]:
    answers = self._answers(split)
    first = answers.correct[method]
    second = answers.correct[other] if other else np.zeros_like(first)
    dataset = self._of(method)[0].config.dataset
    found = metrics.paired_differences(
      first,
      second,
      answers.labels,
      answers.class_counts,
      many_above=dataset.many_above,
      few_up_to=dataset.few_up_to,
    )
    each = self._each(split, method, other)
    return {
      group: _widened(*found[group], each[group], seeds=len(first))
      for group in metrics.GROUPS
    }

  def _each(
    self, split: str, method: str, other: str | None
  ) -> dict[str, tuple[float, ...]]:
    """The accuracies, or their differences, of every seed or fold."""

    def values(name: str, group: str) -> list[float]:
      return [accuracy_of(run, split, group) for run in self._of(name)]

    return {
      group: tuple(
        a - b
        for a, b in zip(
          values(method, group),
          values(other, group) if other else [0.0] * len(self.repeats),
          strict=True,
        )
      )
      for group in metrics.GROUPS
    }

  def _answers(self, split: str) -> "Answers":
    if split not in self._read:
      names = tuple(self.runs)
      parts = [
        _same_images([self.runs[name][repeat] for name in names], split=split)
        for repeat in self.repeats
      ]
      together = _joined if self.repeats[0].folds else _stacked
      joined = together(parts)
      correct = dict(zip(names, np.moveaxis(joined.right, 1, 0), strict=True))
      self._read[split] = Answers(joined.labels, self._class_counts, correct)
    return self._read[split]

  @functools.cached_property
  def _made(self) -> dict[tuple[str, str, str | None], dict[str, Estimate]]:
    return {}

  @functools.cached_property
  def _read(self) -> "dict[str, Answers]":
    return {}

  @functools.cached_property
  def _class_counts(self) -> np.ndarray:
    """Training images of each class, over folds the mean, int64 [C]."""
    name = next(iter(self.runs))
    counts = [run.class_counts for run in self._of(name)]
    return np.rint(np.mean(counts, axis=0)).astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
  """Which images of a split the networks of each method have right.

  Attributes:
    labels: int [n].
    class_counts: training images of each class, int64 [C].
    correct: {method: bool [k, n]}, a row a seed.
  """

  labels: np.ndarray
  class_counts: np.ndarray
  correct: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
  """Images that several runs have in common.

  Attributes:
    rows: int [n], the images' places in the split.
    labels: int [n].
    right: bool [seeds, methods, n].
  """

  rows: np.ndarray
  labels: np.ndarray
  right: np.ndarray


def read_outcomes(comparison: Comparison) -> Outcomes:
  """Reads the finished runs.

  Raises:
    ValueError: when a file of a work directory is damaged.
  """
  by_name = {run.name: run for run in comparison.runs}
  found: dict[str, dict[Repeat, RunRecord]] = {}
  missing = []
  for label, names in comparison.names.items():
    for repeat, name in zip(comparison.repeats, names, strict=True):
      if run_status.is_finished(by_name[name]):
        record = read_run(by_name[name].workdir)
        found.setdefault(label, {})[repeat] = record
      else:
        missing.append((label, repeat))
  return Outcomes(found, tuple(missing))


def accuracy_of(run: RunRecord, split: str, group: str) -> float:
  """Top-1 of a run's best epoch in percent, NaN for an empty group."""
  assert run.results is not None
  value = run.results["best"][split].get(group)
  return math.nan if value is None else float(value)


def _widened(
  mean: float, low: float, high: float, each: tuple[float, ...], *, seeds: int
) -> Estimate:
  """An interval over images, widened by the spread of seeds or folds.

  Seeds have the same images, so their spread comes on top. Folds have different
  ones: their spread is of images and networks both.
  """
  deviation, number = _deviation(each), len(_known(each))
  if math.isnan(deviation):
    return Estimate(mean, low, high, each)
  # Student's t: few seeds tell little about their own spread.
  reach = stats.t.ppf(0.975, number - 1) * deviation / math.sqrt(number)
  join = math.hypot if seeds > 1 else max
  return Estimate(
    mean, mean - join(mean - low, reach), mean + join(high - mean, reach), each
  )


def _deviation(each: Sequence[float]) -> float:
  """The standard deviation of what is known, NaN of fewer than two."""
  known = _known(each)
  return statistics.stdev(known) if len(known) > 1 else math.nan


def _known(each: Sequence[float]) -> list[float]:
  """The values of seeds or folds that have any: a group may be empty."""
  return [value for value in each if not math.isnan(value)]


def _same_images(runs: Sequence[RunRecord], *, split: str) -> _Part:
  """The images that all these runs could read."""
  found = [_predictions(run, split) for run in runs]
  rows = _common(each.row for each in found)
  places = [np.searchsorted(each.row, rows) for each in found]
  labels = [each.label[at] for each, at in zip(found, places, strict=True)]
  for run, theirs in zip(runs, labels, strict=True):
    if not np.array_equal(theirs, labels[0]):
      raise ValueError(
        f"{run.workdir} has other {split} images than {runs[0].workdir}; "
        "expected the same for all methods."
      )
  right = [each.correct[at] for each, at in zip(found, places, strict=True)]
  return _Part(rows, labels[0], np.stack(right)[None])


def _predictions(run: RunRecord, split: str) -> Predictions:
  found = records.read_predictions(run.workdir, f"{split}-best")
  if found is None:
    raise ValueError(
      f"{run.workdir / records.PREDICTIONS / split}-best.npz is missing; "
      "expected what a run writes at its end."
    )
  return found


def _stacked(parts: Sequence[_Part]) -> _Part:
  """The same images under several seeds."""
  rows = _common(part.rows for part in parts)
  places = [np.searchsorted(part.rows, rows) for part in parts]
  right = [part.right[..., at] for part, at in zip(parts, places, strict=True)]
  return _Part(rows, parts[0].labels[places[0]], np.concatenate(right))


def _joined(parts: Sequence[_Part]) -> _Part:
  """The images of all folds."""
  return _Part(
    np.concatenate([part.rows for part in parts]),
    np.concatenate([part.labels for part in parts]),
    np.concatenate([part.right for part in parts], axis=2),
  )


def _common(rows: Iterable[np.ndarray]) -> np.ndarray:
  """Numbers that all of some sorted arrays have, sorted."""
  return functools.reduce(np.intersect1d, rows)
