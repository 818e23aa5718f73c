"""TensorFlow, imported on first use and kept off the accelerators."""

import contextlib
import functools
import os
from collections.abc import Callable

from blt_jax.data import text

before_import: list[Callable[[], None]] = []
"""What the command line does before TensorFlow is imported."""


@functools.cache
def tensorflow():
  """TensorFlow without the accelerators, because JAX needs their memory.

  Raises:
    ImportError: it is not installed, or can't be imported.
  """
  # At level 2, which cli.py sets for JAX, TensorFlow prints a line for each
  # truncated JPEG, without its name.
  if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2") == "2":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  # It only reads images here: no arithmetic that rounds in another way.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  for function in before_import:
    function()
  try:
    import tensorflow as tf

    # It raises if the program initialised TensorFlow itself; that choice
    # stands.
    with contextlib.suppress(RuntimeError):
      tf.config.set_visible_devices([], "GPU")
  except ModuleNotFoundError as error:
    if error.name != "tensorflow":
      raise _broken(error) from error
    raise ImportError(
      "TensorFlow is not installed; expected: pip install tensorflow-cpu"
    ) from error
  # Of other versions of NumPy or protobuf than it needs come errors of many
  # types, and of a half removed one an AttributeError.
  except Exception as error:
    raise _broken(error) from error
  return tf


def _broken(error: Exception) -> ImportError:
  return ImportError(
    f"TensorFlow is installed but can't be used ({text.reason(error)[:200]}); "
    "expected: pip install --force-reinstall tensorflow-cpu"
  )
