"""Converts networks from and to the weights of torchvision and timm."""

import contextlib
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from blt_jax import models
from blt_jax.models import torch_names
from blt_jax.models.torch_names import LEAVES, TO_TORCH, TRACKED, Path

# Axes of PyTorch's kernels by their number, in our order.
_FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}
# safetensors' names of the types that weights may have.
_FLOATS = ("F64", "F32", "F16", "BF16")
# Names of the adapters in an export of this package.
_ADAPTER = re.compile(r"blocks\.\d+\.adapter\.")
# First bytes of PyTorch's files: archives, and pickles of older versions.
_PICKLES = (b"PK\x03\x04", b"\x80")


def backbone_from_torchvision(
  name: str, state_dict: Mapping[str, Any], *, image_size: int | None = None
) -> dict[str, Any]:
  """Variables of a backbone from a torchvision state dict.

  The last layer ("fc.*", "classifier.*", a vision transformer's "head.*", a
  ConvNeXt's "head.fc.*") and "*.num_batches_tracked" are left out. timm's names
  are understood as well, and those in torchvision's files of DenseNet weights,
  which differ from its modules' ("norm.1" for "norm1"). The backbone may be a
  part of another network ("module.encoder.conv1.weight"), whose other parts
  are left out.

  Args:
    name: one of blt_jax.models.BACKBONES.
    state_dict: arrays by torchvision's or timm's names, convolutions as OIHW.
    image_size: side of the images to come, pixels, for whose patches position
      embeddings are resampled. With None they keep the grid that they have, and
      the network resamples them for its images each time.

  Returns:
    {"params": ..., "batch_stats": ...} of float32 numpy arrays, for
    `models.create_backbone(name).apply`; what a model of
    `models.create_model` holds under "backbone" in each of the two. Without
    batch normalisation "batch_stats" is empty, and a model has none at all.

  Raises:
    ValueError: if the backbone is unknown; if a tensor is missing, unexpected
      or of another shape than the backbone's; if the backbone takes no images
      of that size.

  Example:
    >>> tensors = {
    ...   name: np.ones(shape)
    ...   for name, shape in torch_names.torch_shapes("resnet10").items()
    ... }
    >>> variables = backbone_from_torchvision("resnet10", tensors)
    >>> variables["params"]["conv1"]["kernel"].shape
    (7, 7, 3, 64)
  """
  expected = torch_names.torch_shapes(name)
  if image_size and (sizes := models.expected_size(name, image_size)):
    raise ValueError(
      f"image_size is {image_size}; expected {sizes}, for {name}."
    )
  what = f"{name}, state dict"
  used = {
    ours: state_dict[key]
    for ours, key in _tensors_of(what, name, state_dict).items()
  }
  _check_names(f"{name}, state dict", used, expected)
  flat: dict[Path, Any] = {}
  for path in torch_names.paths(name):
    key = torch_names.torch_name(name, path)
    value = np.asarray(used[key])
    _check_shape(f"{name}, state dict: {key!r}", value.shape, expected[key])
    if value.ndim in _FROM_TORCH:
      value = value.transpose(_FROM_TORCH[value.ndim])
    flat[path] = np.array(value, np.float32, order="C")
    if image_size and key == torch_names.POSITIONS:
      from blt_jax.models import vit  # Few backbones have position embeddings.

      side = image_size // expected[torch_names.PATCHES][-1]
      flat[path] = vit.resample_positions(flat[path], (side, side))
  return {"batch_stats": {}, **traverse_util.unflatten_dict(flat)}


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
    >>> paths = torch_names.paths("resnet10")
    >>> ones = {path: np.ones(shape) for path, shape in paths.items()}
    >>> variables = traverse_util.unflatten_dict(ones)
    >>> tensors = backbone_to_torchvision("resnet10", variables)
    >>> tensors["conv1.weight"].shape
    (64, 3, 7, 7)
  """
  paths = torch_names.paths(name)
  flat = traverse_util.flatten_dict(dict(variables))
  expected = {"/".join(path): shape for path, shape in paths.items()}
  _check_names(f"{name}, variables", map("/".join, flat), expected)
  state_dict: dict[str, np.ndarray] = {}
  for path, shape in paths.items():
    value = np.asarray(flat[path], np.float32)
    _check_shape(f"{name}, variables: {'/'.join(path)!r}", value.shape, shape)
    if value.ndim in TO_TORCH:
      value = value.transpose(TO_TORCH[value.ndim])
    key = torch_names.torch_name(name, path)
    state_dict[key] = np.array(value, order="C")
    if path[-1] == "var":
      key = key.removesuffix(LEAVES["var"]) + TRACKED
      state_dict[key] = np.zeros((), np.int64)
  return state_dict


def backbone_from_safetensors(
  name: str,
  path: str | pathlib.Path,
  *,
  image_size: int | None = None,
  say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
  """Variables of a backbone from a safetensors file of torchvision or timm.

  Weights of strangers are read from safetensors files only, because these hold
  no program. Names, types and shapes are checked before a tensor is read.

  Args:
    name: one of blt_jax.models.BACKBONES.
    path: of the file.
    image_size: as for `backbone_from_torchvision`.
    say: is called with a line about what is left out or resampled.

  Returns:
    As `backbone_from_torchvision`.

  Raises:
    ValueError: names the file, and what is wrong with it or the tensor that is
      missing, unexpected, not float or of another shape than the backbone's.
    ImportError: safetensors is not installed.
  """
  expected = torch_names.torch_shapes(name)
  say = say or (lambda line: None)
  tensors = read_tensors(path, name, expected, say=say)
  found = backbone_from_torchvision(name, tensors, image_size=image_size)
  if (given := tensors.get(torch_names.POSITIONS)) is not None:
    taken = found["params"][torch_names.POSITIONS]
    old, new = (math.isqrt(each.shape[1]) for each in (given, taken))
    if old != new:
      say(
        f"{path}: position embeddings of {old} x {old} patches are resampled "
        f"to the {new} x {new} of images of {image_size} pixels"
      )
  return found


@contextlib.contextmanager
def open_safetensors(path: str | pathlib.Path) -> Iterator[Any]:
  """Opens a file that may come from a stranger; reads its header.

  safetensors compares what the header claims with the size of the file.

  Args:
    path: of the file.

  Yields:
    What `safetensors.safe_open` gives.

  Raises:
    ValueError: it can't be opened, or is damaged; names the file.
    ImportError: safetensors is not installed.
  """
  try:
    from safetensors import SafetensorError, safe_open
  except ImportError as error:
    raise ImportError(
      f"{path}: safetensors is not installed; expected "
      '`pip install "blt_jax[train]"`.'
    ) from error
  try:
    with open(path, "rb") as file:
      beginning = file.read(8)
    opened = safe_open(path, framework="numpy")
  except OSError as error:
    raise ValueError(
      f"{path}: {error.strerror}; expected a safetensors file."
    ) from None
  except SafetensorError as error:
    reason = str(error).removeprefix("Error while deserializing header: ")
    what = f"not a whole safetensors file ({reason})"
    how = "one that safetensors wrote"
    if beginning.startswith(_PICKLES):
      what = "a file of PyTorch's that can run programs"
      how = (
        "safetensors. Where you trust it, save its tensors with "
        "safetensors.torch.save_file"
      )
    raise ValueError(f"{path}: {what}; expected {how}.") from None
  with opened:
    yield opened


def _tensors_of(what: str, name: str, keys: Iterable[str]) -> dict[str, str]:
  """`torch_names.backbone_tensors`; its message begins with `what`."""
  try:
    return torch_names.backbone_tensors(name, keys)
  except ValueError as error:
    raise ValueError(f"{what}: {error}.") from None


def _left_out(name: str, used: Mapping[str, str], keys: Iterable[str]) -> str:
  """A clause about what else a file has than the backbone, or ""."""
  first = next(iter(torch_names.torch_shapes(name)))
  taken = set(used.values())
  others = [k for k in keys if k not in taken and not k.endswith(TRACKED)]
  if torch_names.to_torchvision(name, used[first]) == first:
    adapters = [key for key in others if _ADAPTER.match(key)]
    head = ", ".join(repr(key) for key in others if key not in adapters)
    clauses = [f"its last layer is left out ({head})"] * bool(head)
    if adapters:
      clauses.append(
        f"its adapters are left out ({len(adapters)} tensors, such as "
        f"{adapters[0]!r})"
      )
    return "; ".join(clauses)
  clause = f"{used[first]!r} is taken for {first!r}"
  if others:
    clause += f"; left out: {len(others)} other tensors, such as {others[0]!r}"
  return clause


def read_tensors(
  path: str | pathlib.Path,
  name: str,
  expected: Mapping[str, tuple[int, ...]],
  *,
  with_head: bool = False,
  say: Callable[[str], object] = lambda line: None,
) -> dict[str, np.ndarray]:
  """Tensors of a file by torchvision's names.

  Args:
    path: of the file.
    name: of the backbone, one of blt_jax.models.BACKBONES.
    expected: shapes by torchvision's names.
    with_head: whether these include the network's last layer and its adapters,
      if it has any; else both are left out.
    say: as for `backbone_from_safetensors`.

  Raises:
    ValueError: names the file, and the tensor that is missing, unexpected, not
      float or of another shape.
  """
  with open_safetensors(path) as file:
    keys = sorted(file.keys())
    used = _tensors_of(f"{path} for {name}", name, keys)
    if with_head:
      used |= {k: k for k in keys if torch_names.is_last_layer(name, k)}
    else:
      used = {k: key for k, key in used.items() if not _ADAPTER.match(k)}
    _check_names(f"{path} for {name}", used, expected)
    if clause := _left_out(name, used, keys):
      say(f"{path}: {clause}")
    for key, shape in expected.items():
      tensor, what = file.get_slice(used[key]), f"{path} for {name}: {key!r}"
      _check_shape(what, tuple(tensor.get_shape()), shape)
      if tensor.get_dtype() not in _FLOATS:
        raise ValueError(
          f"{what} has type {tensor.get_dtype()}; expected one of "
          f"{', '.join(_FLOATS)}."
        )
    return {key: file.get_tensor(used[key]) for key in expected}


def _check_names(
  what: str, found: Iterable[str], expected: Mapping[str, tuple[int, ...]]
) -> None:
  """Raises unless the names found are those expected."""
  found = dict.fromkeys(found)
  for name, shape in expected.items():
    if name not in found:
      there = "" if found.keys() & expected.keys() else _examples(found)
      raise ValueError(
        f"{what}: {name!r} is missing; expected shape {shape}{there}."
      )
  for name in found:
    if name not in expected:
      raise ValueError(
        f"{what}: {name!r} is unexpected; expected {len(expected)} names that "
        f"begin with {', '.join(map(repr, list(expected)[:3]))}."
      )


def _examples(names: Iterable[str]) -> str:
  """Names that a file has in place of those expected."""
  some = ", ".join(map(repr, sorted(names)[:3]))
  return f". Its names are such as {some}" if some else ". It has no tensors"


def _check_shape(
  what: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
  """Raises unless a shape is the one expected.

  Position embeddings may be of another square of patches.
  """
  if shape == expected:
    return
  others = ""
  if what.endswith(f"{torch_names.POSITIONS}'"):
    if torch_names.is_square(shape, expected):
      return
    others = ", or those of another square of patches"
  raise ValueError(f"{what} has shape {shape}; expected {expected}{others}.")
