"""Where the program and its configurations are: in a checkout, or installed.

A checkout has main.py and configs/ beside the package. Its wheel has the files
of configs/ inside of the package, and `blt-jax` or `python -m blt_jax` instead
of main.py.
"""

import importlib.util
import os
import pathlib
import sys

_PACKAGE = pathlib.Path(__file__).parents[1]


def is_installed() -> bool:
  """Whether the package comes from a wheel."""
  return (_PACKAGE / "configs").is_dir()


def program() -> list[str]:
  """What follows `python` to run the program."""
  return ["-m", "blt_jax"] if is_installed() else ["main.py"]


def config_file(path: str) -> str:
  """The installed file for configs/NAME.py where there is no such file."""
  file = _PACKAGE / path
  return str(file) if not os.path.isfile(path) and file.is_file() else path


def provide_configs() -> None:
  """Lets `from configs import common` find what is installed."""
  if is_installed() or importlib.util.find_spec("configs") is None:
    sys.modules["configs"] = importlib.import_module("blt_jax.configs")
