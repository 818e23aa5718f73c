"""Data sets in .npz files."""

import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from blt_jax.data.dataset import Dataset
from blt_jax.data.sources.arrays import from_arrays
from blt_jax.data.sources.splits import NATURAL, SplitOptions
from blt_jax.data.text import reason


def load_npz(
  path: str, *, name: str = "", options: SplitOptions = NATURAL
) -> Dataset:
  """A data set from one .npz file.

  Args:
    path: of a file with the arrays train_images and train_labels. It may also
      have validation_images, validation_labels, test_images, test_labels and
      class_names; each is as in from_arrays.
    name: of the data set; "" takes the file's name.
    options: see SplitOptions.

  Returns:
    The Dataset.

  Raises:
    ValueError: the file can't be read or lacks an array, or from_arrays refuses
      an array.
  """
  arrays = read_npz(path)
  parts = ("train", "validation", "test")
  keys = [f"{part}_{kind}" for part in parts for kind in ("images", "labels")]
  missing = [key for key in keys[:2] if key not in arrays]
  if missing:
    raise ValueError(
      f"{path}: no array {missing[0]!r}, it has {sorted(arrays)}; expected"
      f" {keys[:2]} and, if there are any, {keys[2:]} and 'class_names'."
    )
  names = arrays.get("class_names")
  given: dict[str, Any] = {key: arrays[key] for key in keys if key in arrays}
  try:
    return from_arrays(
      **given,
      class_names=None if names is None else [str(name) for name in names],
      name=name or os.path.splitext(os.path.basename(path))[0],
      options=options,
    )
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from None


def read_npz(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an .npz file.

  Raises:
    ValueError: it can't be read, is no archive of arrays, is damaged, or an
      array holds Python objects, which could run a program.
  """
  try:
    # np.load would leave a damaged file open, and would take any other file for
    # pickled objects.
    with open(path, "rb") as file:
      if not zipfile.is_zipfile(file):
        raise ValueError("not an archive, or cut off")
      file.seek(0)
      return dict(np.load(file, allow_pickle=False))
  # NumPy and zipfile raise errors of many types on damaged archives.
  except Exception as error:
    raise ValueError(
      f"{path}: can't be read as an .npz file ({reason(error)}); expected a"
      " file that numpy.savez made, without Python objects."
    ) from error
