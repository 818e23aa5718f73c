"""Data sets from folders: root/class/image.jpg, or the same in each split."""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from blt_jax.data.dataset import Dataset, Split, path_array
from blt_jax.data.sources.class_names import shown_name
from blt_jax.data.sources.file_lookup import check_root, identity, repeated
from blt_jax.data.sources.folder_layout import (
  ClassFolder,
  Layout,
  find_classes,
  find_layout,
  left_out_lines,
)
from blt_jax.data.sources.splits import NATURAL, SplitOptions, assemble
from blt_jax.data.text import as_text, counted


def load_image_folder(
  root: str,
  *,
  name: str = "image_folder",
  options: SplitOptions = NATURAL,
) -> Dataset:
  """A data set from folders of images, one folder a class.

  Images lie in root/train/class/image.jpg, and in root/validation (or val,
  valid, dev) and root/test if there are such folders; or in
  root/class/image.jpg. Splits may also be called Train, testing, seg_train or
  test_set, and a class folder may hold folders of images. Classes are numbered
  in the order of their names. What is left out (see `image_files.find_images`),
  other folders beside the splits too, is in `Dataset.left_out`.

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
  layout = find_layout(root)
  found = {
    part: find_classes(folder) for part, folder in layout.folders.items()
  }
  _check_classes(layout, found)
  class_names = list(found["train"])
  splits, copies = _read_splits(found, class_names)
  per_class = {
    "test": options.test_per_class,
    "validation": options.validation_per_class,
  }
  wanted = {
    part: n for part, n in per_class.items() if n and part not in splits
  }
  if wanted and not options.folds:
    pool = splits["train"]
    rows = hold_out(
      pool,
      class_names,
      folder=layout.folders["train"],
      wanted=wanted,
      seed=options.split_seed,
    )
    splits.update({part: pool.take(rows[part]) for part in rows})
  return assemble(
    name,
    class_names,
    train=splits["train"],
    validation=splits.get("validation"),
    test=splits.get("test"),
    options=options,
    left_out=_left_out(root, layout, found, copies),
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
      f" {' and '.join(sorted(wanted))}, or folders train, validation and test"
      " (a column of splits in a table)."
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
  # The same image keeps its place where a file system writes accents anew.
  data = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
  return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


Found = Mapping[str, Mapping[str, ClassFolder]]
"""Split -> name of a class -> its folder."""


def _check_classes(layout: Layout, found: Found) -> None:
  """Raises ValueError unless there are classes, with images, in each split."""
  train, names = layout.folders["train"], found["train"]
  if len(names) < 2:
    inner = [classes.folder for classes in names.values()]
    hint = f". If {inner[0]} holds them, name it as the root" if inner else ""
    raise ValueError(
      f"{train}: there are {len(names)} class folders; expected 2 or more"
      f"{hint}."
    )
  for part, classes in found.items():
    unknown = sorted(classes.keys() - names.keys())
    if unknown:
      raise ValueError(
        f"{layout.folders[part]}: class {unknown[0]!r} is not a training class;"
        f" expected the {len(names)} folders of the training images"
        f"{_hint(unknown[0], classes, names)}."
      )
    empty = [name for name in classes if not classes[name].found.paths]
    if empty and (part == "train" or len(empty) == len(classes)):
      folder, files = classes[empty[0]].folder, classes[empty[0]].found
      there = "; ".join(files.lines()).replace("left out: ", "")
      raise ValueError(
        f"{folder}: no image ({there or 'the folder is empty'}); expected"
        f" images of the class {empty[0]!r}, or no such folder"
        f" ({len(empty)} of {len(classes)} classes have none)."
      )


def _hint(
  unknown: str,
  classes: Mapping[str, ClassFolder],
  names: Mapping[str, ClassFolder],
) -> str:
  """What a folder may be that is called like no training class."""
  for name in names:
    if shown_name(name).casefold() == shown_name(unknown).casefold():
      return f", such as {name!r}, which is written in another way"
  if not classes.keys() & names.keys():
    return (
      ", or no such folder: --mode=predict classifies images without labels"
    )
  return ""


def _read_splits(
  found: Found, class_names: Sequence[str]
) -> tuple[dict[str, Split], list[str]]:
  """The splits, and links to files that are there already."""
  labels = {name: label for label, name in enumerate(class_names)}
  parts = [
    each.found for classes in found.values() for each in classes.values()
  ]
  check_links = any(part.links for part in parts) or repeated(
    part.numbers for part in parts
  )
  seen: dict[str, tuple[str, str, str]] = {}
  splits, copies = {}, []
  for part, classes in found.items():
    paths: list[str] = []
    numbers: list[int] = []
    for name in sorted(classes, key=labels.__getitem__):
      folder = classes[name]
      images = [os.path.join(folder.folder, p) for p in folder.found.paths]
      if check_links:
        images, again = _without_copies(images, (part, name), seen)
        copies += again
      paths += images
      numbers += [labels[name]] * len(images)
    splits[part] = Split(np.array(numbers), paths=path_array(paths))
  return splits, copies


def _without_copies(
  paths: Sequence[str],
  place: tuple[str, str],
  seen: dict[str, tuple[str, str, str]],
) -> tuple[list[str], list[str]]:
  """(paths of files that are new, those that lead to a file seen before).

  Raises:
    ValueError: a file lies in two classes or two splits; names both paths.
  """
  kept, again = [], []
  for path in paths:
    part, name, first = seen.setdefault(identity(path), (*place, path))
    if first == path:
      kept.append(path)
    elif (part, name) == place:
      again.append(path)
    else:
      kind = "classes" if name != place[1] else "splits"
      raise ValueError(
        f"{first} and {path} are one file, by a link, in two {kind}; expected"
        " it in one."
      )
  return kept, again


def _left_out(
  root: str, layout: Layout, found: Found, copies: Sequence[str]
) -> tuple[str, ...]:
  """Lines about everything below the root that is not used."""
  lines = list(layout.left_out)
  if copies:
    lines.append(
      f"left out: {counted(len(copies), 'link')} to images that are in their"
      f" class already, such as {as_text(os.path.relpath(copies[0], root))}"
    )
  return (
    *lines,
    *left_out_lines(
      root,
      (root, *layout.folders.values()),
      (each for classes in found.values() for each in classes.values()),
    ),
  )
