"""Data sets from image lists: text files of "path label" lines."""

import array
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from blt_jax.data.dataset import Dataset, Split, path_array
from blt_jax.data.sources.class_names import (
  class_folder,
  folder_form,
  read_names,
)
from blt_jax.data.sources.file_lookup import (
  FileFinder,
  beginnings,
  below,
  check_root,
  leaves_root,
  plain_path,
)
from blt_jax.data.sources.repeated_files import each_file_once
from blt_jax.data.sources.splits import NATURAL, SplitOptions, assemble
from blt_jax.data.text import reason

# Digits of a label: nine fit into int32.
_MOST_DIGITS = 9


class ImageList(NamedTuple):
  """A parsed image list.

  Attributes:
    file: its name.
    paths: strings [n] with "/", relative to the root.
    labels: int32 [n], 0 or more.
    lines: int32 [n], the number of each image's line in the file, from 1.
  """

  file: str
  paths: np.ndarray
  labels: np.ndarray
  lines: np.ndarray

  def place(self, i: int) -> str:
    """Where the i-th image stands, for a message."""
    return f"{self.file}:{self.lines[i]}"


def load_image_lists(
  root: str,
  train_list: str,
  *,
  validation_list: str = "",
  test_list: str = "",
  name: str = "image_list",
  class_names_file: str = "",
  class_folders: bool = False,
  flat_folders: Sequence[str] = (),
  options: SplitOptions = NATURAL,
) -> Dataset:
  """A data set from lists of "path label" lines.

  OLTR, classifier-balancing and BLT's authors share this format. The last field
  of a line is the label, so paths may contain spaces; empty lines are skipped.
  Every file of the lists is looked up before this returns. A file that a list
  names again counts once, see `Dataset.left_out`; no file may have two labels
  or be in two lists, but the test list may be the validation list.

  Args:
    root: folder that the lists' paths are relative to; absolute paths that lie
      below it are taken, too.
    train_list: text file.
    validation_list: text file; "" holds validation_per_class images a class
      out of training.
    test_list: text file; "" tests on the validation split.
    name: of the data set.
    class_names_file: one name a line in label order, or Places365's numbered
      names, see class_names.read_names: then an image's label is the number of
      its folder's name, whatever number its list has. "" names a class by the
      folder of its first training image if that tells all classes apart, else
      by number.
    class_folders: refuses lists in which a folder has two labels or a label two
      folders, over all lists together. Numbered names imply it.
    flat_folders: where else to look for images, see file_lookup.FileFinder.
    options: see SplitOptions.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the list and line, the field, or the class that is wrong.
  """
  check_root(root)
  # This is a function of its own, so that the lists it read are freed.
  names, splits, left_out = _read_splits(
    [file for file in (train_list, validation_list, test_list) if file],
    class_names_file=class_names_file,
    class_folders=class_folders,
    finder=FileFinder(root, flat_folders),
  )
  return assemble(
    name,
    names,
    train=splits.pop(0),
    validation=splits.pop(0) if validation_list else None,
    test=splits.pop(0) if splits else None,
    options=options,
    left_out=left_out,
  )


def _read_splits(
  files: Sequence[str],
  *,
  class_names_file: str,
  class_folders: bool,
  finder: FileFinder,
) -> tuple[Sequence[str], list[Split], list[str]]:
  """(class names, splits, lines about what is left out) of lists.

  The first list is for training. Where the last two are of the same images, the
  last one is dropped.
  """
  known = read_names(class_names_file) if class_names_file else None
  root = finder.root
  train = read_list(files[0], len(known.names) if known else 0, root=root)
  names = known.names if known else names_from_folders(train)
  lists = [
    train,
    *(read_list(file, len(names), root=root) for file in files[1:]),
  ]
  if known and known.numbered:
    lists = relabel(lists, names, names_file=class_names_file)
  elif class_folders:
    labels_of_folders(lists)
  if not known:
    _check_start(lists)
  splits = [
    Split(listed.labels, paths=finder.find(listed.paths, place=listed.place))
    for listed in lists
  ]
  if len(lists) == 3 and _are_equal(*lists[1:]):
    del lists[2], splits[2]
  splits, left_out = each_file_once(
    [listed.file for listed in lists],
    splits,
    places=[listed.place for listed in lists],
    finder=finder,
  )
  return names, splits, left_out


def _are_equal(one: ImageList, other: ImageList) -> bool:
  """Whether two lists have the same images and labels in the same order."""
  return np.array_equal(one.labels, other.labels) and np.array_equal(
    one.paths, other.paths
  )


def _check_start(lists: Sequence[ImageList]) -> None:
  """Raises ValueError if the labels of the lists begin at 1, without gaps."""
  labels = np.unique(np.concatenate([listed.labels for listed in lists]))
  if labels[0] == 1 and labels[-1] == len(labels):
    _refuse_start(lists[0])


def _refuse_start(listed: ImageList) -> NoReturn:
  """Raises ValueError about labels that begin at 1."""
  last = int(np.max(listed.labels))
  first = listed.place(int(np.argmin(listed.labels)))
  raise ValueError(
    f"{first}: label is 1, the smallest of {listed.file}, the largest is"
    f" {last}; expected labels from 0 to {last - 1}. This takes 1 from each:"
    ' python -c "import sys; [print(*l.rsplit(None, 1)[:-1],'
    ' int(l.split()[-1]) - 1) for l in sys.stdin if l.strip()]"'
    f" < {listed.file} > NEW_LIST"
  )


