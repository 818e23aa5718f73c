"""Where images come from: one loader a source, each returning a Dataset."""

import dataclasses
import importlib
import os
from typing import Any

from blt_jax.data.dataset import Dataset
from blt_jax.data.sources.splits import SplitOptions

# Loader -> its module. A run needs one of them, so a module is imported when
# its loader is first used.
_LOADERS = {
  "from_arrays": "arrays",
  "load_digits_lt": "arrays",
  "load_image_folder": "image_folders",
  "load_image_lists": "image_lists",
  "load_image_table": "image_tables",
  "load_inaturalist": "inaturalist",
  "load_npz": "npz",
  "load_tfds": "tfds",
}
__all__ = ["Columns", "SourceFiles", "SplitOptions", "load", *_LOADERS]

# Source -> fields of SourceFiles that it can't do without.
_NEEDED = {
  "digits": (),
  "tfds": (),
  "npz": ("root",),
  "image_folder": ("root",),
  "image_list": ("root", "train_list"),
  "image_table": ("table",),
  "inaturalist": ("root", "train_list"),
}
SOURCES = tuple(_NEEDED)

# How files become pixels; arrays in memory are pixels already.
_FILE_FIELDS = (
  *("on_error", "max_unreadable", "max_pixels"),
  *("background", "exif_orientation", "grey_range"),
)
# Source -> the fields of config.dataset that it uses, beside those that every
# source uses.
USED_FIELDS: dict[str, tuple[str, ...]] = {
  "digits": (),
  "tfds": ("root", "manual_dir", *_FILE_FIELDS),
  "npz": ("root",),
  "image_folder": ("root", "test_per_class", *_FILE_FIELDS),
  "image_list": (
    *("root", "train_list", "validation_list", "test_list", "class_names"),
    *("class_folders", "flat_folders", *_FILE_FIELDS),
  ),
  "image_table": (
    *("root", "table", "path", "label", "split", "group", "test_per_class"),
    *_FILE_FIELDS,
  ),
  "inaturalist": (
    *("root", "train_list", "test_list", "class_names", *_FILE_FIELDS),
  ),
}


@dataclasses.dataclass(frozen=True)
class SourceFiles:
  """Where the files of a data set are; each source reads some of the fields.

  Attributes:
    root: folder of the images; the .npz file; where TFDS keeps its data.
    manual_dir: folder of the archives that TFDS can't download.
    train_list: image list, or iNaturalist's JSON file, of the training images.
      It and the other files are looked for as they are named, then below the
      root.
    validation_list: image list.
    test_list: as train_list.
    table: see load_image_table.
    class_names: file of class names.
    class_folders: see load_image_lists.
    flat_folders: see load_image_lists.
  """

  root: str = ""
  manual_dir: str = ""
  train_list: str = ""
  validation_list: str = ""
  test_list: str = ""
  table: str = ""
  class_names: str = ""
  class_folders: bool = False
  flat_folders: tuple[str, ...] = ()

  def path(self, field: str) -> str:
    """The file that a field names, below the root if only there is one."""
    path = getattr(self, field)
    below = os.path.join(self.root, path)
    if path and not os.path.exists(path) and os.path.exists(below):
      return below
    return path


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of a table's columns; "" finds a column by its usual names.

  Attributes:
    path: of the images' paths.
    label: of their classes, by number or by name.
    split: of their splits; "none" uses none.
    group: of their cameras, patients or specimens; "none" uses none.
  """

  path: str = ""
  label: str = ""
  split: str = ""
  group: str = ""


USUAL_COLUMNS = Columns()


def load(
  source: str,
  name: str,
  *,
  files: SourceFiles,
  options: SplitOptions,
  columns: Columns = USUAL_COLUMNS,
) -> Dataset:
  """Loads the data set of a source.

  Args:
    source: "digits", "tfds", "npz", "image_folder", "image_list",
      "image_table" or "inaturalist".
    name: of the data set; for TFDS what TFDS calls it.
    files: where it is.
    options: how it is split.
    columns: of an image table.

  Returns:
    The Dataset.

  Raises:
    ValueError: names what is missing or malformed.
  """
  _check_given(source, files)
  _check_table_alone(source, files, columns)
  match source:
    case "digits":
      return _loader("load_digits_lt")(options)
    case "tfds":
      return _loader("load_tfds")(
        name,
        data_dir=files.root or None,
        manual_dir=files.manual_dir or None,
        options=options,
      )
    case "npz":
      return _loader("load_npz")(files.root, name=name, options=options)
    case "image_folder":
      folder_loader = _loader("load_image_folder")
      return folder_loader(files.root, name=name, options=options)
    case "image_table":
      return _loader("load_image_table")(
        files.root,
        files.path("table"),
        name=name,
        columns=columns,
        options=options,
      )
    case "inaturalist":
      return _loader("load_inaturalist")(
        files.root,
        files.path("train_list"),
        test_json=files.path("test_list"),
        name=name,
        class_names_file=files.path("class_names"),
        options=options,
      )
  return _loader("load_image_lists")(
    files.root,
    files.path("train_list"),
    validation_list=files.path("validation_list"),
    test_list=files.path("test_list"),
    name=name,
    class_names_file=files.path("class_names"),
    class_folders=files.class_folders,
    flat_folders=files.flat_folders,
    options=options,
  )


def _check_given(source: str, files: SourceFiles) -> None:
  """Raises ValueError for an unknown source or a field that it lacks."""
  if source not in _NEEDED:
    raise ValueError(
      f"source is {source!r}; expected one of {', '.join(_NEEDED)}."
    )
  for field in _NEEDED[source]:
    if not getattr(files, field):
      raise ValueError(
        f"config.dataset.{field} is ''; expected a path, as the source"
        f" {source} needs it."
      )


def _check_table_alone(
  source: str, files: SourceFiles, columns: Columns
) -> None:
  """Raises ValueError for a table's field with a source that has no table."""
  given = {
    "table": files.table,
    "path": columns.path,
    "label": columns.label,
    "split": columns.split,
    "group": columns.group,
  }
  for field, value in given.items():
    if value and source != "image_table":
      raise ValueError(
        f"config.dataset.{field} is {value!r}; expected '' with"
        f" config.dataset.source {source}: it is for image_table."
      )


def _loader(name: str) -> Any:
  """A function of _LOADERS."""
  module = importlib.import_module(f"{__name__}.{_LOADERS[name]}")
  return getattr(module, name)


def __getattr__(name: str) -> Any:
  """Imports a loader."""
  if name not in _LOADERS:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return _loader(name)
