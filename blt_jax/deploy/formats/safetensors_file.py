"""One file with the weights under torchvision's names and all about them.

torchvision's network loads it (`strict=True`) with its last layer replaced by
Sequential(Linear, ReLU, the classifier); `convert` reads its backbone.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from blt_jax.config import SCHEMA
from blt_jax.config.rules import NUMBER, several
from blt_jax.deploy.model import VERSION, TrainedModel
from blt_jax.models import torch_weights
from blt_jax.models.safetensors import Safetensors

FILE = "model.safetensors"
FILES = (FILE,)

# Key of the file's own metadata, beside PyTorch's "format".
_ABOUT = "blt_jax"

# Fields of a configuration that the description repeats.
_RULES = {
  name: SCHEMA[f"{section}.{name}"].rule
  for section, names in (
    ("model", ("backbone", "classifier", "alpha", "beta", "hidden", "dtype")),
    ("dataset", ("image_size", "resize_size", "mean", "std")),
  )
  for name in names
}

# The rest of it, which nothing is computed from, as JSON's types.
_KINDS = {
  "blt_jax": str,
  "checkpoint": str,
  "stage": int,
  "epoch": int,
  "class_counts": list,
  "accuracy": dict,
  "config": dict,
}


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes model.safetensors: float32 tensors, and the description."""
  tensors = torch_weights.network_to_torchvision(
    model.about["backbone"], model.variables
  )
  metadata = {"format": "pt", _ABOUT: json.dumps(model.about)}
  (folder / FILE).write_bytes(save(tensors, metadata=metadata))


def read(path: pathlib.Path) -> TrainedModel:
  """The network in a file, which may come from a stranger.

  Args:
    path: of the file, or of an exported directory.

  Returns:
    The network.

  Raises:
    ValueError: names the file and what is wrong with it.
  """
  file = path / FILE if path.is_dir() else path
  if path.is_dir() and not file.exists():
    raise ValueError(
      f"{path} has no {FILE}; expected what --mode=export wrote with "
      "safetensors among its formats. The directory of a run is a --workdir."
    )
  with Safetensors(file) as opened:
    about = _check(file, opened.metadata.get(_ABOUT))
    variables = torch_weights.network_from_safetensors(
      about["backbone"],
      opened,
      hidden=about["hidden"],
      num_classes=len(about["class_names"]),
      bias=about["classifier"] == "linear",
    )
  return TrainedModel(about, variables)


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  model = read(folder)
  return lambda images: np.asarray(jax.jit(model.logits_of_pixels)(images))


def _check(file: pathlib.Path, text: str | None) -> dict[str, Any]:
  """The description in a file's metadata.

  Raises:
    ValueError: it is missing, or not what `trained.describe` gives.
  """
  try:
    about = json.loads(text or "null")
  except (ValueError, RecursionError):
    about = None
  if not isinstance(about, dict):
    raise ValueError(
      f"{file} does not say what network it is of; expected a file that "
      "--mode=export wrote."
    )
  if about.get("format") != VERSION:
    raise ValueError(
      f"{file} has format {about.get('format')!r}; this version of blt_jax "
      f"reads {VERSION}."
    )
  for name, rule in _RULES.items():
    if name not in about or not rule.accepts(about[name]):
      raise ValueError(
        f"{file}: {name} is {about.get(name)!r}; expected {rule.allowed}."
      )
  if about["resize_size"] < about["image_size"]:
    raise ValueError(
      f"{file}: resize_size is {about['resize_size']}; expected at least "
      f"image_size, {about['image_size']}."
    )
  names = about.get("class_names")
  if not (
    isinstance(names, list)
    and names
    and all(isinstance(name, str) for name in names)
  ):
    raise ValueError(f"{file}: class_names is no list of texts.")
  for name, kind in _KINDS.items():
    if not isinstance(about.get(name), kind):
      raise ValueError(
        f"{file}: {name} is {about.get(name)!r}; expected what --mode=export "
        "wrote."
      )
  offset = about.get("logit_offset")
  rule = several(NUMBER, length=len(names))
  if offset is not None and not rule.accepts(offset):
    raise ValueError(
      f"{file}: logit_offset is {offset!r}; expected null or {rule.allowed}."
    )
  return about
