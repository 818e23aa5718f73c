"""Networks from and to the names and layouts of torchvision and timm."""

import functools
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from blt_jax import models
from blt_jax.models import timm_names
from blt_jax.models.safetensors import Safetensors

_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
_TRACKED = "num_batches_tracked"
_LAST_LAYER = ("fc.", "classifier.")
# The files of DenseNet weights that torchvision publishes write "norm.1".
_OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
_TO_HWIO = (2, 3, 1, 0)
_TO_OIHW = (3, 2, 0, 1)

# ("params" or "batch_stats", module, ..., leaf)
_Path = tuple[str, ...]


def backbone_from_torchvision(
  name: str, state_dict: Mapping[str, Any]
) -> dict[str, Any]:
  """Variables of a backbone from a torchvision state dict.

  The last layer ("fc.*" or "classifier.*") and "*.num_batches_tracked" are left
  out. The names in torchvision's files of DenseNet weights, which differ from
  those of its modules ("norm.1" for "norm1"), are understood, too.

  Args:
    name: one of blt_jax.models.BACKBONES.
    state_dict: arrays by torchvision's names, convolutions as OIHW.

  Returns:
    {"params": ..., "batch_stats": ...} of float32 numpy arrays, for
    `models.create_backbone(name).apply`; what a model of
    `models.create_model` holds under "backbone" in each of the two.

  Raises:
    ValueError: if the backbone is unknown; if a tensor is missing, unexpected
      or of another shape than the backbone's.

  Example:
    >>> name = "resnet10"
    >>> init = functools.partial(models.create_backbone(name).init, train=False)
    >>> images = jnp.zeros((1, 32, 32, 3))
    >>> shapes = jax.eval_shape(init, jax.random.key(0), images)
    >>> variables = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes)
    >>> tensors = backbone_to_torchvision(name, variables)
    >>> again = backbone_from_torchvision(name, tensors)
    >>> again["params"]["conv1"]["kernel"].shape
    (7, 7, 3, 64)
  """
  paths = _paths(name)
  used = {
    _OLD_DENSENET.sub(r"\1\2", key): value
    for key, value in state_dict.items()
    if not key.startswith(_LAST_LAYER) and not key.endswith(_TRACKED)
  }
  expected = {_torch_name(path): _torch_shape(paths[path]) for path in paths}
  _check_names(f"{name}, state dict", used, expected)
  flat = {}
  for path in paths:
    key = _torch_name(path)
    value = np.asarray(used[key])
    _check_shape(f"{name}, state dict: {key!r}", value.shape, expected[key])
    if value.ndim == 4:
      value = value.transpose(_TO_HWIO)
    flat[path] = np.array(value, np.float32, order="C")
  return traverse_util.unflatten_dict(flat)


def backbone_from_safetensors(
  name: str, path: str | pathlib.Path
) -> dict[str, Any]:
  """Variables of a backbone from a safetensors file of torchvision or timm.

  The only kind of file that weights of strangers are read from: it holds no
  program. Names, types and shapes are checked before any tensor is read.

  Args:
    name: one of blt_jax.models.BACKBONES.
    path: of the file.

  Returns:
    As `backbone_from_torchvision`.

  Raises:
    ValueError: names the file, and what is wrong with it or the tensor that is
      missing, unexpected, no float or of another shape than the backbone's.
  """
  expected = {_torch_name(p): _torch_shape(s) for p, s in _paths(name).items()}
  with Safetensors(path) as file:
    return backbone_from_torchvision(name, _read(file, name, expected))


