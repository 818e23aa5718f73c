"""Image folders: root/class/image.jpg, with or without folders of splits."""

import logging
import os
from collections.abc import Sequence

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.dataset import (
  Dataset,
  Split,
  assemble,
  check_every_class,
)
from blt_jax.data.file_lookup import check_root, files_in
from blt_jax.data.paths import Paths

_log = logging.getLogger(__name__)
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def load_image_folder(
  root: str,
  *,
  name: str = "image_folder",
  profile: str = "natural",
  max_per_class: int = 0,
  imbalance: float = 100.0,
  validation_per_class: int = 0,
  test_per_class: int = 0,
  split_seed: int = 0,
) -> Dataset:
  """A data set from folders of images, one folder a class.

  Either root/train/class/image.jpg, with root/validation (or root/val) and
  root/test beside it where there are such, or root/class/image.jpg. Classes are
  numbered in the order of their names. Files other than .jpg, .jpeg, .png,
  .bmp, .gif and .webp are counted, logged and ignored; hidden ones are skipped.

  Args:
    root: folder.
    name: of the data set.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: images a class held out of training; unused with a
      validation folder.
    test_per_class: images a class held out of training first; unused with a
      test folder. With neither, the validation split is the test split as well.
    split_seed: of the choice of images.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the folder, field or class that is wrong.
  """
  check_root(root)
  folders = _split_folders(root)
  class_names = _subfolders(folders["train"])
  if len(class_names) < 2:
    raise ValueError(
      f"{folders['train']}: {len(class_names)} class folders;"
      " allowed: 2 or more"
    )
  train = _read_classes(folders["train"], class_names)
  validation, test = (
    _read_classes(folders[part], class_names) if part in folders else None
    for part in ("validation", "test")
  )
  check_every_class(train.labels, class_names)
  if test is None and test_per_class:
    rest, held = longtail.hold_out(
      train.labels, test_per_class, seed=split_seed, class_names=class_names
    )
    train, test = train.take(rest), train.take(held)
  return assemble(
    name,
    class_names,
    train=train,
    validation=validation,
    test=test,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def _split_folders(root: str) -> dict[str, str]:
  present = set(_subfolders(root))
  if "train" not in present:
    return {"train": root}
  if {"val", "validation"} <= present:
    raise ValueError(
      f"{root}: has 'val' and 'validation'; allowed: one of them"
    )
  parts = {"train": "train", "val": "validation", "validation": "validation"}
  parts["test"] = "test"
  return {
    part: os.path.join(root, folder)
    for folder, part in parts.items()
    if folder in present
  }


def _subfolders(folder: str) -> list[str]:
  with os.scandir(folder) as entries:
    return sorted(
      entry.name
      for entry in entries
      if entry.is_dir() and not entry.name.startswith(".")
    )


def _read_classes(folder: str, class_names: Sequence[str]) -> Split:
  """The images of one folder of class folders."""
  unknown = set(_subfolders(folder)) - set(class_names)
  if unknown:
    raise ValueError(
      f"{folder}: class {min(unknown)!r} is not a training class; allowed: the"
      f" {len(class_names)} folders of the training images"
    )
  paths, labels, ignored = [], [], 0
  for label, name in enumerate(class_names):
    files = [
      file
      for file in files_in(os.path.join(folder, name))[0]
      if not file.startswith(".")
    ]
    images = sorted(f for f in files if f.lower().endswith(_EXTENSIONS))
    ignored += len(files) - len(images)
    paths += [os.path.join(folder, name, file) for file in images]
    labels += [label] * len(images)
  if not paths:
    raise ValueError(
      f"{folder}: no image;"
      f" allowed: class folders with {', '.join(_EXTENSIONS)}"
    )
  if ignored:
    _log.warning("%s: ignored %d files that are not images", folder, ignored)
  return Split(np.array(labels), paths=Paths.of(paths))
