"""A short text that tells one data set from another."""

import hashlib
import os

import numpy as np

from blt_jax.data.dataset import Dataset, Split

# Names of records that are looked up and hashed at a time.
_CHUNK = 4096


def fingerprint(dataset: Dataset) -> str:
  """SHA-256 of the images of a data set, in their order, and of their labels.

  Images in memory count by their pixels, those in files by the files' names
  without folders, so that a folder may move, and records by their names.
  """
  digest = hashlib.sha256()
  for role, split in dataset.splits.items():
    digest.update(f"{role} {len(split)}".encode())
    digest.update(np.ascontiguousarray(split.labels).data)
    _add_images(digest, split)
  return digest.hexdigest()


def _add_images(digest: "hashlib._Hash", split: Split) -> None:
  if split.images is not None:
    digest.update(f"{split.images.dtype} {split.images.shape}".encode())
    digest.update(np.ascontiguousarray(split.images).data)
    return
  for start in range(0, len(split), _CHUNK):
    rows = range(start, min(start + _CHUNK, len(split)))
    names = (_name(split, row) for row in rows)
    digest.update("\0".join([*names, ""]).encode("utf-8", "surrogateescape"))


def _name(split: Split, row: int) -> str:
  """The name of an image without its folder."""
  if split.paths is not None:
    return os.path.basename(split.paths[row])
  assert split.records is not None
  return split.records.name(row)
