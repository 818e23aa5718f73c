"""How deep in a network a parameter lies: stem, blocks, last layers.

A block is what a family repeats: a residual block, a dense layer, an inverted
bottleneck, a transformer's block. The groups are timm's (`group_matcher`) but
for CLIP's normalisation before the blocks: it belongs to the stem here, where
timm's pattern puts it with the last one.
"""

from collections.abc import Sequence

from blt_jax import models


def blocks(backbone: str) -> list[tuple[str, ...]]:
  """The modules and parameters right below a backbone, from stem to features.

  Args:
    backbone: one of blt_jax.models.BACKBONES.

  Returns:
    Names of the stem, then those of each block in turn, then those of the
    layers behind the blocks, which a ResNet does not have. What leads from one
    stage to the next is in a block: a ConvNeXt's downsampling in the one after
    it, a DenseNet's transition in the one before it.

  Raises:
    ValueError: if the name is unknown.
  """
  network = models.create_backbone(backbone)
  family = type(network).__name__
  return _FAMILIES[family](network)


def num_blocks(backbone: str) -> int:
  """How many blocks a backbone has, as `blocks` counts them."""
  return len(blocks(backbone)) - 2


def depth_of(backbone: str, path: Sequence[str]) -> int:
  """The depth of a parameter of a network.

  Args:
    backbone: one of blt_jax.models.BACKBONES.
    path: names from the top of the parameters on, such as ("backbone",
      "layer1_0", "conv1", "kernel"), "hidden" or "classifier" first. What lies
      within a block belongs to it, whatever it is.

  Returns:
    0 for the stem, the number of its block, from 1, for a parameter of a block,
    and `num_blocks` + 1 for what is behind the blocks.

  Raises:
    ValueError: if the backbone has no such part.

  Example:
    >>> depth_of("resnet10", ("backbone", "layer1_0", "conv1", "kernel"))
    1
  """
  groups = blocks(backbone)
  if path[0] in ("hidden", "classifier"):
    return len(groups) - 1
  for depth, names in enumerate(groups):
    if path[0] == "backbone" and path[1] in names:
      return depth
  raise ValueError(
    f"parameter {'/'.join(path)} has no depth in {backbone}; expected one of "
    "its stem, of a block or of the layers behind them."
  )


def _resnet(network) -> list[tuple[str, ...]]:
  inner = [
    (f"layer{stage}_{index}",)
    for stage, size in enumerate(network.stage_sizes, start=1)
    for index in range(size)
  ]
  return [("conv1", "bn1"), *inner, ()]


def _densenet(network) -> list[tuple[str, ...]]:
  sizes = network.block_sizes
  inner: list[tuple[str, ...]] = []
  for number, size in enumerate(sizes, start=1):
    name = f"features_denseblock{number}_denselayer"
    inner += [(f"{name}{index}",) for index in range(1, size + 1)]
    if number < len(sizes):
      inner[-1] += (f"features_transition{number}",)
  last = f"features_norm{len(sizes) + 1}"
  return [("features_conv0", "features_norm0"), *inner, (last,)]


def _efficientnet(network) -> list[tuple[str, ...]]:
  inner = [
    (f"features_{number}_{index}",)
    for number, stage in enumerate(network.stages, start=1)
    for index in range(stage.blocks)
  ]
  last = f"features_{len(network.stages) + 1}"
  stem = ("features_0_0", "features_0_1")
  return [stem, *inner, (f"{last}_0", f"{last}_1")]


def _vit(network) -> list[tuple[str, ...]]:
  stem = ("cls_token", "reg_token", "pos_embed", "patch_embed__proj")
  inner = [(f"blocks__{index}",) for index in range(network.depth)]
  return [(*stem, "norm_pre"), *inner, ("norm",)]


def _convnext(network) -> list[tuple[str, ...]]:
  inner: list[tuple[str, ...]] = []
  for stage, depth in enumerate(network.depths):
    name = f"stages__{stage}"
    own: list[tuple[str, ...]] = [
      (f"{name}__blocks__{index}",) for index in range(depth)
    ]
    if stage:
      own[0] = (f"{name}__downsample__0", f"{name}__downsample__1", *own[0])
    inner += own
  return [("stem__0", "stem__1"), *inner, ("head__norm",)]


# Class of a backbone -> its `blocks`.
_FAMILIES = {
  "ResNet": _resnet,
  "DenseNet": _densenet,
  "EfficientNet": _efficientnet,
  "ViT": _vit,
  "ConvNeXt": _convnext,
}
