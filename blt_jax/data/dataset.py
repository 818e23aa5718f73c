"""What every source returns, and how a pool of images is cut into splits."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.paths import Paths

_log = logging.getLogger(__name__)


class Records(Protocol):
  """Encoded images with random access: only what is asked for is read."""

  def __len__(self) -> int:
    """Number of images, n."""

  def read(self, indices: np.ndarray) -> list[bytes]:
    """The encoded images at positions int [k], 0..n-1, in that order."""

  def name(self, index: int) -> str:
    """What to call the image at a position in a message; reads nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
  """Records at chosen positions of other records; nothing is read to choose.

  Attributes:
    records: n records.
    indices: int64 [m], positions in `records`, 0..n-1.
  """

  records: Records
  indices: np.ndarray

  def __len__(self) -> int:
    return len(self.indices)

  def read(self, indices: np.ndarray) -> list[bytes]:
    """See Records."""
    return self.records.read(self.indices[indices])

  def name(self, index: int) -> str:
    """See Records."""
    return self.records.name(int(self.indices[index]))


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Labelled images: in memory, in files or in records (exactly one of them).

  Attributes:
    labels: int32 [n].
    images: uint8 [n, h, w, 3], RGB.
    paths: [n] file names; any sequence of strings is kept as Paths.
    records: n encoded images with random access.
  """

  labels: np.ndarray
  images: np.ndarray | None = None
  paths: Paths | None = None
  records: Records | None = None

  def __post_init__(self):
    held = [
      part
      for part in (self.images, self.paths, self.records)
      if part is not None
    ]
    if len(held) != 1:
      raise ValueError(
        f"Split: {len(held)} of images, paths and records are given;"
        " allowed: exactly one"
      )
    object.__setattr__(self, "labels", np.asarray(self.labels, np.int32))
    if self.paths is not None:
      object.__setattr__(self, "paths", Paths.of(self.paths))
    if len(held[0]) != len(self.labels):
      raise ValueError(
        f"Split: {len(self.labels)} labels for {len(held[0])} images;"
        " allowed: as many labels as images"
      )

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, indices: np.ndarray) -> "Split":
    """The images at the given positions, in that order; records stay unread."""
    return Split(
      self.labels[indices],
      None if self.images is None else self.images[indices],
      None if self.paths is None else self.paths[indices],
      None if self.records is None else _select(self.records, indices),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """A long-tailed training split with its validation and test splits."""

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split

  @property
  def num_classes(self) -> int:
    """C."""
    return len(self.class_names)

  @property
  def class_counts(self) -> np.ndarray:
    """Training images of each class, int64 [C]."""
    return np.bincount(self.train.labels, minlength=self.num_classes)

  @property
  def counts(self) -> dict[str, np.ndarray]:
    """Images of each class, int64 [C], in training, validation and test."""
    splits = {
      "training": self.train,
      "validation": self.validation,
      "test": self.test,
    }
    return {
      name: np.bincount(split.labels, minlength=self.num_classes)
      for name, split in splits.items()
    }


def _select(records: Records, indices: np.ndarray) -> Selection:
  """Positions of positions are looked up at once, so selections never nest."""
  if isinstance(records, Selection):
    return Selection(records.records, records.indices[indices])
  return Selection(records, np.arange(len(records))[indices])


def string_array(strings) -> np.ndarray:
  """An array of variable-width strings."""
  return np.asarray(strings, dtype=np.dtypes.StringDType())


def assemble(
  name: str,
  class_names: Sequence[str],
  *,
  train: Split,
  validation: Split | None,
  test: Split | None,
  profile: str,
  max_per_class: int,
  imbalance: float,
  validation_per_class: int,
  split_seed: int,
  drop_below: int = 0,
) -> Dataset:
  """Makes the training pool long-tailed and fills in the missing splits.

  Args:
    name: of the data set.
    class_names: [C].
    train: the pool that training (and held-out validation) images come from.
    validation: None: validation_per_class images of each class are taken from
      what training leaves over.
    test: None: the validation split is the test split as well.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: 1 or more; unused when validation is given.
    split_seed: of the choice of images.
    drop_below: drops classes that keep fewer training images than this after
      the hold-out, from every split, and numbers the others anew; 0 drops none.

  Returns:
    The Dataset.

  Raises:
    ValueError: a class lacks images, or there is no validation.
  """
  if validation is not None:
    validation_per_class = 0
  elif not validation_per_class:
    raise ValueError(
      "validation_per_class = 0 with no validation split given; allowed: 1 or"
      " more, or a validation split"
    )
  if drop_below:
    class_names, train, (validation, test) = drop_small_classes(
      class_names,
      train,
      others=(validation, test),
      minimum=drop_below + validation_per_class,
    )
  check_every_class(train.labels, class_names)
  train, held = _cut(
    train,
    class_names,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )
  validation = held if validation is None else validation
  if not len(validation):
    raise ValueError(
      f"validation_per_class = {validation_per_class}, but max_per_class ="
      f" {max_per_class} leaves no image over for validation; allowed: a"
      " smaller max_per_class"
    )
  test = validation if test is None else test
  return Dataset(name, tuple(class_names), train, validation, test)


def _cut(
  pool: Split,
  class_names: Sequence[str],
  *,
  profile: str,
  max_per_class: int,
  imbalance: float,
  validation_per_class: int,
  split_seed: int,
) -> tuple[Split, Split]:
  """(training images, images held out for validation) of a pool."""
  if profile == "natural" and not max_per_class:
    if not validation_per_class:
      # Without a look at each of millions of images.
      return pool, pool.take(np.arange(0))
    remaining, held = longtail.hold_out(
      pool.labels,
      validation_per_class,
      seed=split_seed,
      class_names=class_names,
    )
    return pool.take(remaining), pool.take(held)
  available = np.bincount(pool.labels) - validation_per_class
  counts = longtail.profile_counts(
    np.maximum(available, 1),
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
  )
  remaining, held = longtail.long_tail_split(
    pool.labels,
    counts,
    validation_per_class=validation_per_class,
    seed=split_seed,
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
      f"class {c} ({class_names[c]}) has no training image; allowed: 1 or more."
      f" {len(empty)} such classes of {len(class_names)}"
    )


def drop_small_classes(
  class_names: Sequence[str],
  train: Split,
  *,
  others: Sequence[Split | None],
  minimum: int,
) -> tuple[tuple[str, ...], Split, list[Split | None]]:
  """Drops classes with few training images from every split.

  The classes that stay are numbered anew in their order; what is dropped is
  logged. (iNaturalist 2018: algorithm.md, Where the sources disagree.)

  Args:
    class_names: [C].
    train: the pool of training images.
    others: further splits; None entries stay None.
    minimum: images that a class needs in the pool to stay.

  Returns:
    (class_names, train, others) of the classes that stay.

  Raises:
    ValueError: no class stays.
  """
  counts = np.bincount(train.labels, minlength=len(class_names))
  keep = counts >= minimum
  if not np.any(keep):
    raise ValueError(
      f"no class has the {minimum} training images that it needs to stay; the"
      f" largest has {np.max(counts)}"
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
  renumbered = np.cumsum(keep) - 1
  stays = split.take(np.flatnonzero(keep[split.labels]))
  return dataclasses.replace(stays, labels=renumbered[stays.labels])
