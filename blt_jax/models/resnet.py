"""ResNets as torchvision defines them, in NHWC, without the last layer.

Residual networks (He et al. 2016, arXiv:1512.03385); bottlenecks stride in
their 3x3 convolution ("v1.5"); ResNeXt (Xie et al. 2017, arXiv:1611.05431).
Modules carry torchvision's names with "_" for ".", see torch_names.py.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import layers

# Keyword arguments of ResNet by backbone name.
CONFIGS: dict[str, dict[str, Any]] = {
  "resnet10": {"stage_sizes": (1, 1, 1, 1)},
  "resnet18": {"stage_sizes": (2, 2, 2, 2)},
  "resnet34": {"stage_sizes": (3, 4, 6, 3)},
  "resnet50": {"stage_sizes": (3, 4, 6, 3), "bottleneck": True},
  "resnet101": {"stage_sizes": (3, 4, 23, 3), "bottleneck": True},
  "resnet152": {"stage_sizes": (3, 8, 36, 3), "bottleneck": True},
  "resnext50_32x4d": {
    "stage_sizes": (3, 4, 6, 3),
    "bottleneck": True,
    "groups": 32,
    "group_width": 4,
  },
  "small_resnet10": {
    "stage_sizes": (1, 1, 1, 1),
    "filters": 16,
    "small_stem": True,
  },
}


class BasicBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut.

  Attributes:
    filters: channels of the output.
    strides: of the first convolution and of the shortcut.
    conv: makes a convolution: (filters, kernel size, strides, name=).
    norm: makes a normalisation: (name=).
  """

  filters: int
  strides: int
  conv: layers.Layer
  norm: layers.Layer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h / strides, w / strides, filters]."""
    y = self.conv(self.filters, 3, self.strides, name="conv1")(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = self.conv(self.filters, 3, 1, name="conv2")(y)
    y = self.norm(name="bn2")(y)
    return nn.relu(y + _shortcut(self, x, self.filters))


class Bottleneck(nn.Module):
  """1x1, 3x3 (with the stride and the groups) and 1x1 convolutions.

  Attributes:
    filters: a quarter of the channels of the output.
    strides: of the second convolution and of the shortcut.
    conv: makes a convolution: (filters, kernel size, strides, name=).
    norm: makes a normalisation: (name=).
    groups: of the second convolution.
    group_width: channels of a group where `filters` is 64.
  """

  filters: int
  strides: int
  conv: layers.Layer
  norm: layers.Layer
  groups: int = 1
  group_width: int = 64

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h / strides, w / strides, 4 * filters]."""
    width = self.filters * self.group_width // 64 * self.groups
    y = self.conv(width, 1, 1, name="conv1")(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = self.conv(width, 3, self.strides, groups=self.groups, name="conv2")(y)
    y = nn.relu(self.norm(name="bn2")(y))
    y = self.conv(4 * self.filters, 1, 1, name="conv3")(y)
    y = self.norm(name="bn3")(y)
    return nn.relu(y + _shortcut(self, x, 4 * self.filters))


class ResNet(nn.Module):
  """Images to globally pooled features.

  Attributes:
    stage_sizes: blocks in each of the stages; a stage doubles the filters.
    bottleneck: Bottleneck blocks instead of BasicBlock.
    filters: of the stem and the first stage.
    groups: of the 3x3 convolutions of a Bottleneck.
    group_width: see Bottleneck.
    small_stem: a 3x3 convolution without stride or pooling, for images of
      about 32 pixels, instead of a strided 7x7 one and a max-pool.
    dtype: what convolutions compute in.
    axis_name: the mapped axis to sum batch statistics over, or None.
  """

  stage_sizes: tuple[int, ...]
  bottleneck: bool = False
  filters: int = 64
  groups: int = 1
  group_width: int = 64
  small_stem: bool = False
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """Features, float32 [n, features]; arguments as in `Network`."""
    conv = functools.partial(layers.conv, dtype=self.dtype)
    norm = functools.partial(
      layers.norm, self.dtype, self.axis_name, train, mask
    )
    x = images.astype(self.dtype)
    if self.small_stem:
      x = conv(self.filters, 3, 1, name="conv1")(x)
    else:
      x = conv(self.filters, 7, 2, name="conv1")(x)
    x = nn.relu(norm(name="bn1")(x))
    if not self.small_stem:
      x = layers.max_pool(x)
    block: layers.Layer = BasicBlock
    if self.bottleneck:
      block = functools.partial(
        Bottleneck, groups=self.groups, group_width=self.group_width
      )
    for stage, size in enumerate(self.stage_sizes):
      for index in range(size):
        x = block(
          filters=self.filters * 2**stage,
          strides=2 if stage > 0 and index == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"layer{stage + 1}_{index}",
        )(x)
    return layers.global_pool(x)


def _shortcut(
  block: BasicBlock | Bottleneck, x: jax.Array, filters: int
) -> jax.Array:
  """The block's input, convolved to the shape of its output if need be."""
  if block.strides == 1 and x.shape[-1] == filters:
    return x
  x = block.conv(filters, 1, block.strides, name="downsample_0")(x)
  return block.norm(name="downsample_1")(x)
