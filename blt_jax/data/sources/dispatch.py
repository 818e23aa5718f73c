"""Loads a data set by the name of its source."""

import dataclasses
import os

from blt_jax.data.dataset import Dataset
from blt_jax.data.sources.arrays import load_digits_lt
from blt_jax.data.sources.image_folders import load_image_folder
from blt_jax.data.sources.image_lists import load_image_lists
from blt_jax.data.sources.inaturalist import load_inaturalist
from blt_jax.data.sources.npz import load_npz
from blt_jax.data.sources.splits import SplitOptions
from blt_jax.data.sources.tfds import load_tfds

# Source -> fields of SourceFiles that it can't do without.
_NEEDED = {
  "digits": (),
  "tfds": (),
  "npz": ("root",),
  "image_folder": ("root",),
  "image_list": ("root", "train_list"),
  "inaturalist": ("root", "train_list"),
}
SOURCES = tuple(_NEEDED)


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
    class_names: file of class names.
    class_folders: see load_image_lists.
    flat_folders: see load_image_lists.
  """

  root: str = ""
  manual_dir: str = ""
  train_list: str = ""
  validation_list: str = ""
  test_list: str = ""
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


def load(
  source: str, name: str, *, files: SourceFiles, options: SplitOptions
) -> Dataset:
  """Loads the data set of a source.

  Args:
    source: "digits", "tfds", "npz", "image_folder", "image_list" or
      "inaturalist".
    name: of the data set; for TFDS what TFDS calls it.
    files: where it is.
    options: how it is split.

  Returns:
    The Dataset.

  Raises:
    ValueError: names what is missing or malformed.
  """
  _check_given(source, files)
  match source:
    case "digits":
      return load_digits_lt(options)
    case "tfds":
      return load_tfds(
        name,
        data_dir=files.root or None,
        manual_dir=files.manual_dir or None,
        options=options,
      )
    case "npz":
      return load_npz(files.root, name=name, options=options)
    case "image_folder":
      return load_image_folder(files.root, name=name, options=options)
    case "inaturalist":
      return load_inaturalist(
        files.root,
        files.path("train_list"),
        test_json=files.path("test_list"),
        name=name,
        class_names_file=files.path("class_names"),
        options=options,
      )
  return load_image_lists(
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
      f"source is {source!r}; expected one of {', '.join(_NEEDED)}"
    )
  for field in _NEEDED[source]:
    if not getattr(files, field):
      raise ValueError(
        f"config.dataset.{field} is ''; expected a path, as the source"
        f" {source} needs it"
      )
