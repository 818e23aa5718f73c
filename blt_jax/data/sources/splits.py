"""Cuts a pool of images into training, validation and test."""

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.dataset import Dataset, Split

_log = logging.getLogger(__name__)

SPLIT_WORDS = {
  "train": "train",
  "training": "train",
  "val": "validation",
  "valid": "validation",
  "validation": "validation",
  "dev": "validation",
  "eval": "validation",
  "evaluation": "validation",
  "test": "test",
  "testing": "test",
}
"""Words for splits in folders and tables, in lower case, and what they mean."""


def check_folds(folds: int, fold: int) -> None:
  """Raises ValueError for a fold that does not exist."""
  if folds == 1:
    raise ValueError("config.dataset.folds is 1; expected 2 or more, or 0.")
  if (folds and not 1 <= fold <= folds) or (fold and not folds):
    allowed = f"1 to {folds}" if folds else "0"
    raise ValueError(
      f"config.dataset.fold is {fold}; expected {allowed} with"
      f" config.dataset.folds {folds}."
    )


@dataclasses.dataclass(frozen=True)
class SplitOptions:
  """How a source cuts its images into splits.

  Attributes:
    profile: shape of the training set's class counts: "natural" (as they are),
      "exponential" or "step", see longtail.profile_counts.
    max_per_class: training images of the largest class; 0 means as many as
      possible.
    imbalance: images of the largest class over those of the smallest, 1 or
      more; unused by "natural".
    validation_per_class: images of each class held out of training, at most
      half of them unless drop_below drops small classes; unused by a source
      that has validation images of its own.
    test_per_class: the same for the test; only image folders use it.
    drop_below: drops classes that keep fewer training images than this after
      the hold-out, from every split, and numbers the others anew; 0 drops none.
    split_seed: seed of the choice of images.
    folds: number of folds that the images are dealt into; 0 for none.
    fold: the one that is the test, 1..folds; validation is held out of the
      others. A data set with validation or test images of its own has none.

  Raises:
    ValueError: a field is out of its range.
  """

  profile: str = "natural"
  max_per_class: int = 0
  imbalance: float = 100.0
  validation_per_class: int = 0
  test_per_class: int = 0
  drop_below: int = 0
  split_seed: int = 0
  folds: int = 0
  fold: int = 0

  def __post_init__(self):
    if self.profile not in longtail.PROFILES:
      raise ValueError(
        f"profile is {self.profile!r}; expected one of"
        f" {', '.join(longtail.PROFILES)}."
      )
    if not 1 <= self.imbalance < math.inf:
      raise ValueError(
        f"imbalance is {self.imbalance}; expected a finite number of 1 or more."
      )
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 0:
        raise ValueError(f"{field.name} is {value}; expected 0 or more.")
    check_folds(self.folds, self.fold)


NATURAL = SplitOptions()
"""Every image of the training set is trained on."""


def assemble(
  name: str,
  class_names: Sequence[str],
  *,
  train: Split,
  validation: Split | None,
  test: Split | None,
  options: SplitOptions,
  left_out: Sequence[str] = (),
) -> Dataset:
  """Makes the training pool long-tailed and fills in the missing splits.

  Args:
    name: of the data set.
    class_names: [C].
    train: the pool that training (and held-out validation) images come from.
    validation: None holds validation_per_class images of each class out of
      the pool.
    test: None makes the validation split the test split as well.
    options: see SplitOptions.
    left_out: see Dataset.

  Returns:
    The Dataset.

  Raises:
    ValueError: a class lacks images, or there is no validation.
  """
  if options.folds:
    from blt_jax.data.folds import cut_fold  # Few runs need it.

    _check_without(validation, test, options)
    train, validation, test, lines = cut_fold(
      train,
      folds=options.folds,
      fold=options.fold,
      seed=options.split_seed,
      validation=bool(options.validation_per_class),
    )
    left_out = (*left_out, *lines)
  held_out = 0 if validation is not None else options.validation_per_class
  if validation is None and not held_out:
    raise ValueError(
      "validation_per_class is 0 and there is no validation split; expected 1"
      " or more, or a validation split."
    )
  if options.drop_below:
    class_names, train, (validation, test) = drop_small_classes(
      class_names,
      train,
      others=(validation, test),
      minimum=options.drop_below + held_out,
    )
  check_every_class(train.labels, class_names)
  train, held = _cut(train, class_names, held_out=held_out, options=options)
  validation = held if validation is None else validation
  if not len(validation):
    raise ValueError(
      f"max_per_class is {options.max_per_class}, which leaves no image over"
      f" for validation (validation_per_class is {held_out}); expected a"
      " smaller max_per_class."
    )
  test = validation if test is None else test
  return Dataset(
    name, tuple(class_names), train, validation, test, tuple(left_out)
  )


