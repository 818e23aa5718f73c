"""An ONNX file, for ONNX Runtime; needs requirements-onnx.txt."""

import pathlib
from collections.abc import Callable

import numpy as np

from blt_jax.trained import TrainedModel

try:
  import jax2onnx
  import onnx
  import onnxruntime
except ImportError as error:
  raise ImportError(
    "--format=onnx needs an environment with requirements-onnx.txt, which "
    "can't be that of requirements.txt (docs/export.md)."
  ) from error

FILE = "model.onnx"
FILES = (FILE,)


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes a graph from "images", float32 and normalised, to "logits"."""
  size = model.image_size
  graph = jax2onnx.to_onnx(
    model.logits,
    inputs=[("batch", size, size, 3)],
    model_name="blt_jax",
  )
  onnx.checker.check_model(graph)
  onnx.save(graph, folder / FILE)


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`; normalises by what model.json says."""
  session = onnxruntime.InferenceSession(
    str(folder / FILE), providers=["CPUExecutionProvider"]
  )
  (images_name,) = (entry.name for entry in session.get_inputs())

  def classify(images: np.ndarray) -> np.ndarray:
    (logits,) = session.run(None, {images_name: images})
    return logits

  return classify
