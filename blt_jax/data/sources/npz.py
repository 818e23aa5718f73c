"""Arrays of .npz files that may come from strangers: no pickle, no surprise."""

import math
import os
import pathlib
import zipfile

import numpy as np

from blt_jax.data.sources.file_lookup import reason

# No compressed data of a ZIP archive grows by more.
_MOST_GROWTH = 1100


def read_npz(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an .npz file.

  What an array claims to hold is compared with the size of the file before any
  memory is taken for it.

  Args:
    path: of the file.

  Returns:
    {name: array}.

  Raises:
    ValueError: it can't be read, is no archive of arrays, is damaged, or an
      array holds Python objects or claims more than there is.
  """
  try:
    with open(path, "rb") as file:
      if not zipfile.is_zipfile(file):
        raise ValueError("not an archive, or cut off")
      with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
          _check(archive, member, os.fstat(file.fileno()).st_size)
      file.seek(0)
      with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
  # zipfile raises errors of many types on damaged archives.
  except Exception as error:
    raise ValueError(
      f"{path}: can't be read as an .npz file ({reason(error)}); allowed: a"
      " file that numpy.savez made, without Python objects"
    ) from error


def _check(
  archive: zipfile.ZipFile, member: zipfile.ZipInfo, file_size: int
) -> None:
  """Raises ValueError if a member claims more than the file can hold."""
  name = member.filename.removesuffix(".npy")
  growth = 1 if member.compress_type == zipfile.ZIP_STORED else _MOST_GROWTH
  held = growth * min(member.compress_size, file_size)
  if member.file_size > held:
    raise ValueError(f"{name!r} claims {member.file_size} bytes")
  with archive.open(member) as content:
    version = np.lib.format.read_magic(content)
    read_header = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
      raise ValueError(f"{name!r} has the unknown version {version}")
    shape, _, dtype = read_header(content)
  if dtype.hasobject:
    raise ValueError(f"{name!r} holds Python objects")
  size = math.prod(shape) * dtype.itemsize
  if size > member.file_size:
    raise ValueError(
      f"{name!r} claims {size} bytes of {dtype} {list(shape)}, the file holds"
      f" {member.file_size}"
    )
