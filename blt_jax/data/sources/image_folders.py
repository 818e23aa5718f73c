"""Data sets from folders: root/class/image.jpg, or the same in each split."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np

from blt_jax.data.dataset import Dataset, Split, path_array
from blt_jax.data.reading.decode import EXTENSIONS
from blt_jax.data.sources.file_lookup import check_root, files_below
from blt_jax.data.sources.splits import (
  NATURAL,
  SplitOptions,
  assemble,
  check_every_class,
)
from blt_jax.data.text import as_text

_log = logging.getLogger(__name__)

# Folders of splits, in lower case, and the splits that they hold.
_PARTS = {
  "train": "train",
  "training": "train",
  "val": "validation",
  "valid": "validation",
  "validation": "validation",
  "test": "test",
  "testing": "test",
}

# A folder that the Finder of macOS adds to archives.
_NO_CLASS = "__MACOSX"


def load_image_folder(
  root: str,
  *,
  name: str = "image_folder",
  options: SplitOptions = NATURAL,
) -> Dataset:
  """A data set from folders of images, one folder a class.

  Images lie in root/train/class/image.jpg, and in root/validation (or val, or
  valid) and root/test if there are such folders; or in root/class/image.jpg.
  Splits may also be called Train, training or testing, and a class folder may
  hold folders of images. Classes are numbered in the order of their names.
  Files that are not images (see `decode.EXTENSIONS`) and other folders beside
  the splits are ignored with a warning; hidden ones are skipped.

  The names of classes and files decide which images are held out, so new images
  of one class do not change the splits of another. Each split takes at most a
  fourth of a class's images, or half of them if only one split is held out. A
  class with too few images for that is only trained on.

  Args:
    root: folder.
    name: of the data set.
    options: see SplitOptions. validation_per_class and test_per_class are the
      most images of a class to hold out, unused where there is a folder for
      that split. Without a test folder and with test_per_class = 0, the
      validation split is the test split as well.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the folder, field or class that is wrong.
  """
  check_root(root)
  folders = _split_folders(root)
  class_names = _subfolders(folders["train"])
  if len(class_names) < 2:
    inner = os.path.join(folders["train"], *class_names)
    hint = f". If {inner} holds them, name it as the root"
    raise ValueError(
      f"{folders['train']}: there are {len(class_names)} class folders;"
      f" expected 2 or more{hint if class_names else ''}."
    )
  splits = {
    part: _read_classes(folder, class_names) for part, folder in folders.items()
  }
  check_every_class(splits["train"].labels, class_names)
  per_class = {
    "test": options.test_per_class,
    "validation": options.validation_per_class,
  }
  wanted = {
    part: n for part, n in per_class.items() if n and part not in splits
  }
  if wanted:
    pool = splits["train"]
    rows = hold_out(
      pool,
      class_names,
      folder=folders["train"],
      wanted=wanted,
      seed=options.split_seed,
    )
    splits.update({part: pool.take(rows[part]) for part in rows})
  return assemble(
    name,
    [as_text(class_name) for class_name in class_names],
    train=splits["train"],
    validation=splits.get("validation"),
    test=splits.get("test"),
    options=options,
  )


def hold_out(
  pool: Split,
  class_names: Sequence[str],
  *,
  folder: str,
  wanted: Mapping[str, int],
  seed: int,
) -> dict[str, np.ndarray]:
  """Takes splits out of a pool of images, class by class.

  Args:
    pool: images with paths.
    class_names: [C], names of the class folders.
    folder: the folder that they lie in.
    wanted: name of a split -> most images of a class that it takes, for one or
      two splits. No split takes more than its share of a class of n images,
      n // 4 for two splits and n // 2 for one.
    seed: each seed gives other splits.

  Returns:
    Rows of each of these splits, and under "train" those that are left: int64,
    ascending, disjoint.

  Raises:
    ValueError: no class has enough images.
  """
  counts = np.bincount(pool.labels, minlength=len(class_names))
  share = counts // (2 * len(wanted))
  if not np.any(share):
    raise ValueError(
      f"the largest class has {np.max(counts)} images; expected a class with"
      f" {2 * len(wanted)} or more, to hold images out for"
      f" {' and '.join(sorted(wanted))}, or folders train, validation and test."
    )
  rank = _rank_by_name(pool, folder, seed=seed)
  rows, first = {}, np.zeros_like(counts)
  for part, per_class in wanted.items():
    end = first + np.minimum(per_class, share)
    taken = (rank >= first[pool.labels]) & (rank < end[pool.labels])
    rows[part], first = np.flatnonzero(taken), end
  rows["train"] = np.flatnonzero(rank >= first[pool.labels])
  return rows


def _rank_by_name(pool: Split, folder: str, *, seed: int) -> np.ndarray:
  """Position of each image in an order of its class: int64 [n].

  The order looks random but depends only on names, so new images do not change
  the order of the others.
  """
  assert pool.paths is not None
  start = len(os.path.join(folder, ""))
  keys = np.array(
    [_key(f"{seed}/{path[start:]}") for path in pool.paths], np.uint64
  )
  counts = np.bincount(pool.labels)
  first = np.cumsum(counts) - counts
  order = np.lexsort((keys, pool.labels))
  rank = np.empty(len(pool), np.int64)
  rank[order] = np.arange(len(pool)) - first[pool.labels[order]]
  return rank


def _key(name: str) -> int:
  """A hash of a name: 64 bits that look random."""
  data = name.encode("utf-8", "surrogateescape")
  return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _split_folders(root: str) -> dict[str, str]:
  """The folders of splits: all of them, or the root for training."""
  present = _subfolders(root)
  names: dict[str, list[str]] = {}
  for name in present:
    if part := _PARTS.get(name.lower()):
      names.setdefault(part, []).append(name)
  # If there are no folders in train, it is a class.
  if not any(
    _subfolders(os.path.join(root, n)) for n in names.get("train", ())
  ):
    return {"train": root}
  for first, *more in names.values():
    if more:
      raise ValueError(
        f"{root}: has {first!r} and {more[0]!r}; expected one of them."
      )
  others = [name for name in present if name.lower() not in _PARTS]
  if others:
    _log.warning(
      "%s: ignored %s: beside train, there may be validation and test",
      root,
      ", ".join(map(as_text, others)),
    )
  return {part: os.path.join(root, name) for part, (name,) in names.items()}


def _subfolders(folder: str) -> list[str]:
  with os.scandir(folder) as entries:
    return sorted(
      entry.name
      for entry in entries
      if entry.is_dir() and entry.name[0] != "." and entry.name != _NO_CLASS
    )


def _read_classes(folder: str, class_names: Sequence[str]) -> Split:
  """The images of one folder of class folders."""
  present = set(_subfolders(folder))
  unknown = present - set(class_names)
  if unknown:
    raise ValueError(
      f"{folder}: class {min(unknown)!r} is not a training class; expected the"
      f" {len(class_names)} folders of the training images."
    )
  paths, labels, ignored = [], [], 0
  for label, name in enumerate(class_names):
    if name not in present:
      continue
    files = files_below(os.path.join(folder, name))
    images = [file for file in files if file.lower().endswith(EXTENSIONS)]
    ignored += len(files) - len(images)
    paths += [os.path.join(folder, name, file) for file in images]
    labels += [label] * len(images)
  if not paths:
    raise ValueError(
      f"{folder}: no image; expected class folders with"
      f" {', '.join(EXTENSIONS)}."
    )
  if ignored:
    _log.warning("%s: ignored %d files that are not images", folder, ignored)
  return Split(np.array(labels), paths=path_array(paths))
