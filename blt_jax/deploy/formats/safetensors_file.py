"""One file with the weights under torchvision's names and the description.

torchvision's network loads it (`strict=True`) with its last layer replaced by
Sequential(Linear, ReLU, the classifier); `blt_jax.load` reads all of it.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from blt_jax.config import GIVEN
from blt_jax.deploy.description import Description
from blt_jax.deploy.model import TrainedModel
from blt_jax.models import torch_network, torch_weights

FILE = "model.safetensors"

# Key of the description in the file's own metadata, beside PyTorch's "format".
_DESCRIPTION = "blt_jax"


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes model.safetensors: float32 tensors, and the description."""
  from safetensors.numpy import save_file

  description = model.description
  _check_named(description, "--format=safetensors")
  tensors = torch_network.network_to_torchvision(
    description.backbone, model.variables
  )
  if description.adapter_width:
    from blt_jax.system import console  # Reading does without it.

    console.say(
      f"note: {FILE} has the adapters as blocks.N.adapter.*, which timm does "
      "not know: it loads the rest with strict=False and gives other features"
    )
  text = json.dumps(description.to_json())
  save_file(tensors, folder / FILE, {"format": "pt", _DESCRIPTION: text})


def read(path: pathlib.Path) -> TrainedModel:
  """The network in a file, which may come from a stranger.

  Raises:
    ValueError: names the file and what is wrong with it.
    ImportError: safetensors is not installed.
  """
  file = path / FILE if path.is_dir() else path
  if path.is_dir() and not file.exists():
    raise ValueError(
      f"{path} has no {FILE}; expected what --mode=export wrote with "
      "safetensors among its formats. The directory of a run is a --workdir."
    )
  with torch_weights.open_safetensors(file) as opened:
    text = (opened.metadata() or {}).get(_DESCRIPTION)
  about = Description.from_json(_parsed(text), source=str(file))
  _check_named(about, str(file))
  variables = torch_network.network_from_safetensors(
    about.backbone,
    file,
    hidden=about.hidden,
    num_classes=len(about.class_names),
    bias=about.classifier == "linear",
    adapter_width=about.adapter_width,
  )
  return TrainedModel(about, variables)


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  classify = jax.jit(read(folder).logits_of_pixels)
  return lambda images: np.asarray(classify(images))


def _check_named(about: Description, source: str) -> None:
  """Raises ValueError for a network that only the program of its run knows."""
  if about.backbone == GIVEN:
    raise ValueError(
      f"{source}: the network is none of blt_jax's, and its tensors have no "
      "names of torchvision's; expected another --format, such as jax."
    )


def _parsed(text: str | None) -> Any:
  """The content of a text of JSON, None for another text."""
  try:
    return json.loads(text or "null")
  except (ValueError, RecursionError):
    return None
