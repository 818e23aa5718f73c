"""What is known of published data sets, to compare a data set with.

Numbers: algorithm.md of this project's specification (Split facts), from the
authors' lists where they are exact. iNaturalist 2018 holds 5 training images a
class out for validation and drops 20 of 8,142 classes, each of 2 to 6 images.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from blt_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Fact:
  """A number that was found beside what it should be: low to high."""

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


class _Known(dict):
  """Range of each number (or the number), and the settings that give it."""

  def __init__(self, settings: Mapping[str, Any], **numbers: Any):
    super().__init__(numbers)
    self.settings = {
      "profile": "natural",
      "max_per_class": 0,
      "drop_below": 0,
      "validation_per_class": 0,
      "many_above": 100,
      "few_up_to": 20,
      **settings,
    }


def _about(number: int, tolerance: int) -> tuple[int, int]:
  return number - tolerance, number + tolerance


KNOWN = {
  "imagenet_lt": _Known(
    {},
    classes=1000,
    train=115_846,
    validation=20_000,
    test=50_000,
    largest=1280,
    smallest=5,
    many=_about(385, 15),
    medium=_about(479, 15),
    few=_about(136, 15),
  ),
  "places_lt": _Known(
    {},
    classes=365,
    train=62_500,
    validation=7_300,
    test=36_500,
    largest=4980,
    smallest=5,
    many=131,
    medium=157,
    few=77,
  ),
  "inaturalist2018": _Known(
    {"validation_per_class": 5, "drop_below": 2},
    classes=8_122,
    train=(437_513 - 5 * 8_122 - 20 * 6, 437_513 - 5 * 8_122 - 20 * 2),
    validation=5 * 8_122,
    test=3 * 8_122,
    largest=1000 - 5,
    smallest=(2, 5),
    few=(int(0.40 * 8_122), int(0.70 * 8_122)),
  ),
  "cifar10": _Known(
    {
      "profile": "exponential",
      "max_per_class": 5000,
      "imbalance": 100.0,
      "validation_per_class": 50,
    },
    classes=10,
    train=12_406,
    test=10_000,
    largest=5000,
    smallest=50,
    many=8,
    medium=2,
    few=0,
  ),
  "cifar100": _Known(
    {
      "profile": "exponential",
      "max_per_class": 500,
      "imbalance": 100.0,
      "validation_per_class": 20,
    },
    classes=100,
    train=10_847,
    test=10_000,
    largest=500,
    smallest=5,
    many=35,
    medium=34,
    few=31,
  ),
}


def compare(
  dataset: Dataset,
  groups: Mapping[str, np.ndarray],
  settings: Mapping[str, Any],
) -> tuple[tuple[Fact, ...], str]:
  """Compares a data set with what is known of it.

  Args:
    dataset: its name says which data set it should be.
    groups: shot group -> bool [C].
    settings: the fields of config.dataset, which tell whether it was split as
      the known one.

  Returns:
    (facts, note): no facts and a note that says why where nothing is known.
  """
  known = KNOWN.get(dataset.name)
  if known is None:
    return (), f"nothing is known of {dataset.name!r} to compare with"
  for field, value in known.settings.items():
    if settings[field] != value:
      return (), (
        f"not compared with the known {dataset.name}: config.dataset.{field}"
        f" is {settings[field]!r} and not {value!r}"
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
  return tuple(_fact(name, found[name], known[name]) for name in known), ""


def _fact(name: str, found: int, expected: int | tuple[int, int]) -> Fact:
  low, high = expected if isinstance(expected, tuple) else (expected, expected)
  return Fact(name, found, low, high)
