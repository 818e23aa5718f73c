"""The types of a data set: images, splits, and the three splits together."""

import dataclasses
from collections.abc import Iterable
from typing import Protocol

import numpy as np


class Records(Protocol):
  """Encoded images with random access; only requested images are read."""

  def __len__(self) -> int:
    """Number of images, n."""

  def read(self, indices: np.ndarray) -> list[bytes]:
    """The encoded images at positions int [k], 0..n-1, in that order."""

  def name(self, index: int) -> str:
    """The name of the image at a position, for a message; reads nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
  """Records at chosen positions of other records; choosing reads nothing.

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
  """Labelled images, either in memory, in files or in records.

  Attributes:
    labels: int32 [n].
    images: uint8 [n, h, w, 3], RGB.
    paths: strings [n], names of image files, as `path_array` makes them; any
      sequence of strings is accepted.
    records: n encoded images with random access.
    groups: strings [n], the camera, patient or specimen of each image, "" where
      it is not known; any sequence of strings is accepted. None without groups.
  """

  labels: np.ndarray
  images: np.ndarray | None = None
  paths: np.ndarray | None = None
  records: Records | None = None
  groups: np.ndarray | None = None

  def __post_init__(self):
    held = [
      part
      for part in (self.images, self.paths, self.records)
      if part is not None
    ]
    if len(held) != 1:
      raise ValueError(
        f"Split: {len(held)} of images, paths and records are given; expected"
        " exactly one."
      )
    object.__setattr__(self, "labels", np.asarray(self.labels, np.int32))
    if self.paths is not None:
      object.__setattr__(self, "paths", path_array(self.paths))
    if len(held[0]) != len(self.labels):
      raise ValueError(
        f"Split: {len(self.labels)} labels are given; expected one for each of"
        f" the {len(held[0])} images."
      )
    if self.groups is not None:
      object.__setattr__(self, "groups", path_array(self.groups))
      if len(self.groups) != len(self.labels):
        raise ValueError(
          f"Split: {len(self.groups)} groups are given; expected one for each"
          f" of the {len(self.labels)} images."
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
      None if self.groups is None else self.groups[indices],
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """A long-tailed training split with its validation and test splits.

  Attributes:
    name: of the data set.
    class_names: [C], in the order of the labels.
    train: images to train on.
    validation: images to choose by.
    test: images to test on; may be those of validation.
    left_out: a line for each kind of files that are not used, for the user.
  """

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split
  left_out: tuple[str, ...] = ()

  @property
  def num_classes(self) -> int:
    """C."""
    return len(self.class_names)

  @property
  def class_counts(self) -> np.ndarray:
    """Training images of each class, int64 [C]."""
    return np.bincount(self.train.labels, minlength=self.num_classes)

  @property
  def splits(self) -> dict[str, Split]:
    """The splits by their role: "training", "validation" and "test"."""
    return {
      "training": self.train,
      "validation": self.validation,
      "test": self.test,
    }

  @property
  def counts(self) -> dict[str, np.ndarray]:
    """Images of each class, int64 [C], in training, validation and test."""
    return {
      name: np.bincount(split.labels, minlength=self.num_classes)
      for name, split in self.splits.items()
    }

  @property
  def group_counts(self) -> dict[str, np.ndarray]:
    """Groups of images of each class, int64 [C], in the splits that have them.

    An image of an unknown group is a group of its own.
    """
    return {
      name: _groups_by_class(split, self.num_classes)
      for name, split in self.splits.items()
      if split.groups is not None
    }


def _groups_by_class(split: Split, num_classes: int) -> np.ndarray:
  """How many groups the images of each class are of, int64 [C]."""
  assert split.groups is not None
  known = split.groups != ""
  _, group = np.unique(split.groups[known], return_inverse=True)
  pairs = np.unique(np.stack([split.labels[known], group]), axis=1)
  both = np.concatenate([pairs[0], split.labels[~known]])
  return np.bincount(both, minlength=num_classes)


def _select(records: Records, indices: np.ndarray) -> Selection:
  """Records at positions; a selection of a selection becomes a plain one."""
  if isinstance(records, Selection):
    return Selection(records.records, records.indices[indices])
  return Selection(records, np.arange(len(records))[indices])


def path_array(names: Iterable[str]) -> np.ndarray:
  """Names of files or groups as an array, of StringDType if possible.

  Args:
    names: n names. If one of them is not UTF-8, the array holds Python's
      strings, because StringDType refuses the surrogates that Python writes for
      such bytes. Both kinds of array give and take the same strings.

  Returns:
    [n] of StringDType, or of objects (str).
  """
  if isinstance(names, np.ndarray) and names.dtype.kind in "TO":
    return names
  names = list(names)
  try:
    return np.array(names, dtype=np.dtypes.StringDType())
  except UnicodeEncodeError:
    return np.array(names, dtype=object)
