"""How good a network is, how sure that is, and what its confidence is worth.

All of it from what an evaluation pass found, with NumPy alone.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from blt_jax.data import longtail

GROUPS = ("overall", "many", "medium", "few")

# Numbers that a bootstrap has in memory at a time, and the percentiles between
# which 95 % of its samples lie.
_AT_A_TIME, _PERCENTILES = 2**20, (2.5, 97.5)


def shot_accuracies(
  confusion: np.ndarray,
  class_counts: np.ndarray,
  *,
  many_above: int = 100,
  few_up_to: int = 20,
) -> dict[str, float]:
  """Top-1 accuracy over all classes and in each shot group, in percent.

  Args:
    confusion: int [C, C], [true, predicted] counts of an evaluation pass.
    class_counts: int [C], training images of each class, which decide its
      group.
    many_above: a class with more images than this is many-shot.
    few_up_to: a class with at most this many images is few-shot.

  Returns:
    {"overall", "many", "medium", "few"}: means of the per-class accuracies,
    0..100, as the paper reports them. NaN for a group without classes.

  Example:
    >>> confusion = np.array([[9, 1], [4, 6]])
    >>> shot_accuracies(confusion, class_counts=np.array([120, 5]))
    {'overall': 75.0, 'many': 90.0, 'medium': nan, 'few': 60.0}
  """
  confusion = np.asarray(confusion)
  return group_means(
    class_accuracies(np.diag(confusion), confusion.sum(axis=1)),
    class_counts,
    many_above=many_above,
    few_up_to=few_up_to,
  )


def class_accuracies(correct: np.ndarray, totals: np.ndarray) -> np.ndarray:
  """Accuracy of each class in percent.

  Args:
    correct: int [C], images of each class that were classified correctly.
    totals: int [C], images of each class.

  Returns:
    float64 [C], 0..100, NaN for a class without images.
  """
  totals = np.asarray(totals, np.float64)
  known = np.where(totals > 0, totals, np.nan)
  return 100.0 * np.asarray(correct) / known


def group_means(
  accuracies: np.ndarray,
  class_counts: np.ndarray,
  *,
  many_above: int = 100,
  few_up_to: int = 20,
) -> dict[str, float]:
  """Mean per-class accuracy over all classes and in each shot group.

  Args:
    accuracies: float [C] in percent; NaN marks a class that was not evaluated,
      which has no part in any mean.
    class_counts: int [C], training images of each class.
    many_above: a class with more images than this is many-shot.
    few_up_to: a class with at most this many images is few-shot.

  Returns:
    {"overall", "many", "medium", "few"} in percent, NaN for an empty group.
  """
  masks = group_masks(class_counts, many_above=many_above, few_up_to=few_up_to)
  known = ~np.isnan(accuracies)
  means = {}
  for name in GROUPS:
    members = accuracies[masks[name] & known]
    means[name] = float(members.mean()) if members.size else float("nan")
  return means


def group_masks(
  class_counts: np.ndarray, *, many_above: int = 100, few_up_to: int = 20
) -> dict[str, np.ndarray]:
  """The classes of "overall" (all), "many", "medium", "few": bool [C] each."""
  groups = longtail.shot_groups(
    class_counts, many_above=many_above, few_up_to=few_up_to
  )
  return {"overall": np.ones(len(class_counts), bool), **groups}


def accuracy_intervals(
  correct: np.ndarray,
  totals: np.ndarray,
  class_counts: np.ndarray,
  *,
  many_above: int = 100,
  few_up_to: int = 20,
  samples: int = 2000,
  seed: int = 0,
) -> dict[str, tuple[float, float]]:
  """95 % intervals of the means of `group_means`: a bootstrap over images.

  A sample draws as many images of each class as it has, with replacement. Of n
  images of which k are right it then has Binomial(n, k / n) right ones: these
  numbers are drawn, no image is copied. The middle 95 % of the samples' means
  are the interval. A class all of whose images are right, or all wrong, is so
  in every sample and adds no width.

  Args:
    correct: int [C], images of each class that were classified correctly.
    totals: int [C], images of each class; one without has no part.
    class_counts: int [C], training images of each class.
    many_above: a class with more images than this is many-shot.
    few_up_to: a class with at most this many images is few-shot.
    samples: number of samples.
    seed: of the samples.

  Returns:
    {"overall", "many", "medium", "few": (low, high)} in percent, NaN for a
    group none of whose classes has images.
  """
  totals = np.asarray(totals)
  shares = np.asarray(correct) / np.maximum(totals, 1)
  rng = np.random.default_rng(seed)
  return _intervals(
    lambda number: rng.binomial(totals, shares, (number, len(totals))),
    totals,
    _evaluated(
      class_counts, totals, many_above=many_above, few_up_to=few_up_to
    ),
    samples=samples,
  )


def paired_differences(
  first: np.ndarray,
  second: np.ndarray,
  labels: np.ndarray,
  class_counts: np.ndarray,
  *,
  many_above: int = 100,
  few_up_to: int = 20,
  samples: int = 2000,
  seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
  """By how much one network is better than another on the same images.

  The difference of the means of `group_means`, first minus second, with a 95 %
  interval by bootstrap over images within a class. A sample takes an image with
  the answers of both (numbers of images come from a multinomial distribution),
  so one that is hard for both does not widen the interval. Of k pairs of
  networks it is the mean difference, with the same sample for all of them.

  Args:
    first: bool [n] or [k, n], whether one network has each image right.
    second: likewise, whether the other has the same image right.
    labels: int [n], classes of the images.
    class_counts: int [C], training images of each class.
    many_above: a class with more images than this is many-shot.
    few_up_to: a class with at most this many images is few-shot.
    samples: number of samples.
    seed: of the samples.

  Returns:
    {"overall", "many", "medium", "few": (difference, low, high)} in percentage
    points, NaN for a group none of whose classes has images.

  Raises:
    ValueError: the arrays have different lengths.
  """
  first = np.atleast_2d(np.asarray(first, bool))
  second = np.atleast_2d(np.asarray(second, bool))
  if first.shape != second.shape or first.shape[1] != len(labels):
    raise ValueError(
      f"first, second and labels have {first.shape[1]}, {second.shape[1]} and "
      f"{len(labels)} images; expected the same images in all three."
    )
  pairs = len(first)  # The first is right in -pairs to pairs more of them.
  values = first.sum(axis=0) - second.sum(axis=0)
  outcomes = np.zeros((len(class_counts), 2 * pairs + 1), np.int64)
  np.add.at(outcomes, (np.asarray(labels), pairs - values), 1)
  totals = outcomes.sum(axis=1)
  shares = outcomes / np.maximum(totals, 1)[:, None]
  shares[totals == 0, pairs] = 1
  weights = np.arange(pairs, -pairs - 1, -1) / pairs
  members = _evaluated(
    class_counts, totals, many_above=many_above, few_up_to=few_up_to
  )
  rng = np.random.default_rng(seed)

  def draw(number: int) -> np.ndarray:
    return rng.multinomial(totals, shares, (number, len(totals))) @ weights

  bounds = _intervals(draw, totals, members, samples=samples)
  (found,) = _means((outcomes @ weights)[None], totals, members)
  return {
    group: (difference, *bounds[group])
    for group, difference in zip(GROUPS, found.tolist(), strict=True)
  }


def _evaluated(
  class_counts: np.ndarray, totals: np.ndarray, **limits: int
) -> np.ndarray:
  """Classes with images in each of GROUPS, as 0 and 1: float64 [C, groups]."""
  masks = group_masks(class_counts, **limits)
  members = np.stack([masks[group] for group in GROUPS], axis=1)
  return (members & (totals > 0)[:, None]).astype(np.float64)


def _means(
  numbers: np.ndarray, totals: np.ndarray, members: np.ndarray
) -> np.ndarray:
  """Means over the classes of each group of their shares, in percent.

  Args:
    numbers: int or float [k, C], numbers of images of each class.
    totals: int [C], images of each class.
    members: float [C, groups], see `_evaluated`.

  Returns:
    float64 [k, groups], NaN for a group without classes that have images.
  """
  sums = (numbers / np.maximum(totals, 1)) @ members
  classes = members.sum(axis=0)
  return 100 * sums / np.where(classes > 0, classes, np.nan)


def _intervals(
  draw: Callable[[int], np.ndarray],
  totals: np.ndarray,
  members: np.ndarray,
  *,
  samples: int,
) -> dict[str, tuple[float, float]]:
  """95 % intervals of what `_means` gives for samples.

  Args:
    draw: k -> int or float [k, C], numbers of images in k samples.
    totals: int [C], images of each class.
    members: see `_evaluated`.
    samples: number of samples.
  """
  block = max(1, _AT_A_TIME // len(totals))
  means = [
    _means(draw(min(block, samples - done)), totals, members)
    for done in range(0, samples, block)
  ]
  low, high = np.percentile(np.concatenate(means), _PERCENTILES, axis=0)
  bounds = zip(low.tolist(), high.tolist(), strict=True)
  return dict(zip(GROUPS, bounds, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
  """Images by their confidence, in bins of equal width from 0 to 1.

  Attributes:
    count: int64 [bins], images; the sum of their weights, float64, where they
      have weights.
    confidence: float64 [bins], mean confidence, 0..1, NaN for an empty bin.
    accuracy: float64 [bins], share of right answers, 0..1, NaN likewise.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray


