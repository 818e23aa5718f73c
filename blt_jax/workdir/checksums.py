"""Checksums of the files of a folder, and of trees of arrays."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from blt_jax.workdir import files

# In the folder, the checksum of each of its other files.
FILE = "checksums.json"


def of_arrays(arrays: Mapping[str, Any]) -> dict[str, str]:
  """SHA-256 of each tree of arrays: names, types, shapes and values."""
  digests = {}
  for name, tree in arrays.items():
    digest = hashlib.sha256()
    for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
      array = np.ascontiguousarray(leaf)
      title = f"{jax.tree_util.keystr(key)} {array.dtype} {np.shape(leaf)}"
      digest.update(title.encode())
      digest.update(array.view(np.uint8).data)
    digests[name] = digest.hexdigest()
  return digests


def write(folder: pathlib.Path) -> None:
  """Writes the checksums of a folder's files to `FILE` in it."""
  files.write_json(folder / FILE, _of_files(folder))


def check(folder: pathlib.Path) -> None:
  """Compares the files of a folder with their checksums.

  Raises:
    ValueError: names a file that is not what was written.
  """
  expected = files.read_object(folder / FILE)
  if expected is None:
    raise ValueError(f"it has no {FILE}")
  found = _of_files(folder)
  for name in sorted(expected.keys() | found.keys()):
    if name not in found:
      raise ValueError(f"{name} is missing")
    if found[name] != expected.get(name):
      raise ValueError(f"wrong checksum of {name}")


def _of_files(folder: pathlib.Path) -> dict[str, str]:
  """SHA-256 of each file, by its path in the folder.

  Raises:
    ValueError: for a link, which could lead to what is not of this run.
  """
  found = {}
  for root, folders, names in os.walk(folder):
    for name in (*folders, *names):
      path = pathlib.Path(root, name)
      if path.is_symlink():
        raise ValueError(f"{path.relative_to(folder)} is a symbolic link")
      if name in names and path != folder / FILE:
        with path.open("rb") as file:
          digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
  return found
