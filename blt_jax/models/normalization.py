"""Batch normalisation over several devices, with a mask."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """Batch normalisation in which masked images count for nothing.

      y = scale * (x - mean) / sqrt(var + epsilon) + bias

  PyTorch's convention: the batch is normalised by its biased variance, the
  running variance receives the unbiased one (n / (n - 1)).

  This is not `flax.linen.BatchNorm`: with a mask and an axis name that one
  averages the devices' means, which is wrong when devices hold different
  numbers of unmasked images. Here count, sum and sum of squares are added up
  over the devices, so that any number of devices gives the same statistics.

  Attributes:
    dtype: type of the output; parameters and statistics are always float32.
    axis_name: the mapped axis to sum the statistics over; None sums them over
      one device only.
    momentum: share of the old running statistics that an update keeps.
    epsilon: added to the variance.
  """

  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    use_running_average: bool,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """Normalises the images.

    Args:
      x: [n, ..., channels], any float.
      use_running_average: normalise by the running statistics and leave them
        as they are; otherwise by those of the batch, and update.
      mask: [n] bool or float; images with mask 0 are normalised like the
        others and have no part in the statistics. None counts every image.

    Returns:
      [n, ..., channels] of `dtype`.
    """
    shape = (x.shape[-1],)
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape)
    if use_running_average:
      mean, var = running_mean.value, running_var.value
    else:
      axis_name = None if self.is_initializing() else self.axis_name
      mean, var, count = _moments(x, mask, axis_name)
      if not self.is_initializing():
        # A batch without a single unmasked image leaves everything as it was.
        keep = jnp.where(count > 0, self.momentum, 1.0)
        unbiased = var * (count / jnp.maximum(count - 1, 1))
        running_mean.value = keep * running_mean.value + (1 - keep) * mean
        running_var.value = keep * running_var.value + (1 - keep) * unbiased
    # One multiplication and one addition an element, which also makes the
    # backward pass two sums over x instead of three.
    factor = scale * jax.lax.rsqrt(var + self.epsilon)
    offset = bias - mean * factor
    row = (1,) * (x.ndim - 1) + shape
    y = x * factor.reshape(row) + offset.reshape(row)
    return y.astype(self.dtype)


def _moments(
  x: jax.Array, mask: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Mean and biased variance by channel, and the count behind them."""
  x = x.astype(jnp.float32)
  inner = tuple(range(1, x.ndim - 1))
  # Image by image first: the mask then costs nothing, the sums are more
  # accurate, and XLA spreads them over the cores of a CPU.
  sums, squares = x.sum(inner), jnp.square(x).sum(inner)
  count = jnp.float32(x.shape[0])
  if mask is not None:
    used = (mask != 0).reshape(-1, 1)
    sums, squares = jnp.where(used, sums, 0), jnp.where(used, squares, 0)
    count = used.sum(dtype=jnp.float32)
  totals = sums.sum(0), squares.sum(0), count
  if axis_name is not None:
    totals = jax.lax.psum(totals, axis_name)
  total, total_squares, count = totals
  count = count * (x.size // (x.shape[0] * x.shape[-1]))
  mean = total / jnp.maximum(count, 1)
  var = total_squares / jnp.maximum(count, 1) - jnp.square(mean)
  return mean, jnp.maximum(var, 0), count