def network_from_safetensors(
  name: str,
  file: Safetensors,
  *,
  hidden: int,
  num_classes: int,
  bias: bool,
) -> dict[str, Any]:
  """Variables of a whole network from what `network_to_torchvision` gave.

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    file: opened; names, types and shapes are checked before a tensor is read.
    hidden: width of the layer between backbone and classifier.
    num_classes: C.
    bias: whether the classifier has one.

  Returns:
    {"params", "batch_stats"} of a model of `models.create_model`.

  Raises:
    ValueError: names the file and the tensor.
  """
  expected = {_torch_name(p): _torch_shape(s) for p, s in _paths(name).items()}
  head = _head(name)
  expected[f"{head}.0.weight"] = (hidden, _num_features(name))
  expected[f"{head}.0.bias"] = (hidden,)
  expected[f"{head}.2.weight"] = (num_classes, hidden)
  if bias:
    expected[f"{head}.2.bias"] = (num_classes,)
  tensors = _read(file, name, expected, with_head=True)
  backbone = backbone_from_torchvision(name, tensors)
  params: dict[str, Any] = {"backbone": backbone["params"]}
  for part, place in (("hidden", 0), ("classifier", 2)):
    weight = np.asarray(tensors[f"{head}.{place}.weight"], np.float32)
    params[part] = {"kernel": np.ascontiguousarray(weight.T)}
    if f"{head}.{place}.bias" in expected:
      bias_of = np.asarray(tensors[f"{head}.{place}.bias"], np.float32)
      params[part]["bias"] = bias_of
  return {
    "params": params,
    "batch_stats": {"backbone": backbone["batch_stats"]},
  }


