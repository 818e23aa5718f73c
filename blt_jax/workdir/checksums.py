"""Checksums of trees of arrays."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


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
