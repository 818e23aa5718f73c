import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.models import layers
from blt_jax.models.convolution import conv_general_dilated


def test_max_pool_pads_with_minus_infinity():
  x = jnp.full((1, 4, 4, 1), -3.0)
  pooled = layers.max_pool(x)
  assert pooled.shape == (1, 2, 2, 1)
  assert (pooled == -3).all()


def test_halving_takes_means_and_leaves_out_what_is_odd():
  x = jnp.arange(20.0).reshape(1, 4, 5, 1)
  halved = layers.halve(x)[0, :, :, 0]
  np.testing.assert_array_equal(halved, [[3, 5], [13, 15]])


@pytest.mark.parametrize("height, width", [(1, 1), (1, 4), (3, 1)])
def test_halving_keeps_one_pixel(height, width):
  x = jnp.arange(1.0 * height * width).reshape(1, height, width, 1)
  halved = layers.halve(x)
  assert halved.shape == (1, max(1, height // 2), max(1, width // 2), 1)
  assert halved[0, 0, 0, 0] == x[0, :2, :2, 0].mean()


def test_global_pool_is_in_float32():
  x = jnp.full((2, 3, 3, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(1.0078125)
  pooled = layers.global_pool(x)
  assert pooled.dtype == jnp.float32
  np.testing.assert_allclose(pooled[0, 0], 1 + 0.0078125 / 9, rtol=1e-6)


@pytest.mark.parametrize("size, strides", [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_convolution_takes_each_channel_for_itself(size, strides):
  images = jax.random.normal(jax.random.key(0), (2, 7, 8, 4))
  conv = layers.conv(4, size, strides, groups=4, name=None)
  variables = conv.init(jax.random.key(1), images)

  def channelwise(variables, images):
    kernel = variables["params"]["kernel"]
    parts = [
      conv_general_dilated(
        images[..., c : c + 1],
        kernel[..., c : c + 1],
        (strides, strides),
        ((size // 2, size // 2),) * 2,
      )
      for c in range(4)
    ]
    return jnp.concatenate(parts, axis=3)

  def with_gradients(function):
    def loss(variables, images):
      out = function(variables, images)
      weights = jnp.arange(out.size).reshape(out.shape) / out.size
      return (jnp.sin(out) * weights).sum(), out

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

  ours, single = (
    with_gradients(function)(variables, images)
    for function in (conv.apply, channelwise)
  )
  assert variables["params"]["kernel"].shape == (size, size, 1, 4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    ours,
    single,
  )
