"""Which folders below a root are splits and which are classes."""

import dataclasses
import os
import re
from collections.abc import Iterable

from blt_jax.data.sources.class_names import (
  check_distinct,
  normal_name,
  shown_name,
)
from blt_jax.data.sources.image_files import (
  FoundFiles,
  find_images,
  is_system_folder,
  merged,
)
from blt_jax.data.sources.splits import SPLIT_WORDS
from blt_jax.data.text import as_text, counted

# Words that may stand beside those of splits in a folder's name: test_set.
_BESIDE = frozenset(("set", "data", "dataset", "images", "imgs", "split"))


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where the class folders of each split are.

  Attributes:
    folders: split -> the folder of its class folders; "train" is among them.
    left_out: lines about other folders.
  """

  folders: dict[str, str]
  left_out: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ClassFolder:
  """The folder of a class and its images.

  Attributes:
    folder: path of the folder.
    found: its files.
  """

  folder: str
  found: FoundFiles


def find_layout(root: str) -> Layout:
  """Finds the splits below a root; without any, the root is for training.

  Raises:
    ValueError: the folders can be understood in two ways; names both.
  """
  names = subfolders(root)
  parts = parts_of(names)
  # If there are no folders in train, it is a class.
  if not any(subfolders(os.path.join(root, n)) for n in parts.get("train", ())):
    _check_no_flat_split(root, names, parts)
    return Layout({"train": root})
  for first, *more in parts.values():
    if more:
      raise ValueError(
        f"{root}: has {first!r} and {more[0]!r}; expected one of them."
      )
  folders, left_out = {}, []
  for part, (name,) in parts.items():
    folder = os.path.join(root, name)
    if subfolders(folder):
      folders[part] = _innermost(folder)
    else:
      files = len(find_images(folder).paths)
      left_out.append(
        f"left out: {as_text(name)}, which has {counted(files, 'image')} and"
        " no class folders; images without labels are classified by"
        f" --mode=predict --input={as_text(folder)}"
      )
  used = [name for names in parts.values() for name in names]
  for name in names:
    if name not in used:
      left_out.append(_beside(root, name, only_train=len(parts) == 1))
  return Layout(folders, tuple(left_out))


def find_classes(folder: str) -> dict[str, ClassFolder]:
  """The class folders of a folder by the names of their classes, in order.

  Raises:
    ValueError: two folders have one name, or one can't be read.
  """
  paths = {
    name: os.path.join(folder, name)
    for name in sorted(subfolders(folder), key=normal_name)
  }
  # Escapes show what two names that look alike differ by.
  check_distinct((as_text(name), f"{path!a}") for name, path in paths.items())
  return {
    shown_name(as_text(name)) or name: ClassFolder(path, find_images(path))
    for name, path in paths.items()
  }


def subfolders(folder: str) -> list[str]:
  """Names of the folders in a folder that people made, sorted."""
  with os.scandir(folder) as entries:
    return sorted(
      entry.name
      for entry in entries
      if entry.is_dir()
      and not entry.name.startswith(".")
      and not is_system_folder(entry.name)
    )


def left_out_lines(
  root: str, folders: Iterable[str], classes: Iterable[ClassFolder]
) -> list[str]:
  """Lines about the files that are no images of a class.

  Args:
    root: folder that the names in the lines are relative to.
    folders: those of class folders; what lies in them otherwise counts, too.
    classes: the class folders.
  """

  def prefix(folder: str) -> str:
    below = os.path.relpath(folder, root)
    return "" if below == "." else os.path.join(below, "")

  beside = [
    (prefix(folder), find_images(folder, without=subfolders(folder)))
    for folder in dict.fromkeys(folders)
  ]
  lines = [
    f"left out: {counted(len(found.paths), 'image')} in no class folder, such"
    f" as {as_text(start + found.paths[0])}"
    for start, found in beside
    if found.paths
  ]
  inside = [(prefix(each.folder), each.found) for each in classes]
  return [*lines, *merged([*beside, *inside]).lines()]


def parts_of(names: list[str]) -> dict[str, list[str]]:
  """Split -> folders whose name says that they hold it.

  The other words of such a name say nothing (test_set), or the folder of
  another split has the same ones (seg_train and seg_test).
  """
  split_names = {}
  for name in names:
    words = re.findall(r"[^\W\d_]+", name.lower())
    parts = [SPLIT_WORDS.get(w.removesuffix("set")) for w in words]
    rest = tuple(
      word
      for word, part in zip(words, parts, strict=True)
      if not part and word not in _BESIDE
    )
    known = [part for part in parts if part]
    if len(known) == 1:
      split_names[name] = known[0], rest
  result: dict[str, list[str]] = {}
  for name, (part, rest) in split_names.items():
    partners = {p for p, r in split_names.values() if r == rest}
    if not rest or len(partners) > 1:
      result.setdefault(part, []).append(name)
  return result


def _check_no_flat_split(
  root: str, names: list[str], parts: dict[str, list[str]]
) -> None:
  """Refuses folders of splits beside class folders, or without any.

  A class may be called train, like the vehicle, but not beside one called test.
  """
  called = {name: part for part, group in parts.items() for name in group}
  classes = [name for name in names if name not in called]
  if len(called) > 1 and not classes:
    raise ValueError(
      f"{root}: its folders {', '.join(map(repr, sorted(called)))} hold no"
      " class folders for training. If they are splits, expected class folders"
      f" in them (train/CLASS/IMAGE); if they are classes, expected other names"
      f" ('class {names[0]}')."
    )
  if not classes:
    return
  for name, part in called.items():
    if part == "train":
      continue
    inner = subfolders(os.path.join(root, name))
    if inner:
      raise ValueError(
        f"{root}: {name!r} holds the folder {inner[0]!r} and lies beside the"
        f" class {classes[0]!r}. If it is a split, expected the class folders"
        " of the training images in a folder 'train'; if it is a class,"
        f" expected another name ('class {name}')."
      )
    raise ValueError(
      f"{root}: {name!r} has no class folders and lies beside the class"
      f" {classes[0]!r}. If it holds images without labels, expected it"
      " outside of the root (--mode=predict classifies them); if it is a"
      f" class, expected another name ('class {name}')."
    )


def _innermost(folder: str) -> str:
  """x/seg_train/seg_train for x/seg_train, if it holds nothing else."""
  inner = os.path.join(folder, os.path.basename(folder))
  if subfolders(folder) == [os.path.basename(folder)] and subfolders(inner):
    return inner
  return folder


def _beside(root: str, name: str, *, only_train: bool) -> str:
  """The line about a folder beside those of splits.

  Raises:
    ValueError: it may be a class, as may train: a vehicle beside others.
  """
  files = len(find_images(os.path.join(root, name)).paths)
  if only_train and files:
    raise ValueError(
      f"{root}: 'train' holds folders and lies beside {as_text(name)!r}, which"
      f" has {counted(files, 'image')}. If train is the training split,"
      " expected beside it validation and test alone; if it is a class,"
      " expected another name ('class train')."
    )
  return (
    f"left out: {as_text(name)}, {counted(files, 'image')}: beside train, there"
    " may be validation and test"
  )
