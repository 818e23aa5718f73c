"""Finds the program and its configurations, in a checkout or installed.

A checkout has main.py and configs/ beside the package. Its wheel has the files
of configs/ inside the package, and `blt-jax` or `python -m blt_jax` instead
of main.py.
"""

import importlib.util
import os
import pathlib
import sys

_PACKAGE = pathlib.Path(__file__).parents[1]

# Modules that only an extra of the package installs.
_EXTRAS: dict[str, tuple[str, ...]] = {
  "train": (
    "PIL",
    "absl",
    "array_record",
    "clu",
    "etils",
    "huggingface_hub",
    "imagehash",
    "importlib_resources",
    "matplotlib",
    "ml_collections",
    "orbax",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "tensorflow_datasets",
    "tqdm",
  ),
  "export": ("jax2onnx", "onnx", "onnxruntime"),
}


def is_installed() -> bool:
  """Whether the package comes from a wheel."""
  return (_PACKAGE / "configs").is_dir()


def program() -> list[str]:
  """The arguments of `python` that run the program."""
  return ["-m", "blt_jax"] if is_installed() else ["main.py"]


def command() -> str:
  """How a user calls the program."""
  return "blt-jax" if is_installed() else "python main.py"


def config_file(path: str) -> str:
  """The installed file if configs/NAME.py itself does not exist."""
  file = _PACKAGE / path
  return str(file) if not os.path.isfile(path) and file.is_file() else path


def provide_configs() -> None:
  """Makes `from configs import common` find the installed files."""
  if is_installed() or importlib.util.find_spec("configs") is None:
    sys.modules["configs"] = importlib.import_module("blt_jax.configs")


def import_message(error: ImportError) -> str:
  """Names what can't be imported, and the extra that installs it, if any."""
  package = (error.name or "").partition(".")[0]
  for extra, packages in _EXTRAS.items():
    if isinstance(error, ModuleNotFoundError) and package in packages:
      name = "blt_jax" if is_installed() else "."
      return (
        f"the package {package} is not installed; expected what "
        f'`pip install "{name}[{extra}]"` installs.'
      )
  return str(error)
