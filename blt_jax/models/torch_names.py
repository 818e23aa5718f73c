"""The names of our backbones' tensors in torchvision and timm.

timm has torchvision's names for ResNet and DenseNet, except for the last layer,
and names of its own for EfficientNet. The vision transformers, ConvNeXts and
EfficientNet-Lite0 are timm's: where this package speaks of torchvision's names,
theirs are timm's.
"""

import functools
import math
import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import traverse_util

from blt_jax import models

# ("params" or "batch_stats", module, ..., leaf)
Path = tuple[str, ...]

# The last part of the names of counters, which this package does not need.
TRACKED = "num_batches_tracked"
LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
# Backbones whose modules carry timm's names, with "__" for ".".
_TIMM = ("vit_", "convnext_")
# A vision transformer's position embeddings, and the kernel of its patches.
POSITIONS, PATCHES = "pos_embed", "patch_embed.proj.weight"
# Axes of a kernel by their number: HWIO of our [h, w, in, out] as OIHW, and a
# dense layer's [in, out] as [out, in].
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
# A size of images that every backbone takes.
ANY_SIZE = 224

# The files of DenseNet weights that torchvision publishes write "norm.1".
_OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
# timm's "blocks.S.B.": torchvision has "features.S+1.B.block.".
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
# Parts of a block that expands (torchvision's MBConv with 4 of them) and of the
# first one, which does not (3 of them).
_EXPANDING = {
  "conv_pw": "0.0",
  "bn1": "0.1",
  "conv_dw": "1.0",
  "bn2": "1.1",
  "se.conv_reduce": "2.fc1",
  "se.conv_expand": "2.fc2",
  "conv_pwl": "3.0",
  "bn3": "3.1",
}
_FIRST = {
  "conv_dw": "0.0",
  "bn1": "0.1",
  "se.conv_reduce": "1.fc1",
  "se.conv_expand": "1.fc2",
  "conv_pw": "2.0",
  "bn2": "2.1",
}
# Parts of names from PyTorch's wrappers: DataParallel, torch.compile, FSDP.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module")
_OUTER = {
  "conv_stem": "features.0.0",
  "bn1": "features.0.1",
  "conv_head": "features.8.0",
  "bn2": "features.8.1",
}


@functools.cache
def paths(name: str) -> dict[Path, tuple[int, ...]]:
  """Shapes of a backbone's variables by path, in torchvision's order.

  Args:
    name: one of blt_jax.models.BACKBONES.

  Raises:
    ValueError: for another name.
  """
  backbone = models.create_backbone(name)
  shapes: dict[Path, tuple[int, ...]] = {}

  def init(rng: jax.Array) -> None:
    # Read while tracing: eval_shape would sort the modules by name, init
    # returns them as the backbone calls them, which is torchvision's order.
    images = jnp.zeros((1, ANY_SIZE, ANY_SIZE, 3))
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


def torch_name(name: str, path: Path) -> str:
  """The name that torchvision gives to a variable of a backbone."""
  leaf = LEAVES.get(path[-1], path[-1])
  if name.startswith(_TIMM):
    return ".".join((*path[1:-1], leaf)).replace("__", ".")
  module = ".".join(path[1:-1]).replace("_", ".")
  if name.startswith("tf_"):
    module = _timm_module(module)
  return f"{module}.{leaf}"


def _timm_module(module: str) -> str:
  """The name in timm of an EfficientNet's module, from torchvision's."""
  for theirs, ours in _OUTER.items():
    if module == ours:
      return theirs
  _, stage, number, _, part = module.split(".", 4)
  parts = _EXPANDING if stage != "1" else _FIRST
  (theirs,) = (theirs for theirs, ours in parts.items() if ours == part)
  return f"blocks.{int(stage) - 1}.{number}.{theirs}"


