"""Class counts of the data sets that the step benchmark stands in for."""

import importlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from blt_jax.data import longtail

# Training images of the classes of Places-LT, counted in OLTR's list and
# sorted. Labels play no part in how long a step takes.
_PLACES_LT = """
4980 2612 2400 1582 1530 1487 1406 1380 1085 1036 1023 841 830 725 689 668 643
605 566 547 521 499 482 480 475 470 451 450 431 428 422 408 392 389 383 374 371
367 366 364 334 331 318 315 315 309 298 298 291 290 287 283 280 279 265 264 263
260 253 253 250 250 242 241 238 232 230 229 229 226 225 219 218 218 216 209 208
207 206 205 198 195 195 191 188 186 183 181 179 177 176 173 173 171 167 164 157
156 155 153 152 149 148 147 143 141 140 138 135 132 129 129 128 124 120 118 116
116 115 113 112 111 108 108 108 105 104 104 103 103 103 100 99 99 98 98 98 98 98
97 97 97 95 94 93 93 93 92 91 91 89 89 88 87 87 87 86 86 85 84 84 82 82 81 80 80
80 79 78 78 78 76 74 74 73 73 72 72 72 72 72 72 72 71 71 70 69 68 65 65 63 62 61
60 60 60 60 59 59 58 57 56 56 55 55 54 54 54 52 52 51 51 50 49 48 48 48 48 46 46
46 46 46 45 44 44 43 43 42 42 41 41 41 40 40 40 39 39 39 39 38 37 36 36 36 36 36
35 34 34 34 34 34 34 34 33 33 33 33 33 33 32 32 30 30 29 29 28 28 28 28 27 26 25
25 25 24 24 24 23 23 22 22 22 22 22 21 21 20 20 20 20 20 20 19 19 19 19 18 18 18
17 17 17 17 16 16 16 15 15 15 15 14 14 14 14 14 14 13 13 13 12 12 12 12 12 11 11
11 11 11 11 11 10 10 10 9 9 9 9 9 9 8 8 8 8 8 8 8 7 7 7 7 7 6 6 6 6 6 6 6 6 5 5
5
"""

# Configuration file and what is known of the counts.
PROFILES = {
  "cifar10_lt": "cifar10_lt",
  "imagenet_lt": "imagenet_lt",
  "places_lt": "places_lt",
  "inaturalist": "inaturalist2018",
}


def profile_config(name: str) -> ml_collections.ConfigDict:
  """The configuration of a profile's data set.

  Args:
    name: one of PROFILES.

  Raises:
    ValueError: if the name is unknown.
  """
  _check(name)
  module = importlib.import_module(f"configs.{PROFILES[name]}")
  return module.get_config()


def profile_counts(name: str) -> np.ndarray:
  """Training images of each class.

  cifar10_lt is the small protocol of docs/results.md, places_lt is counted.
  The other lists are not public or not at hand: their counts are made up from
  what is known (algorithm.md, Split facts), a curve through the largest and the
  smallest class and the limits of the shot groups, with the right total.
  inaturalist is what remains after 5 images of each of 8,142 classes went to
  validation; how many of its classes are many-shot is a guess.

  Args:
    name: one of PROFILES.

  Returns:
    int64 [C], descending.

  Raises:
    ValueError: if the name is unknown.
  """
  _check(name)
  if name == "places_lt":
    return np.array(_PLACES_LT.split(), np.int64)
  if name == "imagenet_lt":
    return curve_counts((385, 479, 136), (1280, 100, 20, 5), total=115_846)
  if name == "inaturalist":
    classes = (800, 2213, 5129)
    return curve_counts(
      classes, (995, 100, 20, 2), total=437_513 - 5 * sum(classes)
    )
  return longtail.exponential_counts(1000, 100, 10)


def curve_counts(
  classes: Sequence[int], limits: Sequence[int], *, total: int
) -> np.ndarray:
  """Falling class counts with given group sizes, limits and total.

  Between two limits a and b the class at the share t of its group has about
  a (b / a)^(t^w) images; w is the one that gives the total.

  Args:
    classes: classes of each group, the largest classes first.
    limits: [groups + 1] descending: the largest class, the largest of each
      further group and the smallest class. Group i > 0 has at most limits[i]
      images a class, the group before it more.
    total: images of all classes.

  Returns:
    int64 [sum(classes)], descending, of exactly this total.

  Raises:
    ValueError: if no such curve has the total.
  """
  low, high = 0.02, 50.0
  if not (
    _curve(classes, limits, low).sum()
    < total
    < _curve(classes, limits, high).sum()
  ):
    raise ValueError(f"total = {total}: no curve through {limits} has that.")
  for _ in range(60):
    middle = np.sqrt(low * high)
    enough = _curve(classes, limits, middle).sum() >= total
    low, high = (low, middle) if enough else (middle, high)
  counts = _curve(classes, limits, low)
  # What rounding leaves over goes to the largest classes but the first.
  rest = int(total - counts.sum())
  share = np.arange(rest) % (classes[0] - 1) + 1
  np.add.at(counts, share, 1)
  return -np.sort(-counts)


def _curve(classes, limits, warp: float) -> np.ndarray:
  parts = []
  for group, size in enumerate(classes):
    first, last = limits[group], limits[group + 1]
    shares = np.arange(size) / max(size - 1, 1)
    values = first * (last / first) ** (shares**warp)
    # The last class of a group still lies above the next group's limit.
    floor = last + 1 if group < len(classes) - 1 else last
    parts.append(np.maximum(np.floor(values), floor))
  return np.concatenate(parts).astype(np.int64)


def _check(name: str) -> None:
  if name not in PROFILES:
    raise ValueError(
      f"--profile={name}: expected one of {', '.join(PROFILES)}."
    )
