"""Vision transformers as timm defines them, in NHWC, without the last layer.

Dosovitskiy et al. 2021, arXiv:2010.11929, as timm trained them on ImageNet; the
image encoders of CLIP (Radford et al. 2021, arXiv:2103.00020) without their
projection; DINOv2 (Oquab et al. 2023, arXiv:2304.07193) with and without
registers (Darcet et al. 2023, arXiv:2309.16588). Modules carry timm's names
with "__" for ".", see torch_names.py.

There is neither dropout nor stochastic depth, in training either: these
networks are here to be fine-tuned for a few epochs, for which timm's defaults
have none. Nothing depends on a batch: a network has no "batch_stats".
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.models import layers

_SMALL: dict[str, Any] = {"width": 384}
_BASE: dict[str, Any] = {"width": 768}
_CLIP: dict[str, Any] = {"pre_norm": True, "epsilon": 1e-5}
_DINOV2: dict[str, Any] = {
  "patch": 14,
  "native_size": 518,
  "layer_scale": 1e-5,
}

# Keyword arguments of ViT by backbone name.
CONFIGS: dict[str, dict[str, Any]] = {
  "vit_tiny_patch16_224": {"width": 192},
  "vit_small_patch16_224": _SMALL,
  "vit_base_patch16_224": _BASE,
  "vit_large_patch16_224": {"width": 1024, "depth": 24},
  "vit_base_patch16_clip_224": _BASE | _CLIP,
  "vit_base_patch16_clip_quickgelu_224": _BASE | _CLIP | {"quick_gelu": True},
  "vit_small_patch14_dinov2": _SMALL | _DINOV2,
  "vit_base_patch14_dinov2": _BASE | _DINOV2,
  "vit_small_patch14_reg4_dinov2": _SMALL | _DINOV2 | {"registers": 4},
  "vit_base_patch14_reg4_dinov2": _BASE | _DINOV2 | {"registers": 4},
}

# Of the layers of an adapter: `torch.nn.init.kaiming_normal_(a=sqrt(5))`.
_down = nn.initializers.variance_scaling(1 / 3, "fan_in", "normal")

# timm cuts its normal distributions off at +-2, which is never reached.
_normal = nn.initializers.normal(0.02)
_tiny_normal = nn.initializers.normal(1e-6)


class Adapter(nn.Module):
  """What is trained in a block whose own parameters stay as they are.

      factor * (relu(norm(x) W_down + b_down) W_up + b_up)

  AdaptFormer (Chen et al. 2022, arXiv:2205.13535) in the form of LIFT (Shi et
  al. 2024, arXiv:2309.10019): with a normalisation and a factor that is
  learned, from 1. W_up and b_up start at 0, so that a network begins as it is
  without adapters. W_down starts normal, as in LIFT's code.

  Attributes:
    width: channels in between.
  """

  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """As x: [n, tokens, channels]."""
    y = layers.layer_norm(x.dtype, 1e-5, name="norm")(x)
    down = nn.Dense(self.width, dtype=x.dtype, kernel_init=_down, name="down")
    up = nn.Dense(
      x.shape[-1],
      dtype=x.dtype,
      kernel_init=nn.initializers.zeros,
      name="up",
    )
    factor = self.param("factor", nn.initializers.ones, (1,))
    return up(nn.relu(down(y))) * factor.astype(x.dtype).reshape(1, 1, 1)


class Block(nn.Module):
  """Attention of all tokens to all, then two dense layers for each token.

      x + s1 * attention(norm(x)),  then  x + s2 * dense(act(dense(norm(x))))

  An adapter adds its output for the x of the second step.

  Attributes:
    head_width: channels of an attention head.
    layer_scale: what the factors s1 and s2 start at; 0 for none.
    quick_gelu: x * sigmoid(1.702 x) in place of the exact GELU.
    dense: makes a dense layer: (features, name=).
    norm: makes a layer normalisation: (name=).
    adapter_width: of the adapter, 0 for none.
  """

  head_width: int
  layer_scale: float
  quick_gelu: bool
  dense: layers.Layer
  norm: layers.Layer
  adapter_width: int = 0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """As x: [n, tokens, width]."""
    n, tokens, width = x.shape
    y = self.dense(3 * width, name="attn__qkv")(self.norm(name="norm1")(x))
    heads = width // self.head_width
    y = y.reshape(n, tokens, 3, heads, self.head_width)
    y = jax.nn.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
    y = self.dense(width, name="attn__proj")(y.reshape(n, tokens, width))
    x = x + self._scaled(y, "ls1__gamma")
    y = self.dense(4 * width, name="mlp__fc1")(self.norm(name="norm2")(x))
    if self.quick_gelu:
      y = y * nn.sigmoid(1.702 * y)
    else:
      y = nn.gelu(y, approximate=False)
    y = self.dense(width, name="mlp__fc2")(y)
    y = self._scaled(y, "ls2__gamma")
    if self.adapter_width:
      y = y + Adapter(self.adapter_width, name="adapter")(x)
    return x + y

  def _scaled(self, y: jax.Array, name: str) -> jax.Array:
    """The output of a branch times a factor for each channel, if any."""
    if not self.layer_scale:
      return y
    start = nn.initializers.constant(self.layer_scale)
    gamma = self.param(name, start, (y.shape[-1],))
    return y * gamma.astype(y.dtype).reshape(1, 1, -1)


class ViT(nn.Module):
  """Images to the normalised class token.

  Images may have any height and width that are multiples of `patch`: position
  embeddings are resampled to the grid of an image's patches at each call. As
  parameters they may be of any square grid; fresh ones are of `native_size`.

  Attributes:
    width: channels of a token.
    depth: number of blocks.
    patch: height and width of a patch, pixels.
    native_size: side of the images that fresh position embeddings are for.
    head_width: channels of an attention head.
    registers: tokens beside the class token; with any, the class token has no
      position embedding, as in DINOv2's networks with registers.
    pre_norm: CLIP's: a normalisation before the blocks, and patches without
      bias.
    layer_scale: what the blocks' factors start at; 0 for none.
    quick_gelu: see `Block`.
    epsilon: of the normalisations.
    adapter_width: of the adapters, see `Adapter`; 0 for none.
    dtype: what everything but normalisations and softmax computes in.
    axis_name: without effect, as there are no batch statistics.
  """

  width: int
  depth: int = 12
  patch: int = 16
  native_size: int = 224
  head_width: int = 64
  registers: int = 0
  pre_norm: bool = False
  layer_scale: float = 0.0
  quick_gelu: bool = False
  epsilon: float = 1e-6
  adapter_width: int = 0
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
    """Features, float32 [n, width], of images float [n, h, w, 3].

    `train` and `mask`, which all backbones take, change nothing.

    Raises:
      ValueError: if h or w is no multiple of `patch`.
    """
    del train, mask
    dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_normal)
    norm = functools.partial(layers.layer_norm, self.dtype, self.epsilon)
    x = self._tokens(images)
    if self.pre_norm:
      x = norm(name="norm_pre")(x)
    for index in range(self.depth):
      x = Block(
        self.head_width,
        self.layer_scale,
        self.quick_gelu,
        dense,
        norm,
        self.adapter_width,
        name=f"blocks__{index}",
      )(x)
    return layers.layer_norm(jnp.float32, self.epsilon, name="norm")(x[:, 0])

  def _tokens(self, images: jax.Array) -> jax.Array:
    """Class token, registers and patches with positions, [n, tokens, width]."""
    n, height, width, _ = images.shape
    if height % self.patch or width % self.patch:
      raise ValueError(
        f"images have {height} x {width} pixels; expected multiples of "
        f"{self.patch}, the side of a patch."
      )
    side = self.native_size // self.patch
    prefix = 0 if self.registers else 1
    extra = [self.param("cls_token", _tiny_normal, (1, 1, self.width))]
    if self.registers:
      shape = (1, self.registers, self.width)
      extra.append(self.param("reg_token", _tiny_normal, shape))
    # `param` would refuse those of another grid than the fresh ones.
    given: Any = self.get_variable("params", "pos_embed")
    if given is None:
      shape = (1, prefix + side**2, self.width)
      given = self.param("pos_embed", _normal, shape)
    grid = (height // self.patch, width // self.patch)
    positions = resample_positions(given, grid).astype(self.dtype)
    x = layers.PatchConv(
      self.width,
      self.patch,
      bias=not self.pre_norm,
      dtype=self.dtype,
      name="patch_embed__proj",
    )(images)
    x = x.reshape(n, -1, self.width) + positions[:, prefix:]
    first = jnp.concatenate(extra, axis=1).astype(self.dtype)
    if prefix:
      first = first + positions[:, :prefix]
    first = jnp.broadcast_to(first, (n, *first.shape[1:]))
    return jnp.concatenate([first, x], axis=1)


def resample_positions(
  positions: jax.Array | np.ndarray, grid: tuple[int, int]
) -> jax.Array | np.ndarray:
  """Position embeddings for another grid of patches.

  Bicubic and antialiased, as timm's `resample_abs_pos_embed` and PyTorch's
  `interpolate(mode="bicubic", antialias=True)`. NumPy's arrays are resampled at
  once: a program that is traced over them, such as an ONNX file, has the result
  alone.

  Args:
    positions: float32 [1, s * s, d], or [1, 1 + s * s, d], whose first one
      belongs to the class token and stays.
    grid: rows and columns of the patches.

  Returns:
    float32 [1, rows * columns, d], or one more; `positions` themselves if
    grid is (s, s).
  """
  _, count, width = positions.shape
  side = math.isqrt(count)
  if grid == (side, side):
    return positions
  prefix = count - side**2
  weights = [_weights(side, new) for new in grid]
  square = positions[:, prefix:].reshape(1, side, side, width)
  equation = "ih,jw,nhwd->nijd"
  if isinstance(positions, np.ndarray):
    resized = np.einsum(equation, *weights, square, optimize=True)
    return np.concatenate(
      [positions[:, :prefix], resized.reshape(1, -1, width)], axis=1
    )
  resized = jnp.einsum(equation, *weights, square, precision="highest")
  return jnp.concatenate(
    [positions[:, :prefix], resized.reshape(1, -1, width)], axis=1
  )


def _weights(old: int, new: int) -> np.ndarray:
  """What each of `old` places gives to `new` ones, float32 [new, old].

  The kernel of Keys with a = -0.5, widened where places become fewer.
  """
  centres = (np.arange(new).reshape(-1, 1) + 0.5) * old / new
  distance = np.abs(centres - np.arange(old) - 0.5) / max(old / new, 1)
  near = (1.5 * distance - 2.5) * distance**2 + 1
  far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
  weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
  total = weights.sum(axis=1, keepdims=True)
  return (weights / total).astype(np.float32)
