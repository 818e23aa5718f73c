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
  same: bool = False,
  fan: Literal["fan_in", "fan_out"] = "fan_out",
  kernel_init: nn.initializers.Initializer | None = None,
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
    same: TensorFlow's padding instead, "SAME": where a strided convolution
      needs an odd number of pixels, it has one more below and to the right.
    fan: the kernel starts normal with variance 2 / fan: "fan_in" or "fan_out".
    kernel_init: in place of that.
    dtype: type of the computation and of the output.

  Returns:
    A module, [n, h, w, c] to [n, h', w', filters].
  """
  return nn.Conv(
    filters,
    (size, size),
    strides,
    padding="SAME" if same else size // 2,
    feature_group_count=groups,
    use_bias=bias,
    dtype=dtype,
    conv_general_dilated=convolution.conv_general_dilated,
    kernel_init=kernel_init
    or nn.initializers.variance_scaling(2.0, fan, "normal"),
    name=name,
  )


def norm(
  dtype: jnp.dtype,
  axis_name: str | None,
  train: bool,
  mask: jax.Array | None,
  *,
  name: str,
  epsilon: float = 1e-5,
) -> Callable[[jax.Array], jax.Array]:
  """Batch normalisation by the batch (train) or by running statistics."""
  return functools.partial(
    normalization.BatchNorm(
      dtype=dtype, axis_name=axis_name, epsilon=epsilon, name=name
    ),
    use_running_average=not train,
    mask=mask,
  )


class PatchConv(nn.Module):
  """A convolution whose strides are its kernel's size, without padding.

  It is computed as a product of matrices, so that its gradient with respect to
  images is one as well; as a convolution, that would be one over images spread
  with zeros. Rows and columns that fill no patch are left out.

  Attributes:
    filters: channels of the output.
    size: height and width of the kernel, and the strides.
    bias: whether to add a bias, which starts at 0.
    kernel_init: by default PyTorch's, uniform in +-1 / sqrt(fan in).
    dtype: type of the computation and of the output.
  """

  filters: int
  size: int
  bias: bool = True
  kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
    1 / 3, "fan_in", "uniform"
  )
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h // size, w // size, filters] of `dtype`."""
    n, height, width, channels = x.shape
    size, rows, columns = self.size, height // self.size, width // self.size
    shape = (size, size, channels, self.filters)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    x = x[:, : rows * size, : columns * size].astype(self.dtype)
    if size > 1:
      x = x.reshape(n, rows, size, columns, size, channels)
      x = x.transpose(0, 1, 3, 2, 4, 5)
    # On CPUs the kernel's gradient is several times faster with two axes.
    y = x.reshape(-1, size * size * channels) @ kernel.reshape(-1, self.filters)
    y = y.reshape(n, rows, columns, self.filters)
    if self.bias:
      bias = self.param("bias", nn.initializers.zeros, (self.filters,))
      y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
    return y


def layer_norm(dtype: jnp.dtype, epsilon: float, *, name: str) -> nn.LayerNorm:
  """Layer normalisation over the last axis in float32, to `dtype`."""
  return nn.LayerNorm(
    epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name
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