def reliability(
  confidence: np.ndarray,
  correct: np.ndarray,
  *,
  weights: np.ndarray | None = None,
  bins: int = 15,
) -> Reliability:
  """Sets confidences against the share of right answers.

  Args:
    confidence: float [n], probability of the predicted class, 0..1. A bin has
      its upper end, not its lower one.
    correct: bool [n], whether the prediction is right.
    weights: float [n], of the images; None for 1 each.
    bins: number of bins.
  """
  confidence = np.asarray(confidence, np.float64)
  place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)

  def total(values: np.ndarray | None) -> np.ndarray:
    return np.bincount(place, values, minlength=bins)

  parts = np.ones(len(confidence)) if weights is None else weights
  count = total(weights)
  known = np.where(count > 0, count, np.nan)
  return Reliability(
    count,
    total(parts * confidence) / known,
    total(parts * np.asarray(correct)) / known,
  )


def calibration_error(
  confidence: np.ndarray,
  correct: np.ndarray,
  *,
  weights: np.ndarray | None = None,
  bins: int = 15,
) -> float:
  """Expected calibration error: how far confidences are from being right.

  ECE = sum_b (n_b / n) |accuracy_b - confidence_b| over bins b of equal width.

  Args:
    confidence: float [n], probability of the predicted class, 0..1.
    correct: bool [n], whether the prediction is right.
    weights: float [n], of the images; None for 1 each.
    bins: number of bins.

  Returns:
    0..1, NaN without images.

  References:
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
  """
  found = reliability(confidence, correct, weights=weights, bins=bins)
  if not np.any(found.count):
    return float("nan")
  gaps = np.abs(found.accuracy - found.confidence)
  return float(np.nansum(found.count * gaps) / found.count.sum())


