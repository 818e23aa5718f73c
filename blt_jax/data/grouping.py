"""Groups of images, such as those of one camera, that no two splits share."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

# Parts that the groups are dealt into; a split that is held out is one of them.
_FOLDS = 5
# More groups than this are dealt in bundles: scikit-learn tries each in each
# part, which would take minutes.
_MOST_GROUPS = 4000


def group_numbers(groups: Sequence[str] | np.ndarray) -> np.ndarray:
  """Numbers groups in the order of their names.

  Args:
    groups: strings [n]; an image without one, "", is a group of its own.

  Returns:
    int64 [n], 0..G-1.
  """
  names = sorted(set(groups) - {""})
  number = {name: g for g, name in enumerate(names)}
  result = np.fromiter((number.get(g, -1) for g in groups), np.int64)
  alone = np.flatnonzero(result < 0)
  result[alone] = len(names) + np.arange(len(alone))
  return result


def torn_groups(splits: Mapping[str, Sequence[str] | np.ndarray]) -> list[str]:
  """Groups with images in two splits or more, sorted.

  Args:
    splits: split -> the groups of its images, "" for none.
  """
  seen: set[str] = set()
  torn: set[str] = set()
  for groups in splits.values():
    here = set(groups) - {""}
    torn |= here & seen
    seen |= here
  return sorted(torn)


def hold_out_groups(
  labels: np.ndarray,
  groups: Sequence[str] | np.ndarray,
  *,
  wanted: Sequence[str],
  seed: int,
) -> dict[str, np.ndarray]:
  """Takes splits out of a pool of images, group by group.

  Each split is one of the five parts into which scikit-learn's
  StratifiedGroupKFold deals the groups, so that every part has about a fifth of
  each class. Where a class would be left without a training image, its smallest
  group that is held out goes back.

  Args:
    labels: int [n], 0 <= label < C.
    groups: strings [n]; an image without one, "", is a group of its own.
    wanted: names of the splits, one or two.
    seed: each seed gives other splits; names and seed alone decide.

  Returns:
    Rows of each of these splits, and under "train" those that are left: int64,
    ascending, disjoint.

  Raises:
    ValueError: there are too few groups, or too few of each class.
  """
  numbers = group_numbers(groups)
  count = int(numbers.max()) + 1
  if count <= len(wanted):
    raise ValueError(
      f"there {'is 1 group' if count == 1 else f'are {count} groups'}; expected"
      f" {len(wanted) + 1} or more, to hold groups out for"
      f" {' and '.join(wanted)}. --config.dataset.group=none holds images out."
    )
  split_of = _deal(labels, numbers, splits=len(wanted), seed=seed)
  _give_back(labels, numbers, split_of)
  of_image = split_of[numbers]
  rows = {
    part: np.flatnonzero(of_image == k) for k, part in enumerate(wanted, 1)
  }
  empty = [part for part in wanted if not len(rows[part])]
  if empty:
    raise ValueError(
      f"no group is left over for {empty[0]}: each of the {count} groups has"
      " all images of a class; expected classes with images in several groups."
      " --config.dataset.group=none holds images out."
    )
  return {"train": np.flatnonzero(of_image == 0), **rows}


def _deal(
  labels: np.ndarray, numbers: np.ndarray, *, splits: int, seed: int
) -> np.ndarray:
  """The split of each group, int64 [G]: 0 for training, 1 and 2 for others."""
  count = int(numbers.max()) + 1
  # No class may have fewer images than there are parts.
  largest = int(np.bincount(labels).max())
  folds = min(_FOLDS, count, largest)
  if folds < 2:
    raise ValueError(
      "each class has 1 image; expected a class with 2 or more, to hold images"
      " out."
    )
  parts = deal_groups(labels, numbers, folds=folds, seed=seed)
  # The parts that come closest to their share of each class are held out; one
  # that a large group fills stays in training.
  total = np.bincount(labels)

  def distance(rows: np.ndarray) -> float:
    shares = np.bincount(labels[rows], minlength=len(total))[total > 0]
    return float(np.mean(np.abs(shares / total[total > 0] - 1 / folds)))

  parts.sort(key=distance)
  split_of = np.zeros(count, np.int64)
  for k, rows in enumerate(parts[: min(splits, folds - 1)], 1):
    split_of[numbers[rows]] = k
  return split_of


def deal_groups(
  labels: np.ndarray, numbers: np.ndarray, *, folds: int, seed: int
) -> list[np.ndarray]:
  """Deals groups into parts that have about the same share of each class.

  Args:
    labels: int [n], 0 <= label < C.
    numbers: int [n], the group of each image, 0..G-1.
    folds: parts, at most as many as groups and as images of the largest class.
    seed: each seed deals in another way.

  Returns:
    Rows of each part: int64, ascending, disjoint, together all.
  """
  from sklearn.model_selection import StratifiedGroupKFold

  count = int(numbers.max()) + 1
  bundle_of = np.arange(count)
  if count > _MOST_GROUPS:
    bundle_of = np.random.default_rng(seed).permutation(count) % _MOST_GROUPS
  dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
  with warnings.catch_warnings():
    # It warns of classes with fewer images than parts: a long tail has them.
    warnings.simplefilter("ignore", UserWarning)
    return [
      held for _, held in dealer.split(labels, labels, bundle_of[numbers])
    ]


def _give_back(
  labels: np.ndarray, numbers: np.ndarray, split_of: np.ndarray
) -> None:
  """Moves groups to training until every class there has an image."""
  sizes = np.bincount(numbers)
  classes = np.flatnonzero(np.bincount(labels))
  for c in classes.tolist():
    holders = np.unique(numbers[labels == c])
    if not np.any(split_of[holders] == 0):
      split_of[holders[np.argmin(sizes[holders])]] = 0
