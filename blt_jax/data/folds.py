"""Folds of a pool of images: in each, another part of them is tested."""

import warnings
from collections.abc import Sequence

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.grouping import (
  deal_groups,
  group_numbers,
  hold_out_groups,
)
from blt_jax.data.text import counted


def cut_fold(
  pool: Split, *, folds: int, fold: int, seed: int, validation: bool
) -> tuple[Split, Split | None, Split, list[str]]:
  """Cuts one fold out of a pool of images.

  Args:
    pool: all images of a data set.
    folds: see `folds_of`.
    fold: the fold to test, 1..folds.
    seed: see `folds_of`.
    validation: whether to hold validation out of the rest, by groups where the
      pool has them (see `grouping.hold_out_groups`).

  Returns:
    (training, validation, test, lines about what was done). Without groups
    validation is None and still to be held out of training.

  Raises:
    ValueError: the images can't be dealt into so many folds.
  """
  fold_of = folds_of(pool.labels, pool.groups, folds=folds, seed=seed)
  rest, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
  lines = [
    f"fold {fold} of {folds}: {counted(len(test), 'image')} of {len(pool)} to"
    " test"
  ]
  alone = int(np.sum(fold_of == 0))
  if alone:
    lines.append(
      f"tested in no fold: {counted(alone, 'image')} of classes that have no"
      " other image or group; only trained on"
    )
  if pool.groups is None or not validation:
    return pool.take(rest), None, pool.take(test), lines
  held = hold_out_groups(
    pool.labels[rest], pool.groups[rest], wanted=("validation",), seed=seed
  )
  train, chosen = rest[held["train"]], rest[held["validation"]]
  return pool.take(train), pool.take(chosen), pool.take(test), lines


def folds_of(
  labels: np.ndarray,
  groups: Sequence[str] | np.ndarray | None = None,
  *,
  folds: int,
  seed: int,
) -> np.ndarray:
  """The fold in which each image of a pool is tested.

  Every fold tests about 1 / folds of each class, and no group lies in two folds
  (scikit-learn's StratifiedKFold and StratifiedGroupKFold deal them). A class
  needs training images in every fold: where all its images would be tested in
  one, its smallest group there, which may be a single image, is tested in none.

  Args:
    labels: int [n], 0 <= label < C.
    groups: strings [n], the camera, patient or specimen of each image; an image
      without one, "", is a group of its own. None without groups.
    folds: 2 or more.
    seed: each seed deals in another way.

  Returns:
    int64 [n], 1..folds; 0 for an image that is only trained on.

  Raises:
    ValueError: there are fewer images of the largest class, or fewer groups,
      than folds.
  """
  largest = int(np.bincount(labels).max())
  if largest < folds:
    raise ValueError(
      f"config.dataset.folds is {folds}; expected at most {largest}, the images"
      " of the largest class."
    )
  if groups is None:
    numbers = np.arange(len(labels))
    parts = _deal_images(labels, folds=folds, seed=seed)
  else:
    numbers = group_numbers(groups)
    if numbers.max() + 1 < folds:
      raise ValueError(
        f"config.dataset.folds is {folds}; expected at most"
        f" {numbers.max() + 1}, the number of groups."
        " --config.dataset.group=none deals single images."
      )
    parts = deal_groups(labels, numbers, folds=folds, seed=seed)
  fold = np.zeros(len(labels), np.int64)
  for number, rows in enumerate(parts, 1):
    fold[rows] = number
  _keep_for_training(labels, numbers, fold)
  return fold


def _deal_images(
  labels: np.ndarray, *, folds: int, seed: int
) -> list[np.ndarray]:
  """The rows of each fold, dealt class by class."""
  from sklearn.model_selection import StratifiedKFold

  dealer = StratifiedKFold(folds, shuffle=True, random_state=seed)
  with warnings.catch_warnings():
    # It warns of classes with fewer images than folds: a long tail has them.
    warnings.simplefilter("ignore", UserWarning)
    return [held for _, held in dealer.split(labels, labels)]


def _keep_for_training(
  labels: np.ndarray, numbers: np.ndarray, fold: np.ndarray
) -> None:
  """Takes groups out of the folds until every class is trained on in each."""
  sizes = np.bincount(numbers)
  order = np.argsort(labels, kind="stable")
  counts = np.bincount(labels)
  ends = np.cumsum(counts)
  for start, end in zip(ends - counts, ends, strict=True):
    rows = order[start:end]
    if len(rows) and len(set(fold[rows].tolist())) == 1 and fold[rows[0]]:
      held = np.unique(numbers[rows])
      fold[numbers == held[np.argmin(sizes[held])]] = 0
