"""Accuracy by shot group, from the counts of an evaluation pass."""

import numpy as np

from blt_jax.data import longtail

GROUPS = ("overall", "many", "medium", "few")


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
  groups = longtail.shot_groups(
    class_counts, many_above=many_above, few_up_to=few_up_to
  )
  masks = {"overall": np.ones(len(class_counts), bool), **groups}
  known = ~np.isnan(accuracies)
  means = {}
  for name in GROUPS:
    members = accuracies[masks[name] & known]
    means[name] = float(members.mean()) if members.size else float("nan")
  return means
