"""Measures of every class, group and split, from what was predicted.

A class without test images has no part in any mean over classes. An image of
another class that is taken for it is wrong like any other.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.method import metrics
from blt_jax.workdir.records import Predictions

# Up to this share of the test images may be of other classes than in a test set
# that is exactly balanced, or exactly as frequent as in training.
_ALIKE = 0.1

# Columns of classes.csv: numbers of images by their splits, and ClassScores.
_SPLITS = {"train": "training", "validation": "validation", "test": "test"}
_SCORES = ("recall", "precision", "f1", "top5")


@dataclasses.dataclass(frozen=True, eq=False)
class ClassScores:
  """How well each class is recognised, in percent.

  All but `images` is NaN, and `confused_with` -1, for a class without images.

  Attributes:
    images: int64 [C], images of the class.
    recall: float64 [C], share of them that are found, the class's accuracy.
    precision: float64 [C], share of right ones among the images that are taken
      for the class; NaN also where there are none.
    f1: float64 [C], harmonic mean of both; 0 where none is right.
    top5: float64 [C], share that have the class among their five likeliest.
    weight: float64 [C], sum of the images' weights.
    confused_with: int64 [C], the class that its images are most often taken for
      wrongly, the first of several; -1 where all are right.
  """

  images: np.ndarray
  recall: np.ndarray
  precision: np.ndarray
  f1: np.ndarray
  top5: np.ndarray
  weight: np.ndarray
  confused_with: np.ndarray


def image_weights(
  labels: np.ndarray, shares: np.ndarray | None = None
) -> np.ndarray:
  """Weights that make images as frequent as their classes are in deployment.

  w = share[c] / (share of class c among the images), times a constant that
  makes the mean weight 1. Classes without images have no part.

  Args:
    labels: int [n].
    shares: float [C], of the classes in deployment; None for those that they
      have among the images.

  Returns:
    float64 [n]; ones without shares.

  Raises:
    ValueError: none of the images is of a class with a share above 0.
  """
  if shares is None or not len(labels):
    return np.ones(len(labels))
  counts = np.bincount(labels, minlength=len(shares))
  covered = float(np.sum(shares[counts > 0]))
  if not covered > 0:
    raise ValueError(
      "dataset.prior gives a share of 0 to every class that has images; "
      "expected a share above 0 for one of them."
    )
  return (shares / np.maximum(counts, 1))[labels] * len(labels) / covered


def class_scores(
  predictions: Predictions,
  num_classes: int,
  *,
  shares: np.ndarray | None = None,
) -> ClassScores:
  """The scores of each class.

  Args:
    predictions: of n images.
    num_classes: C.
    shares: see `image_weights`. Precision and F1 depend on them.
  """
  # scikit-learn takes long to import.
  from sklearn.metrics import precision_recall_fscore_support

  label, prediction = predictions.label, predictions.prediction
  images = np.bincount(label, minlength=num_classes)
  present = np.flatnonzero(images)
  precision, f1, weight = (np.full(num_classes, np.nan) for _ in range(3))
  if len(present):
    precision[present], _, f1[present], weight[present] = (
      precision_recall_fscore_support(
        label,
        prediction,
        labels=present,
        sample_weight=image_weights(label, shares),
        zero_division=np.nan,
      )
    )
  right = np.bincount(label[predictions.correct], minlength=num_classes)
  top5 = np.bincount(label[predictions.in_top5], minlength=num_classes)
  return ClassScores(
    images=images,
    recall=metrics.class_accuracies(right, images),
    precision=100 * precision,
    f1=100 * f1,
    top5=metrics.class_accuracies(top5, images),
    weight=weight,
    confused_with=_confused_with(predictions, num_classes),
  )


def _confused_with(predictions: Predictions, num_classes: int) -> np.ndarray:
  """See `ClassScores.confused_with`."""
  wrong = ~predictions.correct
  pairs, counts = np.unique(
    predictions.label[wrong].astype(np.int64) * num_classes
    + predictions.prediction[wrong],
    return_counts=True,
  )
  found = np.full(num_classes, -1)
  # The most frequent pair of a class is written last, the first of equal ones.
  for place in np.lexsort((-pairs, counts)):
    found[pairs[place] // num_classes] = pairs[place] % num_classes
  return found


def measures(
  predictions: Predictions,
  class_counts: np.ndarray,
  *,
  many_above: int,
  few_up_to: int,
  shares: np.ndarray | None = None,
) -> dict[str, Any]:
  """All measures of a split, as results.json has them (docs/measures.md).

  Args:
    predictions: of its images.
    class_counts: int [C], training images of each class.
    many_above: a class with more images than this is many-shot.
    few_up_to: a class with at most this many images is few-shot.
    shares: of the classes in deployment, see `image_weights`. Recalls and their
      means do not depend on them.

  Returns:
    Percent, but "nll" in nats and "ece" 0..1; NaN where there are no images.
  """
  limits = {"many_above": many_above, "few_up_to": few_up_to}
  scores = class_scores(predictions, len(class_counts), shares=shares)
  weights = image_weights(predictions.label, shares)
  right = np.bincount(
    predictions.label[predictions.correct], minlength=len(class_counts)
  )
  intervals = metrics.accuracy_intervals(
    right, scores.images, class_counts, **limits
  )
  masks = metrics.group_masks(class_counts, **limits)
  plain, calibrated = {}, {}
  for group, members in masks.items():
    plain[group] = _plain(predictions, scores, members, weights)
    calibrated[group] = _calibrated(predictions, members, weights)
  return {
    **metrics.group_means(scores.recall, class_counts, **limits),
    "top5": metrics.group_means(scores.top5, class_counts, **limits),
    **plain.pop("overall"),
    "interval": {group: list(ends) for group, ends in intervals.items()},
    "groups": plain,
    "calibrated": {**calibrated.pop("overall"), "groups": calibrated},
  }


def _plain(
  predictions: Predictions,
  scores: ClassScores,
  members: np.ndarray,
  weights: np.ndarray,
) -> dict[str, float]:
  """Measures over the images of some classes, bool [C]."""
  some = members[predictions.label]
  known = members & (scores.weight > 0)
  return {
    "accuracy": 100 * _mean(predictions.correct[some], weights[some]),
    "macro_f1": _mean(scores.f1[known], np.ones(np.count_nonzero(known))),
    "weighted_f1": _mean(scores.f1[known], scores.weight[known]),
    "nll": _mean(-predictions.log_likelihood[some], weights[some]),
    "ece": metrics.calibration_error(
      predictions.confidence[some],
      predictions.correct[some],
      weights=weights[some],
    ),
  }


def _calibrated(
  predictions: Predictions, members: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
  """Measures of the calibrated probabilities, as in `_plain`."""
  some = members[predictions.label]
  return {
    "nll": _mean(-predictions.calibrated_log_likelihood[some], weights[some]),
    "ece": metrics.calibration_error(
      predictions.calibrated_confidence[some],
      predictions.correct[some],
      weights=weights[some],
    ),
  }


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
  """The weighted mean; NaN where there is no weight."""
  if not np.sum(weights) > 0:
    return float("nan")
  return float(np.average(values.astype(np.float64), weights=weights))


def test_set(
  class_counts: np.ndarray, test_counts: np.ndarray, *, is_validation: bool
) -> dict[str, Any]:
  """What the test set is, as results.json has it.

  The distance between two distributions over classes is the share of images
  that would have to be of another class: half of the sum of differences.

  Args:
    class_counts: int [C], training images of each class.
    test_counts: int [C], test images of each class.
    is_validation: whether the test images are those of validation.

  Returns:
    "kind": "balanced" where the distance to equal numbers is at most 0.1, else
    "natural" where that to the classes' shares in training is, else "neither";
    "from_balanced" and "from_natural": these distances, 0..1; "images" and
    "classes": how many images there are, of how many classes; "is_validation".
  """
  shares = test_counts / max(test_counts.sum(), 1)
  distances = {
    "balanced": np.full(len(shares), 1 / len(shares)),
    "natural": class_counts / class_counts.sum(),
  }
  found = {
    kind: float(np.abs(shares - expected).sum() / 2)
    for kind, expected in distances.items()
  }
  kinds = [kind for kind, distance in found.items() if distance <= _ALIKE]
  return {
    "kind": kinds[0] if kinds else "neither",
    **{f"from_{kind}": distance for kind, distance in found.items()},
    "images": int(test_counts.sum()),
    "classes": int(np.count_nonzero(test_counts)),
    "is_validation": is_validation,
  }


def classes_csv(
  scores: ClassScores,
  class_names: Sequence[str],
  counts: Mapping[str, np.ndarray],
) -> str:
  """classes.csv: a row for each class, in the order of the labels.

  What is not known is empty. Names may hold any characters.

  Args:
    scores: of the best epoch on the test images.
    class_names: [C].
    counts: images of each class, int [C], in "training", "validation" and
      "test".
  """
  text = io.StringIO(newline="")
  plain = csv.writer(text, lineterminator="\n")
  # Before Python 3.13 csv does not quote a carriage return, and readers take
  # one for the end of a row.
  quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
  plain.writerow(["class", *_SPLITS, *_SCORES, "confused_with"])
  for c, name in enumerate(class_names):
    images = (str(counts[split][c]) for split in _SPLITS.values())
    values = (float(getattr(scores, column)[c]) for column in _SCORES)
    numbers = ("" if math.isnan(v) else f"{v:.2f}" for v in values)
    other = int(scores.confused_with[c])
    row = [name, *images, *numbers, class_names[other] if other >= 0 else ""]
    (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
  return text.getvalue()
