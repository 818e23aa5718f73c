"""Layers that the backbones have in common, as PyTorch defines them."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import convolution, normalization

# A function that makes a layer of a block: `conv` or `norm` below, with dtype
# and mode already given, so that blocks need not know them.
Layer = Callable[..., Any]


def conv(
  filters: int,
  size: int,
  strides: int,
  *,
  name: str,
  groups: int = 1,
  bias: bool = False,
  fan: Literal["fan_in", "fan_out"] = "fan_out",
  dtype: jnp.dtype = jnp.float32,
) -> nn.Conv:
  """A convolution with PyTorch's padding and torchvision's initial values.

  Args:
    filters: channels of the output.
    size: height and width of the kernel, odd; images are padded by size // 2 on
      every side.
    strides: of height and width.
    name: of the module.
    groups: groups of channels; a group for each channel is depthwise.
    bias: whether to add a bias, which starts at 0.
    fan: the kernel starts normal with variance 2 / fan: "fan_in" or "fan_out".
    dtype: type of the computation and of the output.

  Returns:
    A module, [n, h, w, c] to [n, h', w', filters].
  """
  return nn.Conv(
    filters,
    (size, size),
    strides,
    # Not "SAME", which pads a strided convolution on the other side.
    padding=size // 2,
    feature_group_count=groups,
    use_bias=bias,
    dtype=dtype,
    conv_general_dilated=convolution.conv_general_dilated,
    kernel_init=nn.initializers.variance_scaling(2.0, fan, "normal"),
    name=name,
  )


def norm(
  dtype: jnp.dtype,
  axis_name: str | None,
  train: bool,
  mask: jax.Array | None,
  *,
  name: str,
) -> Callable[[jax.Array], jax.Array]:
  """Batch normalisation by the batch (train) or by running statistics."""
  return functools.partial(
    normalization.BatchNorm(dtype=dtype, axis_name=axis_name, name=name),
    use_running_average=not train,
    mask=mask,
  )


def max_pool(x: jax.Array) -> jax.Array:
  """3x3 max-pool of stride 2 and padding 1.

  Padded by hand and called by keyword, because jax2onnx drops the padding of
  a max-pool silently and takes these arguments only.
  """
  borders = ((0, 0), (1, 1), (1, 1), (0, 0))
  x = jnp.pad(x, borders, constant_values=-jnp.inf)
  return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))


def halve(x: jax.Array) -> jax.Array:
  """2x2 average pool of stride 2; an odd last row or column is left out.

  A height or width of 1 stays 1, where PyTorch's pool would return nothing, so
  that small images pass through any number of these pools.
  """
  window = (min(2, x.shape[1]), min(2, x.shape[2]))
  return nn.avg_pool(x, window_shape=window, strides=window)


def global_pool(x: jax.Array) -> jax.Array:
  """Means over height and width: float32 [n, c] of any float [n, h, w, c]."""
  return x.astype(jnp.float32).mean((1, 2))