def network_to_torchvision(
  name: str, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The torchvision state dict of a whole network.

  It is that of torchvision's network with the last layer, "fc" of a ResNet and
  "classifier" of the others, replaced by Sequential(Linear, ReLU, classifier),
  whose own tensors are "fc.0.weight", "fc.0.bias", "fc.2.weight" and, of a
  linear classifier, "fc.2.bias".

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    variables: {"params", "batch_stats"} of a model of `models.create_model`.

  Returns:
    As `backbone_to_torchvision`.

  Raises:
    ValueError: as `backbone_to_torchvision`.
  """
  params, stats = variables["params"], variables["batch_stats"]
  tensors = backbone_to_torchvision(
    name,
    {"params": params["backbone"], "batch_stats": stats["backbone"]},
  )
  for part, place in (("hidden", 0), ("classifier", 2)):
    for leaf, value in params[part].items():
      array = np.asarray(value, np.float32)
      key = f"{_head(name)}.{place}.{_LEAVES[leaf]}"
      tensors[key] = np.ascontiguousarray(array.T)
  return tensors


def _head(name: str) -> str:
  """What torchvision calls the last layer of a network."""
  if name.startswith(("densenet", "efficientnet")):
    return "classifier"
  return "fc"


def _read(
  file: Safetensors,
  name: str,
  expected: Mapping[str, tuple[int, ...]],
  *,
  with_head: bool = False,
) -> dict[str, np.ndarray]:
  """Tensors of a file by torchvision's names.

  Raises:
    ValueError: names the file, and the tensor that is missing, unexpected, no
      float or of another shape.
  """
  used = {}
  for key in file.tensors:
    ours = timm_names.to_torchvision(name, _OLD_DENSENET.sub(r"\1\2", key))
    left_out = ours.startswith(_LAST_LAYER) and not with_head
    if not left_out and not ours.endswith(_TRACKED):
      used[ours] = key
  _check_names(f"{file.path} for {name}", used, expected)
  for key, shape in expected.items():
    tensor, what = file.tensors[used[key]], f"{file.path} for {name}: {key!r}"
    _check_shape(what, tensor.shape, shape)
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
      raise ValueError(f"{what} is {tensor.dtype}, expected a float type")
  tensors = file.read(used.values())
  return {key: tensors[used[key]] for key in expected}


def backbone_to_torchvision(
  name: str, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The torchvision state dict of a backbone's variables, without last layer.

  Args:
    name: one of blt_jax.models.BACKBONES.
    variables: {"params": ..., "batch_stats": ...} of the backbone alone, as
      from `backbone_from_torchvision`.

  Returns:
    float32 arrays (and an int64 zero for each "num_batches_tracked") by
    torchvision's names, in its order, convolutions as OIHW.

  Raises:
    ValueError: if the backbone is unknown; if a variable is missing,
      unexpected or of another shape than the backbone's.

  Example:
    >>> name = "resnet10"
    >>> init = functools.partial(models.create_backbone(name).init, train=False)
    >>> images = jnp.zeros((1, 32, 32, 3))
    >>> shapes = jax.eval_shape(init, jax.random.key(0), images)
    >>> variables = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes)
    >>> tensors = backbone_to_torchvision(name, variables)
    >>> tensors["conv1.weight"].shape
    (64, 3, 7, 7)
  """
  paths = _paths(name)
  flat = traverse_util.flatten_dict(dict(variables))
  expected = {"/".join(path): shape for path, shape in paths.items()}
  _check_names(f"{name}, variables", map("/".join, flat), expected)
  state_dict: dict[str, np.ndarray] = {}
  for path, shape in paths.items():
    value = np.asarray(flat[path], np.float32)
    _check_shape(f"{name}, variables: {'/'.join(path)!r}", value.shape, shape)
    if value.ndim == 4:
      value = value.transpose(_TO_OIHW)
    key = _torch_name(path)
    state_dict[key] = np.array(value, order="C")
    if path[-1] == "var":
      key = key.removesuffix(_LEAVES["var"]) + _TRACKED
      state_dict[key] = np.zeros((), np.int64)
  return state_dict


@functools.cache
def _num_features(name: str) -> int:
  """Length of a backbone's feature vectors."""
  backbone, images = models.create_backbone(name), jnp.zeros((1, 32, 32, 3))
  features, _ = jax.eval_shape(
    lambda rng: backbone.init_with_output(rng, images, train=False),
    jax.random.key(0),
  )
  return features.shape[1]


@functools.cache
def _paths(name: str) -> dict[_Path, tuple[int, ...]]:
  """Shapes of a backbone's variables by path, in torchvision's order."""
  backbone = models.create_backbone(name)
  shapes: dict[_Path, tuple[int, ...]] = {}

  def init(rng: jax.Array) -> None:
    # Read while tracing: eval_shape would sort the modules by name, init
    # returns them as the backbone calls them, which is torchvision's order.
    images = jnp.zeros((1, 32, 32, 3))
    variables = backbone.init(rng, images, train=False)
    for path, value in traverse_util.flatten_dict(variables).items():
      shapes[path] = value.shape

  jax.eval_shape(init, jax.random.key(0))
  ordered = []
  for path in shapes:
    if path[0] == "params":
      ordered.append(path)
      mean = ("batch_stats", *path[1:-1], "mean")
      if path[-1] == "bias" and mean in shapes:
        ordered += [mean, (*mean[:-1], "var")]
  return {path: shapes[path] for path in ordered}


def _torch_name(path: _Path) -> str:
  module = ".".join(path[1:-1]).replace("_", ".")
  return f"{module}.{_LEAVES[path[-1]]}"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  if len(shape) == 4:
    return tuple(shape[i] for i in _TO_OIHW)
  return shape


def _check_names(
  what: str, found: Iterable[str], expected: Mapping[str, tuple[int, ...]]
) -> None:
  """Raises unless the names found are those expected."""
  found = dict.fromkeys(found)
  for name, shape in expected.items():
    if name not in found:
      raise ValueError(f"{what}: {name!r} is missing, expected shape {shape}")
  for name in found:
    if name not in expected:
      raise ValueError(
        f"{what}: {name!r} is unexpected; the {len(expected)} expected names "
        f"begin with {', '.join(map(repr, list(expected)[:3]))}"
      )


def _check_shape(
  what: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
  if shape != expected:
    raise ValueError(f"{what} has shape {shape}, expected {expected}")
