import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.models import noise

IMAGES = 4000


@pytest.fixture(scope="module")
def rngs():
  return jax.random.split(jax.random.key(5), IMAGES)


def test_share_of_survivors_is_one_minus_the_rate(rngs):
  rates = (0.0, 0.1, 0.5, 0.9)
  keep = noise.survivors(rngs, rates, layer=0)
  assert keep.shape == (IMAGES, 4)
  assert keep[:, 0].all()
  np.testing.assert_allclose(keep.mean(0), [1, 0.9, 0.5, 0.1], atol=0.03)


def test_blocks_are_lost_independently(rngs):
  keep = noise.survivors(rngs, (0.5, 0.5), layer=0)
  np.testing.assert_allclose((keep[:, 0] & keep[:, 1]).mean(), 0.25, atol=0.03)


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean(rngs):
  keep = noise.survivors(rngs, (0.25,), layer=0)[:, 0]
  dropped = np.asarray(noise.drop_images(jnp.ones((IMAGES, 2, 3)), keep, 0.25))
  np.testing.assert_array_equal(dropped, dropped[:, :1, :1] * np.ones((2, 3)))
  assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
  np.testing.assert_allclose(dropped.mean(), 1, atol=0.03)


def test_dropout_drops_single_values_and_keeps_the_mean(rngs):
  dropped = np.asarray(
    noise.dropout(jnp.ones((IMAGES, 50)), rngs, 0.2, layer=1)
  )
  assert set(np.unique(dropped)) == {0, np.float32(1.25)}
  np.testing.assert_allclose((dropped == 0).mean(), 0.2, atol=0.01)
  np.testing.assert_allclose(dropped.mean(), 1, atol=0.01)
  shares = (dropped == 0).mean(1)
  # Each image on its own: binomial, not the same count everywhere.
  np.testing.assert_allclose(shares.std(), np.sqrt(0.2 * 0.8 / 50), rtol=0.1)


def test_an_image_draws_the_same_wherever_it_is(rngs):
  x = jnp.arange(5 * 8.0).reshape(5, 8) + 1
  order = np.array([3, 1, 4])
  whole = noise.dropout(x, rngs[:5], 0.5, layer=1)
  part = noise.dropout(x[order], rngs[order], 0.5, layer=1)
  np.testing.assert_array_equal(part, whole[order])


def test_uses_of_a_key_differ(rngs):
  first, second = (
    noise.survivors(rngs, (0.5,), layer=layer) for layer in (0, 1)
  )
  np.testing.assert_allclose((first == second).mean(), 0.5, atol=0.03)


def test_what_is_dropped_may_be_infinite():
  x = jnp.array([[jnp.inf], [2.0]])
  dropped = noise.drop_images(x, jnp.array([False, True]), 0.5)
  np.testing.assert_array_equal(dropped, [[0], [4]])


def test_dtype_stays(rngs):
  x = jnp.ones((2, 3), jnp.bfloat16)
  keep = jnp.array([True, False])
  assert noise.drop_images(x, keep, 0.3).dtype == jnp.bfloat16
  assert noise.dropout(x, rngs[:2], 0.3, layer=0).dtype == jnp.bfloat16
