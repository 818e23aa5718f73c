"""Images of noise under the class counts of long-tailed data sets."""

import itertools
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from blt_jax.config import Config
from blt_jax.data import longtail
from blt_jax.data.dataset import Dataset, Split

# Data set -> (classes of each shot group, most images of a class in each group
# and fewest of all, images). The real lists are not here; a curve through these
# limits gives class counts of the right sizes.
_COUNTS = {
  "imagenet_lt": ((385, 479, 136), (1280, 100, 20, 5), 115_846),
  "places_lt": ((131, 157, 77), (4980, 100, 20, 5), 62_500),
  # After 5 images of each class went to validation; the first group is a guess.
  "inaturalist2018": ((800, 2213, 5129), (995, 100, 20, 2), 396_803),
}
# Number of different images of noise, and their width and height for networks
# of more than 64 pixels, which are typical of ImageNet.
_IMAGES, _SIZE = 64, (500, 375)


def long_tailed(config: Config, folder: pathlib.Path) -> Dataset:
  """A data set of noise with the class counts of the configuration's.

  Args:
    config: names the data set.
    folder: where some JPEG files are written, which stand for all images.
  """
  name, size = config.dataset.name, config.dataset.image_size
  counts = class_counts(name)
  rng = np.random.default_rng(0)
  files: Any = []
  for number in range(_IMAGES):
    shape = _SIZE if size > 64 else (size, size)
    # Smooth, so that the files are about as large as photographs.
    coarse = rng.integers(0, 256, (shape[1] // 4, shape[0] // 4, 3), np.uint8)
    path = folder / f"{number}.jpg"
    Image.fromarray(coarse).resize(shape).save(path, quality=90)
    files.append(str(path))
  labels = np.repeat(np.arange(len(counts)), counts)
  paths: Any = list(itertools.islice(itertools.cycle(files), len(labels)))
  few = Split(np.zeros(_IMAGES, np.int32), paths=files)
  return Dataset(
    name=name,
    class_names=tuple(map(str, range(len(counts)))),
    train=Split(labels, paths=paths),
    validation=few,
    test=few,
  )


def class_counts(name: str) -> np.ndarray:
  """Training images of each class: int64 [C], descending.

  Args:
    name: of a data set; one that is not known has the counts of the small
      CIFAR-10-LT of docs/results.md.
  """
  if name not in _COUNTS:
    return longtail.exponential_counts(1000, 100, 10)
  classes, limits, total = _COUNTS[name]
  return _curve_counts(classes, limits, total=total)


def _curve_counts(
  classes: tuple[int, ...], limits: tuple[int, ...], *, total: int
) -> np.ndarray:
  """Falling class counts with given group sizes, limits and total.

  Between two limits a and b the class at the share t of its group has about
  a (b / a)^(t^w) images; w is the one that gives the total.

  Args:
    classes: classes of each group, the largest classes first.
    limits: [groups + 1] descending: the largest class, the largest of each
      further group and the smallest class.
    total: images of all classes.

  Returns:
    int64 [sum(classes)], descending, of exactly this total.
  """
  low, high = 0.02, 50.0
  for _ in range(60):
    middle = (low * high) ** 0.5
    enough = _curve(classes, limits, middle).sum() >= total
    low, high = (low, middle) if enough else (middle, high)
  counts = _curve(classes, limits, low)
  # What rounding leaves over goes to the largest classes but the first.
  rest = np.arange(total - counts.sum()) % (classes[0] - 1) + 1
  np.add.at(counts, rest, 1)
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
