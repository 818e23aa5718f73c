"""TensorFlow, imported on first use and kept off the accelerators."""

import contextlib
import functools
import os


@functools.cache
def tensorflow():
  """TensorFlow without the accelerators, because JAX needs their memory.

  Raises:
    ImportError: it is not installed.
  """
  # At level 2, which cli.py sets for JAX, TensorFlow prints a line for each
  # truncated JPEG, without its name.
  if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2") == "2":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  try:
    import tensorflow as tf
  except ImportError as error:
    raise ImportError(
      "TensorFlow is not installed; expected: pip install tensorflow-cpu"
    ) from error
  # It raises if the program initialised TensorFlow itself; that choice stands.
  with contextlib.suppress(RuntimeError):
    tf.config.set_visible_devices([], "GPU")
  return tf
