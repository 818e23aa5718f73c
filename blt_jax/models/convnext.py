"""ConvNeXts as timm defines them, in NHWC, without the last layer.

Liu et al. 2022, arXiv:2201.03545; "atto" and "nano" are timm's smaller ones.
Modules carry timm's names with "__" for ".", see torch_names.py.

There is no stochastic depth, in training either: these networks are here to be
fine-tuned for a few epochs, for which timm's defaults have none. Nothing
depends on a batch: a network has no "batch_stats".
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import layers

# Keyword arguments of ConvNeXt by backbone name.
CONFIGS: dict[str, dict[str, Any]] = {
  "convnext_atto": {
    "depths": (2, 2, 6, 2),
    "filters": (40, 80, 160, 320),
    "conv_mlp": True,
  },
  "convnext_nano": {
    "depths": (2, 2, 8, 2),
    "filters": (80, 160, 320, 640),
    "conv_mlp": True,
  },
  "convnext_tiny": {"depths": (3, 3, 9, 3), "filters": (96, 192, 384, 768)},
  "convnext_small": {"depths": (3, 3, 27, 3), "filters": (96, 192, 384, 768)},
  "convnext_base": {"depths": (3, 3, 27, 3), "filters": (128, 256, 512, 1024)},
}

_EPSILON = 1e-6
# What the factors of the blocks start at.
_LAYER_SCALE = 1e-6
_STEM = 4

# timm cuts its normal distributions off at +-2, which is never reached.
_normal = nn.initializers.normal(0.02)


class Block(nn.Module):
  """A depthwise 7x7 convolution and two layers for each pixel.

      x + gamma * dense(gelu(dense(norm(depthwise(x)))))

  Attributes:
    dense: makes a layer for each pixel: (features, name=).
    norm: makes a layer normalisation: (name=).
    dtype: what the convolution computes in.
  """

  dense: layers.Layer
  norm: layers.Layer
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """As x: [n, h, w, c]."""
    filters = x.shape[3]
    start = nn.initializers.constant(_LAYER_SCALE)
    gamma = self.param("gamma", start, (filters,))
    y = layers.conv(
      filters,
      7,
      1,
      groups=filters,
      bias=True,
      kernel_init=_normal,
      dtype=self.dtype,
      name="conv_dw",
    )(x)
    y = self.dense(4 * filters, name="mlp__fc1")(self.norm(name="norm")(y))
    y = self.dense(filters, name="mlp__fc2")(nn.gelu(y, approximate=False))
    return x + y * gamma.astype(y.dtype).reshape(1, 1, 1, -1)


class ConvNeXt(nn.Module):
  """Images to normalised, globally pooled features.

  Attributes:
    depths: blocks in each of the stages.
    filters: channels of each of the stages.
    conv_mlp: whether a block's two layers are 1x1 convolutions: the same
      function, with tensors of another shape.
    dtype: what everything but normalisations computes in.
    axis_name: without effect, as there are no batch statistics.
  """

  depths: tuple[int, ...]
  filters: tuple[int, ...]
  conv_mlp: bool = False
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
    """Features, float32 [n, filters[-1]], of images float [n, h, w, 3].

    `train` and `mask`, which all backbones take, change nothing.

    Raises:
      ValueError: if h or w are so small that no pixel is left to pool.
    """
    del train, mask
    least = _STEM * 2 ** (len(self.depths) - 1)
    if min(images.shape[1:3]) < least:
      raise ValueError(
        f"images have {images.shape[1]} x {images.shape[2]} pixels; expected "
        f"at least {least} x {least}."
      )
    patches = functools.partial(
      layers.PatchConv, kernel_init=_normal, dtype=self.dtype
    )
    norm = functools.partial(layers.layer_norm, self.dtype, _EPSILON)
    dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
    x = patches(self.filters[0], _STEM, name="stem__0")(images)
    x = norm(name="stem__1")(x)
    for stage, (depth, filters) in enumerate(
      zip(self.depths, self.filters, strict=True)
    ):
      name = f"stages__{stage}"
      if stage:
        x = norm(name=f"{name}__downsample__0")(x)
        x = patches(filters, 2, name=f"{name}__downsample__1")(x)
      for index in range(depth):
        x = Block(
          functools.partial(patches, size=1) if self.conv_mlp else dense,
          norm,
          self.dtype,
          name=f"{name}__blocks__{index}",
        )(x)
    x = layers.global_pool(x)
    return layers.layer_norm(jnp.float32, _EPSILON, name="head__norm")(x)