def read_list(file: str, num_classes: int, *, root: str = "") -> ImageList:
  """Parses a list and checks it.

  Args:
    file: text file, UTF-8.
    num_classes: C; 0 allows any label below the number of lines, because every
      class needs an image.
    root: folder that absolute paths may lie in; "" allows none.

  Returns:
    The ImageList.

  Raises:
    ValueError: the file can't be read, or a line is wrong; names it.
  """
  paths: list[str] = []
  labels, lines = array.array("i"), array.array("i")
  starts = beginnings(root)
  try:
    with open(file, encoding="utf-8-sig") as text:
      for number, line in enumerate(text, 1):
        if line and not line.isspace():
          path, label = _parse_line(file, number, line, starts=starts)
          paths.append(path)
          labels.append(label)
          lines.append(number)
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"{file}: can't be read as a text file ({reason(error)}); expected 'path"
      " label' lines in a file that is found as it is named or below the root."
    ) from error
  if not paths:
    raise ValueError(f"{file}: no line; expected 1 or more 'path label' lines.")
  listed = ImageList(
    file, path_array(paths), np.array(labels, np.int32), np.array(lines)
  )
  _check_labels(listed, num_classes)
  return listed


def _parse_line(
  file: str, number: int, line: str, *, starts: Sequence[str]
) -> tuple[str, int]:
  """(path, label) of a line that is not empty; see beginnings for `starts`."""
  fields = line.rsplit(None, 1)
  path, label = fields[0].strip(), fields[-1]
  if len(fields) != 2 or not path:
    raise ValueError(
      f"{file}:{number}: the line is {line.strip()!r}; expected 'path label',"
      " the label last."
    )
  # int() would also take the digits of other scripts.
  if not (label.isascii() and label.isdigit() and len(label) <= _MOST_DIGITS):
    raise ValueError(
      f"{file}:{number}: label is {label!r}; expected a whole number, 0 or"
      f" more, of {_MOST_DIGITS} digits at most."
    )
  inner = below(path, starts) if path[0] == "/" else path
  if leaves_root(inner):
    raise ValueError(
      f"{file}:{number}: path {path!r} leaves the root; expected paths below"
      " it, without '..'."
    )
  return plain_path(inner), int(label)


def _check_labels(listed: ImageList, num_classes: int) -> None:
  """Raises ValueError if a label is too large; see read_list."""
  limit = num_classes or len(listed.labels)
  wrong = np.flatnonzero(listed.labels >= limit)
  if len(wrong):
    if np.min(listed.labels) == 1 and np.max(listed.labels) == limit:
      _refuse_start(listed)
    raise ValueError(
      f"{listed.place(wrong[0])}: label is {listed.labels[wrong[0]]}; expected"
      f" 0 to {limit - 1}, as there are {limit}"
      f" {'classes' if num_classes else 'lines'}."
    )


def names_from_folders(train: ImageList) -> tuple[str, ...]:
  """Names classes by the folder of their first image, or else by number."""
  labels, first = np.unique(train.labels, return_index=True)
  folders = [class_folder(path) for path in train.paths[first]]
  names = [str(c) for c in range(int(labels[-1]) + 1)]
  if len(set(folders)) == len(folders) and "" not in folders:
    for label, folder in zip(labels, folders, strict=True):
      names[label] = folder
  return tuple(names)


def labels_of_folders(lists: Sequence[ImageList]) -> dict[str, int]:
  """The label that lists give to each folder, checked line by line.

  Returns:
    {folder's name: label}; no two folders share a label.

  Raises:
    ValueError: names the first line whose folder has another label in an
      earlier line, or whose label has another folder, or that has no folder.
  """
  labels: dict[str, int] = {}
  folders: dict[int, str] = {}
  for listed in lists:
    seen = set()
    pairs = zip(listed.paths, listed.labels.tolist(), strict=True)
    for i, (path, label) in enumerate(pairs):
      pair = path.rpartition("/")[0], label
      if pair in seen:
        continue
      seen.add(pair)
      folder = class_folder(path)
      if not folder:
        raise ValueError(
          f"{listed.place(i)}: path is {path!r}; expected 'folder/file', as the"
          " folder names the class."
        )
      if labels.setdefault(folder, label) != label:
        raise ValueError(
          f"{listed.place(i)}: folder {folder!r} has label {label}; expected"
          f" {labels[folder]}, its label in an earlier line."
        )
      if folders.setdefault(label, folder) != folder:
        raise ValueError(
          f"{listed.place(i)}: label {label} has folder {folder!r}; expected"
          f" {folders[label]!r}, its folder in an earlier line."
        )
  return labels


def relabel(
  lists: Sequence[ImageList], names: Sequence[str], *, names_file: str
) -> list[ImageList]:
  """Gives every image the number that its folder's name has in `names`.

  Args:
    lists: of one data set; their own numbers only have to be consistent.
    names: [C], as folder_form gives them.
    names_file: file of the names, for a message.

  Returns:
    The lists with new labels, 0..C-1.

  Raises:
    ValueError: the lists contradict themselves or each other (see
      labels_of_folders), or a folder is not a class; names the line.
  """
  old = labels_of_folders(lists)
  numbers = {name: number for number, name in enumerate(names)}
  table = np.full(max(old.values(), default=0) + 1, -1, np.int64)
  for folder, label in old.items():
    table[label] = numbers.get(folder_form(folder), -1)
  changed = [listed._replace(labels=table[listed.labels]) for listed in lists]
  for listed in changed:
    unknown = np.flatnonzero(listed.labels < 0)
    if len(unknown):
      i = int(unknown[0])
      folder = class_folder(listed.paths[i])
      raise ValueError(
        f"{listed.place(i)}: folder is {folder!r}; expected one of the"
        f" {len(names)} classes of {names_file}."
      )
  return changed