@dataclasses.dataclass(frozen=True, eq=False)
class Coverage:
  """What is left, and how much of it is right, above each confidence.

  Attributes:
    thresholds: float64 [k], each confidence that occurs, in rising order.
    coverage: float64 [k], share of the images with at least this confidence.
    precision: float64 [k], share of right answers among these.
  """

  thresholds: np.ndarray
  coverage: np.ndarray
  precision: np.ndarray


def coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> Coverage:
  """Precision against coverage when answers of low confidence are left out.

  Args:
    confidence: float [n], probability of the predicted class, 0..1.
    correct: bool [n], whether the prediction is right.

  Returns:
    A point for each confidence that occurs; none without images.
  """
  thresholds, place = np.unique(
    np.asarray(confidence, np.float64), return_inverse=True
  )
  counts = np.bincount(place, minlength=len(thresholds))
  right = np.bincount(place, np.asarray(correct), minlength=len(thresholds))
  kept = np.cumsum(counts[::-1])[::-1]
  return Coverage(
    thresholds,
    kept / max(len(place), 1),
    np.cumsum(right[::-1])[::-1] / kept,
  )


def threshold_for(
  precision: float, confidence: np.ndarray, correct: np.ndarray
) -> float | None:
  """The smallest confidence from which on answers have a precision.

  Args:
    precision: share of right answers among those kept, 0..1.
    confidence: float [n], probability of the predicted class, 0..1.
    correct: bool [n], whether the prediction is right.

  Returns:
    The lowest of the confidences such that, of the images with at least this
    one, the share `precision` or more is right; None if there is none.
  """
  curve = coverage_curve(confidence, correct)
  reached = np.flatnonzero(curve.precision >= precision)
  return float(curve.thresholds[reached[0]]) if len(reached) else None
