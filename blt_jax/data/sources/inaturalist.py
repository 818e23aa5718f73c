"""iNaturalist 2018 from its official JSON files."""

import json
from typing import Any, NamedTuple

import numpy as np

from blt_jax.data.dataset import Dataset, Split, path_array
from blt_jax.data.sources.file_lookup import (
  FileFinder,
  check_root,
  leaves_root,
  plain_path,
)
from blt_jax.data.sources.repeated_files import each_file_once
from blt_jax.data.sources.splits import SplitOptions, assemble
from blt_jax.data.text import reason

AUTHORS_SPLITS = SplitOptions(validation_per_class=5, drop_below=2)
"""How BLT's authors split iNaturalist 2018."""

# Keys that are kept. Without the others, such as sizes and owners of images, a
# file takes half of the memory.
_KEPT = (
  "images",
  "annotations",
  "categories",
  "id",
  "file_name",
  "name",
  "image_id",
  "category_id",
)


class _Annotations(NamedTuple):
  """An annotation file.

  Attributes:
    file: its name.
    paths: strings [n] with "/", relative to the root.
    ids: int64 [n], of the images.
    labels: int64 [n], positions of the categories in the order of their ids.
    names: {category id: name}, in the order of the ids.
  """

  file: str
  paths: np.ndarray
  ids: np.ndarray
  labels: np.ndarray
  names: dict[int, str]

  def place(self, i: int) -> str:
    """Where the i-th image stands, for a message."""
    return f"{self.file}: image {self.ids[i]}"


def load_inaturalist(
  root: str,
  train_json: str,
  *,
  test_json: str = "",
  name: str = "inaturalist2018",
  class_names_file: str = "",
  options: SplitOptions = AUTHORS_SPLITS,
) -> Dataset:
  """The data set iNaturalist 2018 with the protocol of BLT's authors.

  The official test set has no labels. So validation images are held out of
  training, and the official validation set is the test set. Classes that would
  keep too few training images are dropped from every split and counted in the
  log; the others are numbered anew in the order of their category ids. Every
  image file is looked up before this returns.

  Args:
    root: folder that the files' paths ("train_val2018/...") are relative to.
    train_json: train2018.json.
    test_json: val2018.json; "" tests on the images that are held out.
    name: of the data set.
    class_names_file: categories.json, which has the real names; train_json has
      obfuscated ones, which "" takes.
    options: see SplitOptions; validation_per_class is 1 or more.

  Returns:
    The Dataset, with paths.

  Raises:
    ValueError: names the file and the image, category or key that is wrong.
  """
  check_root(root)
  finder = FileFinder(root)
  listed = _read(train_json)
  names = listed.names
  splits = [_to_split(listed, finder)]
  places = [listed.place]
  if test_json:
    listed = _read(test_json)
    _check_same(names, listed.names, train_json, test_json)
    splits.append(_to_split(listed, finder))
    places.append(listed.place)
  splits, left_out = each_file_once(
    [train_json, test_json][: len(splits)],
    splits,
    places=places,
    finder=finder,
  )
  if class_names_file:
    names = _better_names(names, class_names_file)
  return assemble(
    name,
    list(names.values()),
    train=splits[0],
    validation=None,
    test=splits[1] if test_json else None,
    options=options,
    left_out=left_out,
  )


def _to_split(listed: _Annotations, finder: FileFinder) -> Split:
  """The split of an annotation file, all its images looked up."""
  paths = finder.find(listed.paths, place=listed.place)
  return Split(listed.labels, paths=paths)


def _read(file: str) -> _Annotations:
  """Parses an annotation file into arrays, checked."""
  content = _load(file)
  if not isinstance(content, dict):
    raise ValueError(
      f"{file}: the content is a {type(content).__name__}; expected an object."
    )
  names = _categories(file, content.get("categories"))
  images = content.get("images")
  ids = _column(file, "images", images, "id", int)
  paths = _column(file, "images", images, "file_name", str)
  for image, path in zip(ids, paths, strict=True):
    if leaves_root(path):
      raise ValueError(
        f"{file}: image {image}: path {path!r} leaves the root; expected paths"
        " below it, without '..'."
      )
  labels = _labels(file, content.get("annotations"), ids, list(names))
  return _Annotations(
    file,
    path_array(map(plain_path, paths)),
    np.array(ids, np.int64),
    labels,
    names,
  )


def _labels(
  file: str, annotations: Any, ids: list[int], categories: list[int]
) -> np.ndarray:
  """The label int64 [n] of each image: every image has one annotation."""
  columns = (
    _column(file, "annotations", annotations, key, int)
    for key in ("image_id", "category_id")
  )
  category_of = dict(zip(*columns, strict=True))
  if len(set(ids)) != len(ids):
    raise ValueError(f"{file}: an image id stands twice; expected each once.")
  if len(category_of) != len(annotations) or category_of.keys() != set(ids):
    odd = sorted(category_of.keys() ^ set(ids))
    raise ValueError(
      f"{file}: {len(annotations)} annotations for {len(ids)} images"
      f"{f', wrong for image {odd[0]}' if odd else ''};"
      " expected one for each image."
    )
  number = {category: c for c, category in enumerate(categories)}
  unknown = set(category_of.values()) - number.keys()
  if unknown:
    raise ValueError(
      f"{file}: category_id {min(unknown)} of an annotation; expected the"
      f" {len(number)} ids of its categories."
    )
  return np.array([number[category_of[image]] for image in ids], np.int64)


def _categories(file: str, categories: Any) -> dict[int, str]:
  """{id: name} in the order of the ids."""
  ids = _column(file, "categories", categories, "id", int)
  names = _column(file, "categories", categories, "name", str)
  if len(set(ids)) != len(ids):
    raise ValueError(f"{file}: a category id stands twice; expected each once.")
  return dict(sorted(zip(ids, names, strict=True)))


def _better_names(names: dict[int, str], file: str) -> dict[int, str]:
  """The names that another file has for the same category ids."""
  better = _categories(file, _load(file))
  missing = sorted(names.keys() - better.keys())
  if missing:
    raise ValueError(
      f"{file}: no category {missing[0]}; expected a name for each of the"
      f" {len(names)} categories."
    )
  return {category: better[category] for category in names}


def _check_same(
  expected: dict[int, str], found: dict[int, str], train: str, file: str
) -> None:
  """Raises ValueError unless a file has the training file's categories."""
  for category in sorted(expected.keys() | found.keys()):
    ours, theirs = expected.get(category), found.get(category)
    if ours != theirs:
      raise ValueError(
        f"{file}: category {category} is {theirs!r}; expected {ours!r}, as in"
        f" {train}."
      )


def _column(
  file: str, section: str, entries: Any, key: str, kind: type
) -> list[Any]:
  """The value of one key in every entry of a section."""
  if not isinstance(entries, list) or not entries:
    raise ValueError(
      f"{file}: no {section}; expected a list {section!r} with 1 or more."
    )
  for i, entry in enumerate(entries):
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
      raise ValueError(
        f"{file}: {section}[{i}][{key!r}] is {value!r}; expected a"
        f" {kind.__name__}."
      )
  return [entry[key] for entry in entries]


def _load(file: str) -> Any:
  """The content of a JSON file, without the keys that are not needed."""

  def slim(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in _KEPT if key in entry}

  try:
    with open(file, encoding="utf-8-sig") as text:
      return json.load(text, object_hook=slim)
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f"{file}: can't be read as JSON ({reason(error)})."
    ) from error
