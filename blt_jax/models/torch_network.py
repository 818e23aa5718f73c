"""Whole networks as tensors of torchvision and timm.

Their last layer and the adapters of vision transformers are ours.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from blt_jax import models
from blt_jax.models import parts, torch_names, torch_weights
from blt_jax.models.torch_names import LEAVES, Path

# Parts of our networks, and their places in torchvision's last layer; where
# there is no hidden layer, the classifier is that layer.
_HEAD = {"hidden": ".0", "classifier": ".2"}
_CLASSIFIER_ALONE = {"classifier": ""}


def network_from_safetensors(
  name: str,
  path: str | pathlib.Path,
  *,
  hidden: int,
  num_classes: int,
  bias: bool,
  adapter_width: int = 0,
) -> dict[str, Any]:
  """Variables of a whole network from a file of `network_to_torchvision`.

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    path: of the file.
    hidden: width of the layer between backbone and classifier, 0 for none.
    num_classes: C.
    bias: whether the classifier has one.
    adapter_width: of the adapters, 0 for none.

  Returns:
    {"params", "batch_stats"} of a model of `models.create_model`.

  Raises:
    ValueError: names the file and the tensor.
    ImportError: safetensors is not installed.
  """
  expected = torch_names.torch_shapes(name)
  adapters = dict(_adapters(name, adapter_width)) if adapter_width else {}
  for place, shape in adapters.items():
    expected[torch_names.torch_name(name, place)] = shape[::-1]
  head, layers = torch_names.last_layer(name), _CLASSIFIER_ALONE
  inputs = _num_features(name)
  if hidden:
    layers = _HEAD
    expected[f"{head}{layers['hidden']}.weight"] = (hidden, inputs)
    expected[f"{head}{layers['hidden']}.bias"] = (hidden,)
    inputs = hidden
  last = f"{head}{layers['classifier']}"
  expected[f"{last}.weight"] = (num_classes, inputs)
  if bias:
    expected[f"{last}.bias"] = (num_classes,)
  tensors = torch_weights.read_tensors(path, name, expected, with_head=True)
  inner = {
    place: _ours(tensors.pop(torch_names.torch_name(name, place)))
    for place in adapters
  }
  backbone = torch_weights.backbone_from_torchvision(name, tensors)
  inner |= traverse_util.flatten_dict({"params": backbone["params"]})
  params: dict[str, Any] = {
    "backbone": traverse_util.unflatten_dict(inner)["params"]
  }
  for part, suffix in layers.items():
    whole = f"{head}{suffix}"
    leaves = {"kernel": f"{whole}.weight", "bias": f"{whole}.bias"}
    params[part] = {
      leaf: _ours(tensors[key])
      for leaf, key in leaves.items()
      if key in expected
    }
  stats = backbone["batch_stats"]
  return {
    "params": params,
    "batch_stats": {"backbone": stats} if stats else {},
  }


def network_to_torchvision(
  name: str, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The torchvision state dict of a whole network.

  It fits torchvision's network after its last layer ("fc" of a ResNet,
  "classifier" of the others) was replaced by
  Sequential(Linear, ReLU, classifier). The tensors of that layer are
  "fc.0.weight", "fc.0.bias", "fc.2.weight" and, with a linear classifier,
  "fc.2.bias"; without a hidden layer "fc.weight" and "fc.bias", as the layer
  was called before. Adapters, which timm does not have, are
  "blocks.N.adapter.*".

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    variables: {"params", "batch_stats"} of a model of `models.create_model`.

  Returns:
    As `torch_weights.backbone_to_torchvision`.

  Raises:
    ValueError: as `torch_weights.backbone_to_torchvision`.
  """
  params, stats = variables["params"], variables["batch_stats"]
  inner = traverse_util.flatten_dict({"params": params["backbone"]})
  adapters = {
    path: inner.pop(path) for path in [*inner] if parts.ADAPTER in path
  }
  tensors = torch_weights.backbone_to_torchvision(
    name,
    {
      **traverse_util.unflatten_dict(inner),
      "batch_stats": stats.get("backbone", {}),
    },
  )
  for path, value in adapters.items():
    tensors[torch_names.torch_name(name, path)] = _ours(value)
  layers = _HEAD if "hidden" in params else _CLASSIFIER_ALONE
  for part, suffix in layers.items():
    for leaf, value in params[part].items():
      key = f"{torch_names.last_layer(name)}{suffix}.{LEAVES[leaf]}"
      tensors[key] = _ours(value)
  return tensors


def _ours(value: Any) -> np.ndarray:
  """A vector as it is, a matrix transposed: float32, from and to PyTorch."""
  return np.array(np.asarray(value).T, np.float32, order="C")


def _adapters(name: str, width: int) -> Iterator[tuple[Path, tuple[int, ...]]]:
  """Paths and shapes of the adapters' parameters."""
  network: Any = models.create_backbone(name)
  channels = network.width
  shapes = {
    ("norm", "scale"): (channels,),
    ("norm", "bias"): (channels,),
    ("down", "kernel"): (channels, width),
    ("down", "bias"): (width,),
    ("up", "kernel"): (width, channels),
    ("up", "bias"): (channels,),
    ("factor",): (1,),
  }
  for index in range(network.depth):
    for leaf, shape in shapes.items():
      yield ("params", f"blocks__{index}", parts.ADAPTER, *leaf), shape


@functools.cache
def _num_features(name: str) -> int:
  """Length of a backbone's feature vectors."""
  backbone, size = models.create_backbone(name), torch_names.ANY_SIZE
  features, _ = jax.eval_shape(
    functools.partial(backbone.init_with_output, train=False),
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
  )
  return features.shape[1]
