"""Files that a reader finds whole: written in one step, with checksums."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# The end of the name of a file that is not finished yet.
UNFINISHED = ".tmp"

# A path that every library takes as it is. Orbax looks for files by a pattern
# that begins with the folder's path, so that [ ] * ? in it lead to others, and
# takes /gs/ for an address; TensorStore does not know backslashes, nor bytes
# that are not UTF-8.
_PLAIN = re.compile(
  r"(?!/?(?:gs|s3|az|hf|gcs|cns|bigstore)/)[\w./ ,=@+-]*", re.ASCII
)

# In a folder, the checksum of each of its other files.
CHECKSUMS = "checksums.json"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Replaces a file as a whole, even if the power fails meanwhile.

  Args:
    path: of the file, which need not exist; its folder must.

  Yields:
    The path to write to. What is there at the end of the block takes the place
    of `path`; after an exception it is removed.
  """
  unfinished = path.with_name(path.name + UNFINISHED)
  try:
    yield unfinished
    with unfinished.open("rb") as file:
      os.fsync(file.fileno())
    os.replace(unfinished, path)
  except BaseException:
    with contextlib.suppress(OSError):
      unfinished.unlink()
    raise


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Writes bytes, see `replacing`."""
  with replacing(path) as unfinished:
    unfinished.write_bytes(content)


def write_text(path: pathlib.Path, content: str) -> None:
  r"""Writes text as UTF-8 with the ends of lines as they are.

  Bytes of a file's name that are not UTF-8 become such as \xe9.
  """
  known = content.encode(errors="surrogateescape")
  write_bytes(path, known.decode(errors="backslashreplace").encode())


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes JSON; NaN and infinities become null, which is what JSON knows."""
  text = json.dumps(finite(content), indent=2, allow_nan=False)
  write_text(path, text + "\n")


def write_npz(
  path: pathlib.Path, arrays: Mapping[str, Any], *, compress: bool = True
) -> None:
  """Writes arrays by their names as NumPy's .npz."""
  with replacing(path) as unfinished, unfinished.open("wb") as file:
    (np.savez_compressed if compress else np.savez)(file, **arrays)


def finite(content: Any) -> Any:
  """Content for JSON with None in place of NaN and infinities."""
  if isinstance(content, Mapping):
    return {key: finite(value) for key, value in content.items()}
  if isinstance(content, tuple | list):
    return [finite(value) for value in content]
  if isinstance(content, float) and not math.isfinite(content):
    return None
  return content


def read_object(path: pathlib.Path) -> dict[str, Any] | None:
  """The object in a JSON file, None without the file.

  Raises:
    ValueError: when it is not JSON, or not an object.
  """
  try:
    content = json.loads(path.read_bytes())
  except FileNotFoundError:
    return None
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path} is not JSON ({error}); expected an object, as a run writes it."
    ) from None
  if not isinstance(content, dict):
    kind = type(content).__name__
    raise ValueError(
      f"{path} holds a {kind}; expected an object, as a run writes it."
    )
  return content


def remove_unfinished(folder: pathlib.Path) -> None:
  """Removes what killed processes had not finished writing."""
  for pattern in (f"*{UNFINISHED}", f"*/*{UNFINISHED}"):
    for path in folder.glob(pattern):
      path.unlink(missing_ok=True)


def is_plain(path: pathlib.Path) -> bool:
  """Whether every library takes an absolute path as it is."""
  return _PLAIN.fullmatch(str(path)) is not None


def write_checksums(folder: pathlib.Path) -> None:
  """Writes the checksums of a folder's files to `CHECKSUMS` in it."""
  write_json(folder / CHECKSUMS, _checksums(folder))


def check_checksums(folder: pathlib.Path) -> None:
  """Compares the files of a folder with their checksums.

  Raises:
    ValueError: names a file that is not what was written.
  """
  expected = read_object(folder / CHECKSUMS)
  if expected is None:
    raise ValueError(f"it has no {CHECKSUMS}")
  found = _checksums(folder)
  for name in sorted(expected.keys() | found.keys()):
    if name not in found:
      raise ValueError(f"{name} is missing")
    if found[name] != expected.get(name):
      raise ValueError(f"wrong checksum of {name}")


def _checksums(folder: pathlib.Path) -> dict[str, str]:
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
      if name in names and path != folder / CHECKSUMS:
        with path.open("rb") as file:
          digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = digest
  return found
