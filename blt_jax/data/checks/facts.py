"""Known numbers of published data sets, to compare a data set with.

docs/datasets.md has these numbers with their sources. A number is exact where
it was counted in the published lists or follows from a profile.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from blt_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Fact:
  """A number that was found, and the range that is expected: low to high."""

  name: str
  found: int
  low: int
  high: int

  @property
  def holds(self) -> bool:
    """Whether the number is in its range."""
    return self.low <= self.found <= self.high

  @property
  def expected(self) -> str:
    """The range in words."""
    if self.low == self.high:
      return str(self.low)
    return f"{self.low} to {self.high}"


@dataclasses.dataclass(frozen=True)
class Known:
  """The known numbers of a published data set.

  Attributes:
    settings: fields of config.dataset that make it, in addition to _NO_CHANGE.
    numbers: name of each number -> it, or the lowest and the highest.
  """

  settings: Mapping[str, Any]
  numbers: Mapping[str, int | tuple[int, int]]


# Settings that leave a data set as its lists have it.
_NO_CHANGE = {
  "profile": "natural",
  "max_per_class": 0,
  "drop_below": 0,
  "validation_per_class": 0,
  "many_above": 100,
  "few_up_to": 20,
}


def _long_tailed_cifar(
  largest: int, validation_per_class: int, **numbers: int
) -> Known:
  """CIFAR with the exponential profile of imbalance 100."""
  settings = {
    "profile": "exponential",
    "max_per_class": largest,
    "imbalance": 100.0,
    "validation_per_class": validation_per_class,
  }
  ends = {"largest": largest, "smallest": largest // 100}
  return Known(settings, {**numbers, "test": 10_000, **ends})


# Training images of iNaturalist 2018 without those held out.
_INATURALIST = 437_513 - 5 * 8_122

KNOWN = {
  "imagenet_lt": Known(
    {},
    {
      "classes": 1000,
      "train": 115_846,
      "validation": 20_000,
      "test": 50_000,
      "largest": 1280,
      "smallest": 5,
      # The literature gives about 385, 479 and 136 classes.
      "many": (370, 400),
      "medium": (464, 494),
      "few": (121, 151),
    },
  ),
  "places_lt": Known(
    {},
    {
      "classes": 365,
      "train": 62_500,
      "validation": 7_300,
      "test": 36_500,
      "largest": 4980,
      "smallest": 5,
      "many": 131,
      "medium": 157,
      "few": 77,
    },
  ),
  "inaturalist2018": Known(
    {"validation_per_class": 5, "drop_below": 2},
    {
      "classes": 8_122,
      # 20 classes of 2 to 6 images are dropped.
      "train": (_INATURALIST - 20 * 6, _INATURALIST - 20 * 2),
      "validation": 5 * 8_122,
      "test": 3 * 8_122,
      "largest": 1000 - 5,
      "smallest": (2, 5),
      # About 63 % of the classes.
      "few": (int(0.40 * 8_122), int(0.70 * 8_122)),
    },
  ),
  "cifar10": _long_tailed_cifar(
    5000, 50, classes=10, train=12_406, many=8, medium=2, few=0
  ),
  "cifar100": _long_tailed_cifar(
    500, 20, classes=100, train=10_847, many=35, medium=34, few=31
  ),
}


def compare(
  dataset: Dataset,
  groups: Mapping[str, np.ndarray],
  settings: Any,
) -> tuple[tuple[Fact, ...], str]:
  """Compares a data set with its known numbers.

  Returns:
    (facts, note): the facts, or none and a note that says why.
  """
  known = KNOWN.get(dataset.name)
  if known is None:
    return (), f"there are no known numbers of {dataset.name!r}"
  for field, value in {**_NO_CHANGE, **known.settings}.items():
    if getattr(settings, field) != value:
      return (), (
        f"not compared with the known {dataset.name}: config.dataset.{field}"
        f" is {getattr(settings, field)!r}; expected {value!r}"
      )
  counts = dataset.class_counts
  found = {
    "classes": dataset.num_classes,
    "train": len(dataset.train),
    "validation": len(dataset.validation),
    "test": len(dataset.test),
    "largest": int(np.max(counts)),
    "smallest": int(np.min(counts)),
    **{group: int(np.sum(mask)) for group, mask in groups.items()},
  }
  facts = []
  for name, number in known.numbers.items():
    low, high = number if isinstance(number, tuple) else (number, number)
    facts.append(Fact(name, found[name], low, high))
  return tuple(facts), ""