def torch_shapes(name: str) -> dict[str, tuple[int, ...]]:
  """Shapes of a backbone's tensors by torchvision's names, in its order."""
  return {
    torch_name(name, path): tuple(shape[axis] for axis in TO_TORCH[len(shape)])
    if len(shape) in TO_TORCH
    else shape
    for path, shape in paths(name).items()
  }


def last_layer(name: str) -> str:
  """The name that torchvision gives to the last layer of a network."""
  if name.startswith("densenet") or "efficientnet" in name:
    return "classifier"
  if name.startswith("convnext_"):
    return "head.fc"
  return "head" if name.startswith("vit_") else "fc"


def is_last_layer(name: str, key: str) -> bool:
  """Whether a tensor of a file belongs to a network's last layer."""
  return key.startswith(("fc.", "classifier.", f"{last_layer(name)}."))


def to_torchvision(name: str, key: str) -> str:
  """The name that torchvision gives to a tensor in a file.

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    key: torchvision's or timm's; others are returned as they are, like all of
      a network that has timm's names alone.
  """
  key = _OLD_DENSENET.sub(r"\1\2", key)
  if not name.startswith("efficientnet"):
    return key
  module, _, leaf = key.rpartition(".")
  if module in _OUTER:
    return f"{_OUTER[module]}.{leaf}"
  block = _BLOCK.fullmatch(module)
  if not block:
    return key
  stage, number, part = int(block[1]), block[2], block[3]
  parts = _EXPANDING if stage else _FIRST
  if part not in parts:
    return key
  return f"features.{stage + 1}.{number}.block.{parts[part]}.{leaf}"


def is_square(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
  """Whether position embeddings are of a square of patches.

  Args:
    shape: theirs.
    expected: of the backbone's own; one more than a square where the class
      token has an embedding.
  """
  if len(shape) != 3 or shape[::2] != expected[::2]:
    return False
  count = shape[1] - (expected[1] - math.isqrt(expected[1]) ** 2)
  return count > 0 and math.isqrt(count) ** 2 == count


def backbone_tensors(name: str, keys: Iterable[str]) -> dict[str, str]:
  """{torchvision's name: name in a file} of the tensors of a backbone.

  Where the file holds the backbone as a part of another network, such as
  "module.encoder.conv1.weight", the other parts are left out.

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    keys: names in the file, those of the last layer included.

  Raises:
    ValueError: the file holds several such networks.
  """
  keys = list(keys)
  plain = {_without_wrappers(key): key for key in keys}
  if len(plain) < len(keys):  # The file holds a network with and without one.
    plain = {key: key for key in keys}
  expected = torch_shapes(name)
  first = next(iter(expected))
  prefixes = {
    prefix
    for key in plain
    for prefix in _prefixes(key)
    if to_torchvision(name, key.removeprefix(prefix)) == first
  }
  if "" in prefixes or not prefixes:
    return _below(name, plain, "")
  found = [_below(name, plain, prefix) for prefix in sorted(prefixes)]
  whole = [tensors for tensors in found if tensors.keys() == expected.keys()]
  if len(whole) > 1:
    networks = ", ".join(repr(tensors[first]) for tensors in whole)
    raise ValueError(
      f"it holds {len(whole)} networks: {first!r} may be {networks}; expected "
      "the tensors of one of them"
    )
  return max(found, key=lambda tensors: len(tensors.keys() & expected.keys()))


def _without_wrappers(key: str) -> str:
  return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _prefixes(key: str) -> list[str]:
  """The beginnings of a name that end with a dot, the empty one included."""
  return ["", *(key[: match.end()] for match in re.finditer(r"\.", key))]


def _below(name: str, keys: dict[str, str], prefix: str) -> dict[str, str]:
  """`backbone_tensors` of the keys with a prefix, which is left out."""
  tensors = {}
  for key, original in keys.items():
    if key.startswith(prefix):
      ours = to_torchvision(name, key.removeprefix(prefix))
      if not is_last_layer(name, ours) and not ours.endswith(TRACKED):
        tensors[ours] = original
  return tensors
