"""EfficientNet-B0 and -Lite0, in NHWC, without the last layer.

B0 (Tan and Le 2019, arXiv:1905.11946) is as torchvision defines it. Lite0 is
Google's form of it for small devices, as timm's `tf_efficientnet_lite0` has it:
ReLU6 for SiLU, no squeeze-and-excitation, TensorFlow's padding and its epsilon
of batch normalisation. Modules carry torchvision's names of B0 with "_" for
".", see torch_names.py.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import layers, noise


class MBConvConfig(NamedTuple):
  """Blocks of one kind in a row.

  Attributes:
    blocks: how many.
    filters: channels of their outputs.
    size: of their depthwise kernels.
    strides: of the first block; the others have 1.
    expansion: channels of the depthwise convolution, in multiples of those of
      the input.
  """

  blocks: int
  filters: int
  size: int
  strides: int
  expansion: int = 6


_STAGES = (
  MBConvConfig(blocks=1, filters=16, size=3, strides=1, expansion=1),
  MBConvConfig(blocks=2, filters=24, size=3, strides=2),
  MBConvConfig(blocks=2, filters=40, size=5, strides=2),
  MBConvConfig(blocks=3, filters=80, size=3, strides=2),
  MBConvConfig(blocks=3, filters=112, size=5, strides=1),
  MBConvConfig(blocks=4, filters=192, size=5, strides=2),
  MBConvConfig(blocks=1, filters=320, size=3, strides=1),
)
# Keyword arguments of EfficientNet by backbone name.
CONFIGS: dict[str, dict[str, Any]] = {
  "efficientnet_b0": {"stages": _STAGES},
  "tf_efficientnet_lite0": {"stages": _STAGES, "lite": True},
}

# An image's PRNG key is used twice; each use folds its own number into it.
_DEPTH, _DROPOUT = 0, 1


class SqueezeExcitation(nn.Module):
  """Scales each channel by a factor of 0..1 that depends on all of them.

  Attributes:
    filters: channels in between.
    conv: makes a convolution: (filters, kernel size, strides, name=, bias=).
  """

  filters: int
  conv: layers.Layer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """As x: [n, h, w, c]."""
    y = x.mean((1, 2), keepdims=True)
    y = nn.silu(self.conv(self.filters, 1, 1, name="fc1", bias=True)(y))
    y = self.conv(x.shape[3], 1, 1, name="fc2", bias=True)(y)
    return x * nn.sigmoid(y)


class InvertedBottleneck(nn.Module):
  """Expands, convolves each channel by itself, squeezes, and projects.

  A block with stride 1 that keeps the number of channels adds its input.

  Attributes:
    filters: channels of the output.
    size: of the depthwise kernel.
    strides: of the depthwise convolution.
    expansion: channels of the depthwise convolution, in multiples of those of
      the input.
    drop_rate: probability that an image loses the block in training.
    conv: makes a convolution: (filters, kernel size, strides, name=, groups=,
      bias=).
    norm: makes a normalisation: (name=).
    lite: see `EfficientNet`. The number of the squeeze stays free without it,
      so that one table of names serves both.
  """

  filters: int
  size: int
  strides: int
  expansion: int
  drop_rate: float
  conv: layers.Layer
  norm: layers.Layer
  lite: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, keep: jax.Array | None) -> jax.Array:
    """One block.

    Args:
      x: [n, h, w, c].
      keep: bool [n], the images that keep the block (the others keep their
        input, if it is added), or None for all of them, unscaled.

    Returns:
      [n, h / strides, w / strides, filters].
    """
    channels = x.shape[3]
    width = channels * self.expansion
    act = _activation(self.lite)
    y, part = x, 0
    if self.expansion > 1:
      y = self.conv(width, 1, 1, name="block_0_0")(y)
      y = act(self.norm(name="block_0_1")(y))
      part = 1
    y = self.conv(
      width, self.size, self.strides, groups=width, name=f"block_{part}_0"
    )(y)
    y = act(self.norm(name=f"block_{part}_1")(y))
    if not self.lite:
      y = SqueezeExcitation(
        max(1, channels // 4), self.conv, name=f"block_{part + 1}"
      )(y)
    y = self.conv(self.filters, 1, 1, name=f"block_{part + 2}_0")(y)
    y = self.norm(name=f"block_{part + 2}_1")(y)
    if self.strides > 1 or channels != self.filters:
      return y
    if keep is not None:
      y = noise.drop_images(y, keep, self.drop_rate)
    return x + y


class EfficientNet(nn.Module):
  """Images to globally pooled features.

  In training an image loses block i of k with probability
  i / k * `stochastic_depth` (i from 0), and each of its features with
  probability `dropout`. This is torchvision's dropout before the last layer; in
  our networks it lies before the layer `hidden`. Google trained Lite0 with the
  same rates. In inference mode nothing is random.

  Attributes:
    stages: kinds of blocks in their order.
    lite: Lite0's activation, padding and normalisation, and no squeeze.
    filters: of the stem.
    features: channels that are pooled, of the last convolution.
    stochastic_depth: rate that the block rates approach linearly, 0..1
      without 1.
    dropout: probability of losing a feature, 0..1 without 1.
    dtype: what convolutions compute in.
    axis_name: the mapped axis to sum batch statistics over, or None.
  """

  stages: tuple[MBConvConfig, ...]
  lite: bool = False
  filters: int = 32
  features: int = 1280
  stochastic_depth: float = 0.2
  dropout: float = 0.2
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
  ) -> jax.Array:
    """Features, float32 [n, features]; arguments as in `Network`.

    Training needs `image_rngs` unless both rates are 0.

    Raises:
      ValueError: if training lacks keys, or there are not n of them.
    """
    rngs = self._training_rngs(images, train, image_rngs)
    act = _activation(self.lite)
    conv = functools.partial(_conv, same=self.lite, dtype=self.dtype)
    norm = functools.partial(
      layers.norm,
      self.dtype,
      self.axis_name,
      train,
      mask,
      epsilon=1e-3 if self.lite else 1e-5,
    )
    x = conv(self.filters, 3, 2, name="features_0_0")(images.astype(self.dtype))
    x = act(norm(name="features_0_1")(x))
    x = self._blocks(x, conv, norm, rngs)
    last = f"features_{len(self.stages) + 1}"
    x = conv(self.features, 1, 1, name=f"{last}_0")(x)
    x = layers.global_pool(act(norm(name=f"{last}_1")(x)))
    if rngs is not None:
      x = noise.dropout(x, rngs, self.dropout, layer=_DROPOUT)
    return x

  def _training_rngs(
    self, images: jax.Array, train: bool, image_rngs: jax.Array | None
  ) -> jax.Array | None:
    """The keys if they are needed, else None."""
    if not train or self.stochastic_depth == self.dropout == 0:
      return None
    if image_rngs is None:
      raise ValueError(
        "image_rngs is None; expected one PRNG key an image, which stochastic "
        "depth and dropout need with train=True."
      )
    if image_rngs.shape[0] != images.shape[0]:
      raise ValueError(
        f"image_rngs has {image_rngs.shape[0]} keys; expected "
        f"{images.shape[0]}, one an image."
      )
    return image_rngs

  def _blocks(
    self,
    x: jax.Array,
    conv: layers.Layer,
    norm: layers.Layer,
    rngs: jax.Array | None,
  ) -> jax.Array:
    """All stages' blocks, one after the other."""
    count = sum(stage.blocks for stage in self.stages)
    rates = [self.stochastic_depth * i / count for i in range(count)]
    keep = None
    if rngs is not None:
      keep = noise.survivors(rngs, rates, layer=_DEPTH)
    block = 0
    for number, stage in enumerate(self.stages, start=1):
      for index in range(stage.blocks):
        x = InvertedBottleneck(
          filters=stage.filters,
          size=stage.size,
          strides=stage.strides if index == 0 else 1,
          expansion=stage.expansion,
          drop_rate=rates[block],
          conv=conv,
          norm=norm,
          lite=self.lite,
          name=f"features_{number}_{index}",
        )(x, None if keep is None else keep[:, block])
        block += 1
    return x


def _conv(
  filters: int, size: int, strides: int, *, same: bool, **given: Any
) -> nn.Module:
  """`layers.conv`; one of single pixels as a product of matrices.

  On CPUs the gradients of such products are several times faster.
  """
  if size > 1 or strides > 1:
    return layers.conv(filters, size, strides, same=same, **given)
  init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
  options: dict[str, Any] = {"bias": False, "kernel_init": init, **given}
  return layers.PatchConv(filters, size, **options)


def _activation(lite: bool) -> Callable[[jax.Array], jax.Array]:
  """Between the layers."""
  return nn.relu6 if lite else nn.silu
