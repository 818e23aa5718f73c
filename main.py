"""Trains or evaluates BLT: flags and dispatch.

python main.py --config=configs/digits_lt.py
python main.py --config=configs/cifar10_lt.py:method=neither,seed=1 \
        --config.stage2.epochs=10 --workdir=/data/run7
python main.py --mode=evaluate --workdir=runs/digits_lt
python main.py --mode=check_data --config=configs/imagenet_lt.py
"""

import os
import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

# TensorFlow only reads images here: it need not tell how it multiplies.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

MODES = ("train", "evaluate", "check_data")

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "configs/NAME.py, with :key=value,... for its variants."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the run; runs/<config> by default."
)
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_OUTPUT = flags.DEFINE_string(
  "output", "", "check_data: CSV file for all findings."
)


def main(arguments: list[str]) -> int:
  """Dispatches to the mode; returns the exit code."""
  logging.set_verbosity(logging.WARNING)
  if len(arguments) > 1:
    raise ValueError(
      f"unexpected argument {arguments[1]!r}; expected --flag=value."
    )
  if _MODE.value == "evaluate":
    if not _WORKDIR.value:
      raise ValueError("--mode=evaluate needs --workdir=DIR of a training run.")
    from blt_jax.train import evaluate_run

    evaluate_run(pathlib.Path(_WORKDIR.value))
    return 0
  if _CONFIG.value is None:
    raise ValueError("--config=configs/NAME.py is missing.")
  if _MODE.value == "check_data":
    from blt_jax.check_data import check_data

    return check_data(_CONFIG.value, _OUTPUT.value)
  from blt_jax.train import train

  train(_CONFIG.value, pathlib.Path(_WORKDIR.value or _default_workdir()))
  return 0


def _default_workdir() -> str:
  """runs/<config>, with the variant in the name: runs/digits_lt,seed=1."""
  path, _, variant = config_flags.get_config_filename(
    flags.FLAGS["config"]
  ).partition(":")
  name = pathlib.Path(path).stem + (f",{variant}" if variant else "")
  return f"runs/{re.sub(r'[^A-Za-z0-9_=,.-]', '_', name)}"


def _parse_flags(arguments: list[str]) -> list[str]:
  """Parses the flags; what is wrong with them becomes a ValueError."""
  for argument in arguments:
    path = re.fullmatch(r"--?config=([^:]*).*", argument)
    if path and not os.path.isfile(path[1]):
      raise ValueError(f"--config={path[1]}: there is no such file.")
  try:
    return flags.FLAGS(arguments)
  except (
    flags.Error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OSError,
    ImportError,
  ) as error:
    raise ValueError(_one_line(error)) from None


def _one_line(error: Exception) -> str:
  """The message without the traceback that config_flags puts into it."""
  text = str(error.args[0]) if error.args else str(error)
  *_, message = re.split(r"Traceback.*\n\w+Error: ", text, flags=re.DOTALL)
  return " ".join(message.split())


def run() -> None:
  """The command line: what users get wrong ends with one clear line."""
  try:
    app.run(main, flags_parser=_parse_flags)
  except (ValueError, FloatingPointError, OSError, ImportError) as error:
    sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
  run()
