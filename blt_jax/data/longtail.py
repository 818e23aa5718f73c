"""Long-tailed class counts, shot groups and splits."""

import logging
from collections.abc import Sequence

import numpy as np

_log = logging.getLogger(__name__)

PROFILES = ("natural", "exponential", "step")
"""Shapes of the class counts that profile_counts knows."""


def exponential_counts(
  max_count: int, imbalance: float, num_classes: int
) -> np.ndarray:
  """Class counts that fall exponentially from the first class to the last.

  n_c = floor(max_count * (1 / imbalance)^(c / (C - 1))), LDAM's convention.
  A product that is whole up to rounding counts as whole (49 * (1 / 49) is 1).

  Args:
    max_count: images of the first class, >= 1.
    imbalance: largest over smallest class, >= 1.
    num_classes: C >= 1.

  Returns:
    int64 [C].

  Raises:
    ValueError: an argument is out of its range.

  Example:
    >>> exponential_counts(100, 10, 3).tolist()
    [100, 31, 10]
  """
  _check_profile(max_count, imbalance, num_classes)
  exponents = np.arange(num_classes) / max(num_classes - 1, 1)
  return _floor(max_count * (1.0 / imbalance) ** exponents)


def step_counts(
  max_count: int, imbalance: float, num_classes: int
) -> np.ndarray:
  """Class counts with one step: large classes first, then small ones.

  n_c = max_count for c < C // 2, else floor(max_count / imbalance).

  Args:
    max_count: images of a large class, >= 1.
    imbalance: large over small, >= 1.
    num_classes: C >= 1.

  Returns:
    int64 [C].

  Raises:
    ValueError: an argument is out of its range.

  Example:
    >>> step_counts(100, 10, 4).tolist()
    [100, 100, 10, 10]
  """
  _check_profile(max_count, imbalance, num_classes)
  counts = np.full(num_classes, max_count, np.int64)
  counts[num_classes // 2 :] = _floor(np.array(max_count / imbalance))
  return counts


def profile_counts(
  available: np.ndarray,
  *,
  profile: str,
  max_per_class: int = 0,
  imbalance: float = 100.0,
) -> np.ndarray:
  """Class counts of a named profile.

  Args:
    available: int [C], images that each class has.
    profile: "natural" (all of them), "exponential" or "step".
    max_per_class: size of the largest class; 0 means as large as possible: no
      limit for "natural", else what the smallest class of `available` has.
    imbalance: largest over smallest class, >= 1; unused by "natural".

  Returns:
    int64 [C]. A profile may ask for more images than there are, which
      long_tail_split refuses.

  Raises:
    ValueError: unknown profile, or an argument is out of its range.
  """
  if max_per_class < 0:
    raise ValueError(
      f"max_per_class is {max_per_class}; expected 0 (as many as there are) or"
      " more."
    )
  if profile == "natural":
    limit = max_per_class or np.iinfo(np.int64).max
    return np.minimum(available, limit).astype(np.int64)
  shapes = {"exponential": exponential_counts, "step": step_counts}
  if profile not in shapes:
    raise ValueError(
      f"profile is {profile!r}; expected one of {', '.join(PROFILES)}."
    )
  largest = max_per_class or int(np.min(available))
  return shapes[profile](largest, imbalance, len(available))


def shot_groups(
  class_counts: np.ndarray, *, many_above: int = 100, few_up_to: int = 20
) -> dict[str, np.ndarray]:
  """Groups classes by their number of training images.

  many: n_c > many_above; few: n_c <= few_up_to; medium: the rest.

  Args:
    class_counts: int [C].
    many_above: largest count of a medium class.
    few_up_to: largest count of a few-shot class, <= many_above.

  Returns:
    {"many", "medium", "few"}: bool [C] each; every class is in exactly one.

  Raises:
    ValueError: few_up_to exceeds many_above, or is negative.

  Example:
    >>> shot_groups(np.array([120, 50, 5]))["few"].tolist()
    [False, False, True]
  """
  if not 0 <= few_up_to <= many_above:
    raise ValueError(
      f"few_up_to is {few_up_to}; expected 0 to many_above, which is"
      f" {many_above}."
    )
  counts = np.asarray(class_counts)
  many, few = counts > many_above, counts <= few_up_to
  return {"many": many, "medium": ~many & ~few, "few": few}


def hold_out(
  labels: np.ndarray,
  per_class: int | np.ndarray,
  *,
  seed: int,
  class_names: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Takes a number of images of each class out of a labelled pool.

  Args:
    labels: int [n], 0 <= label.
    per_class: images of each class to hold out, >= 0: a number, or int [C].
    seed: the choice is a pure function of labels and seed.
    class_names: [C] names for error messages.

  Returns:
    (remaining, held_out): int64 indices into labels, each ascending.

  Raises:
    ValueError: a class would keep no image.
  """
  counts = np.bincount(labels)
  per_class = np.broadcast_to(per_class, counts.shape)
  needed = per_class + 1
  _check_enough(
    counts,
    needed,
    f"to hold {np.max(per_class, initial=0)} out and keep 1; hold out fewer",
    class_names,
  )
  held = _rank_in_class(labels, seed) >= (counts - per_class)[labels]
  return np.flatnonzero(~held), np.flatnonzero(held)


def long_tail_split(
  labels: np.ndarray,
  counts: np.ndarray,
  *,
  validation_per_class: int,
  seed: int,
  class_names: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts a long-tailed training set and a balanced validation set from a pool.

  With any profile, validation holds the images that `hold_out` takes with the
  same seed. So runs with different profiles are validated on the same images,
  and a smaller profile is a subset of a larger one. If the profile leaves fewer
  images of a class over, validation has only those, and the log says so
  (CIFAR-10-LT with all 5000 images of class 0 leaves none of that class).

  Args:
    labels: int [n], 0 <= label < C, the pool.
    counts: int [C], training images of each class, >= 1.
    validation_per_class: most validation images of each class, >= 0.
    seed: the choice is a pure function of labels and seed.
    class_names: [C] names for error messages.

  Returns:
    (train, validation): int64 indices into labels, each ascending; disjoint.

  Raises:
    ValueError: a class gets no training image, or has fewer images than
      counts[c].
  """
  counts = np.asarray(counts, np.int64)
  if np.any(counts < 1):
    c = int(np.argmax(counts < 1))
    raise ValueError(
      f"{_class_title(c, class_names)} gets {counts[c]} training images from"
      " the profile; expected 1 or more (raise max_per_class or lower"
      " imbalance)."
    )
  pool = np.bincount(labels, minlength=len(counts))
  _check_enough(
    pool, counts, "by the profile; lower max_per_class", class_names
  )
  first_held = np.maximum(pool - validation_per_class, counts)
  short = pool - first_held < validation_per_class
  if np.any(short):
    _log.warning(
      "%d of %d classes have fewer than %d images left over for validation, the"
      " first is %s with %d",
      np.sum(short),
      len(counts),
      validation_per_class,
      _class_title(int(np.argmax(short)), class_names),
      (pool - first_held)[np.argmax(short)],
    )
  rank = _rank_in_class(labels, seed)
  held = rank >= first_held[labels]
  return np.flatnonzero(rank < counts[labels]), np.flatnonzero(held)


def _check_profile(max_count, imbalance, num_classes) -> None:
  if max_count < 1:
    raise ValueError(f"max_count is {max_count}; expected 1 or more.")
  if not 1 <= imbalance < np.inf:
    raise ValueError(f"imbalance is {imbalance}; expected 1 or more, finite.")
  if num_classes < 1:
    raise ValueError(f"num_classes is {num_classes}; expected 1 or more.")


def _floor(values: np.ndarray) -> np.ndarray:
  return np.floor(values * (1 + 1e-12)).astype(np.int64)


def _rank_in_class(labels: np.ndarray, seed: int) -> np.ndarray:
  """Position of each image in a random order of its class, int64 [n]."""
  rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
  shuffled = rng.permutation(len(labels))
  by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
  counts = np.bincount(labels)
  rank = np.empty(len(labels), np.int64)
  first = np.cumsum(counts) - counts
  rank[by_class] = np.arange(len(labels)) - first[labels[by_class]]
  return rank


def _check_enough(available, needed, wanted, class_names) -> None:
  short = available < needed
  if np.any(short):
    c = int(np.argmax(short))
    raise ValueError(
      f"{_class_title(c, class_names)} has {available[c]} images; expected"
      f" {needed[c]} or more {wanted} ({int(np.sum(short))} such classes)."
    )


def _class_title(c: int, class_names: Sequence[str] | None) -> str:
  return (
    f"class {c}" if class_names is None else f"class {c} ({class_names[c]})"
  )
