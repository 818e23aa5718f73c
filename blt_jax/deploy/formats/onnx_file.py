"""An ONNX file, for ONNX Runtime; needs the extra `export`."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from blt_jax.deploy.model import TrainedModel

FILE = "model.onnx"


class _Input(NamedTuple):
  """An input as jax2onnx takes it: a text in the shape is a free size."""

  shape: tuple[Any, ...]
  dtype: type


def require() -> None:
  """Raises ImportError, saying what to do, where a package is missing."""
  try:
    import jax2onnx  # noqa: F401
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
  except ImportError as error:
    raise ImportError(
      '--format=onnx needs `pip install ".[export]"` in an environment of '
      "its own, without the extra `train` (docs/export.md)."
    ) from error


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes a graph from "images", uint8, to "logits".

  The file's own metadata hold the description as JSON, under "blt_jax".
  """
  import jax2onnx
  import onnx

  size = model.input_size
  graph = jax2onnx.to_onnx(
    model.logits_of_pixels,
    inputs=[_Input(("batch", size, size, 3), np.uint8)],
    model_name="blt_jax",
    input_names=["images"],
    output_names=["logits"],
  )
  text = json.dumps(model.description.to_json())
  onnx.helper.set_model_props(graph, {"blt_jax": text})
  onnx.checker.check_model(graph)
  onnx.save(graph, folder / FILE)


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
    str(folder / FILE), providers=["CPUExecutionProvider"]
  )
  return lambda images: session.run(["logits"], {"images": images})[0]