def _check_without(
  validation: Split | None, test: Split | None, options: SplitOptions
) -> None:
  """Raises ValueError if folds can't hold every image of the data set."""
  given = {"validation": validation, "test": test}
  for part, split in given.items():
    if split is not None:
      raise ValueError(
        f"config.dataset.folds is {options.folds}; expected 0 with a data set"
        f" that has {part} images of its own: in folds every image is tested"
        " once, and validation is held out of the rest."
      )
  if options.drop_below:
    raise ValueError(
      f"config.dataset.drop_below is {options.drop_below}; expected 0 with"
      " config.dataset.folds: the folds would drop different classes."
    )


def _cut(
  pool: Split,
  class_names: Sequence[str],
  *,
  held_out: int,
  options: SplitOptions,
) -> tuple[Split, Split]:
  """(training images, images held out for validation) of a pool."""
  if options.profile == "natural" and not options.max_per_class:
    if not held_out:
      return pool, pool.take(np.arange(0))  # No copy of all the images.
    per_class = np.full(len(class_names), held_out)
    if not options.drop_below:
      # As in folders: a class of one image is only trained on.
      share = np.bincount(pool.labels) // 2
      if not np.any(share):
        raise ValueError(
          "the largest class has 1 image; expected a class with 2 or more, to"
          " hold images out for validation, or a validation split."
        )
      per_class = np.minimum(per_class, share)
    remaining, held = longtail.hold_out(
      pool.labels, per_class, seed=options.split_seed, class_names=class_names
    )
  else:
    counts = longtail.profile_counts(
      np.maximum(np.bincount(pool.labels) - held_out, 1),
      profile=options.profile,
      max_per_class=options.max_per_class,
      imbalance=options.imbalance,
    )
    remaining, held = longtail.long_tail_split(
      pool.labels,
      counts,
      validation_per_class=held_out,
      seed=options.split_seed,
      class_names=class_names,
    )
  return pool.take(remaining), pool.take(held)


def check_every_class(labels: np.ndarray, class_names: Sequence[str]) -> None:
  """Raises ValueError if a class has no image; the message names it."""
  counts = np.bincount(labels, minlength=len(class_names))
  empty = np.flatnonzero(counts == 0)
  if len(empty):
    c = int(empty[0])
    raise ValueError(
      f"class {c} ({class_names[c]}) has no training image; expected 1 or more"
      f" ({len(empty)} of {len(class_names)} classes have none)."
    )


def drop_small_classes(
  class_names: Sequence[str],
  train: Split,
  *,
  others: Sequence[Split | None],
  minimum: int,
) -> tuple[tuple[str, ...], Split, list[Split | None]]:
  """Drops classes with few training images from every split.

  The classes that stay are numbered anew in their order. The log counts what is
  dropped. The authors drop the smallest classes of iNaturalist 2018 in this
  way.

  Raises:
    ValueError: no class stays.
  """
  counts = np.bincount(train.labels, minlength=len(class_names))
  keep = counts >= minimum
  if not np.any(keep):
    raise ValueError(
      f"the largest class has {np.max(counts)} training images; expected a"
      f" class with {minimum} or more, which it needs to stay."
    )
  _log.warning(
    "dropped %d of %d classes with fewer than %d training images (%d images)",
    np.sum(~keep),
    len(keep),
    minimum,
    np.sum(counts[~keep]),
  )
  names = tuple(np.asarray(class_names, object)[keep])
  kept = [split and _keep_classes(split, keep) for split in others]
  return names, _keep_classes(train, keep), kept


def _keep_classes(split: Split, keep: np.ndarray) -> Split:
  """The images of the classes that stay, with their new labels."""
  renumbered = np.cumsum(keep) - 1
  stays = split.take(np.flatnonzero(keep[split.labels]))
  return dataclasses.replace(stays, labels=renumbered[stays.labels])
