"""Flags of the command line that are paths of this machine."""

import os
import re
from typing import Any

from absl import flags

from blt_jax.config.rules import home_expanded

# The beginning of an address, such as gs://bucket.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# The flags are those of the module that calls `define`.
flags.disclaim_key_flags()


class _Path(flags.ArgumentParser):
  """A path, where ~ or ~USER is a home folder."""

  def __init__(self, *, any_bytes: bool = False):
    """A path in UTF-8, or of any bytes."""
    self._any_bytes = any_bytes

  def parse(self, argument: str) -> str:
    """The path with the home folder.

    Raises:
      ValueError: it is an address, of a wrong user, or not UTF-8.
    """
    if not self._any_bytes and not _is_utf8(argument):
      # TensorFlow, TensorBoard and safetensors can't write there.
      raise ValueError(
        "the name is not UTF-8; expected a name that is, and PYTHONUTF8=1 in "
        "an environment that is not."
      )
    address = _ADDRESS.match(argument)
    if address:
      # Python would take gs://a for the folder a in the folder "gs:".
      raise ValueError("it is an address; expected a path of this machine.")
    return home_expanded(argument)


class _Paths(flags.ListParser):
  """Paths with commas between them, which may have commas in their names."""

  def parse(self, argument: Any) -> list[str]:
    """The paths; what is there as a whole is not cut at its commas."""
    if isinstance(argument, list):
      return argument
    parts = argument.split(",") if argument else []
    paths = []
    while parts:
      joined = [",".join(parts[:end]) for end in range(len(parts), 0, -1)]
      candidates = [_Path().parse(path) for path in joined]
      path = next(filter(os.path.exists, candidates), candidates[-1])
      paths.append(path)
      parts = parts[len(joined[candidates.index(path)].split(",")) :]
    return paths


def _is_utf8(text: str) -> bool:
  """Whether UTF-8, which libraries in C++ expect, names the same file."""
  try:
    return text.encode() == os.fsencode(text)
  except UnicodeEncodeError:
    return False


def define(
  name: str, default: str | None, help: str, *, any_bytes: bool = False
) -> flags.FlagHolder[str]:
  """Defines a flag for a path; --NAME=~/DIR is in the home folder.

  Args:
    name: of the flag.
    default: its value.
    help: a line for users.
    any_bytes: whether the path need not be UTF-8.
  """
  return flags.DEFINE(_Path(any_bytes=any_bytes), name, default, help)


def define_list(name: str, help: str) -> flags.FlagHolder[list[str]]:
  """Defines a flag for several paths with commas between them."""
  serializer = flags.CsvListSerializer(",")
  return flags.DEFINE(_Paths(), name, [], help, serializer=serializer)
