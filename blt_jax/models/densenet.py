"""DenseNets as torchvision defines them, in NHWC, without the last layer.

Densely connected networks with bottlenecks and compression, "DenseNet-BC"
(Huang et al. 2017, arXiv:1608.06993). Modules carry torchvision's names with
"_" for ".", see torch_names.py.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import layers

# Keyword arguments of DenseNet by backbone name.
CONFIGS: dict[str, dict[str, Any]] = {
  "densenet121": {"block_sizes": (6, 12, 24, 16)},
}

# Channels of a layer's bottleneck, in multiples of those that the layer adds.
_BOTTLENECK = 4


class DenseLayer(nn.Module):
  """1x1 and 3x3 convolutions, each after normalisation and ReLU.

  Attributes:
    growth: channels that it adds.
    conv: makes a convolution: (filters, kernel size, strides, name=).
    norm: makes a normalisation: (name=).
  """

  growth: int
  conv: layers.Layer
  norm: layers.Layer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h, w, c + growth], its input first."""
    y = nn.relu(self.norm(name="norm1")(x))
    y = self.conv(_BOTTLENECK * self.growth, 1, 1, name="conv1")(y)
    y = nn.relu(self.norm(name="norm2")(y))
    y = self.conv(self.growth, 3, 1, name="conv2")(y)
    return jnp.concatenate([x, y], axis=3)


class Transition(nn.Module):
  """Halves channels, height and width.

  Attributes:
    conv: makes a convolution: (filters, kernel size, strides, name=).
    norm: makes a normalisation: (name=).
  """

  conv: layers.Layer
  norm: layers.Layer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h / 2, w / 2, c / 2]."""
    y = nn.relu(self.norm(name="norm")(x))
    y = self.conv(x.shape[3] // 2, 1, 1, name="conv")(y)
    return layers.halve(y)


class DenseNet(nn.Module):
  """Images to globally pooled features.

  Images of less than 29 pixels reach one pixel before the last transition,
  which then halves the channels only; torchvision refuses such images.

  Attributes:
    block_sizes: layers in each of the dense blocks.
    growth: channels that a layer adds.
    filters: of the stem.
    dtype: what convolutions compute in.
    axis_name: the mapped axis to sum batch statistics over, or None.
  """

  block_sizes: tuple[int, ...]
  growth: int = 32
  filters: int = 64
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
    conv = functools.partial(layers.conv, fan="fan_in", dtype=self.dtype)
    norm = functools.partial(
      layers.norm, self.dtype, self.axis_name, train, mask
    )
    x = images.astype(self.dtype)
    x = conv(self.filters, 7, 2, name="features_conv0")(x)
    x = nn.relu(norm(name="features_norm0")(x))
    x = layers.max_pool(x)
    for block, size in enumerate(self.block_sizes, start=1):
      if block > 1:
        name = f"features_transition{block - 1}"
        x = Transition(conv, norm, name=name)(x)
      for index in range(1, size + 1):
        name = f"features_denseblock{block}_denselayer{index}"
        x = DenseLayer(self.growth, conv, norm, name=name)(x)
    x = norm(name=f"features_norm{len(self.block_sizes) + 1}")(x)
    return layers.global_pool(nn.relu(x))
