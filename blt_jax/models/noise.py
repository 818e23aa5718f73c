"""Random numbers of training: dropout and stochastic depth.

Every image has a PRNG key of its own and every layer folds its own number into
that key, so what happens to an image depends neither on its neighbours in the
batch nor on its device.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def survivors(
  image_rngs: jax.Array, rates: Sequence[float], *, layer: int
) -> jax.Array:
  """Draws which images keep which of several blocks.

  Args:
    image_rngs: PRNG keys [n], one an image.
    rates: k probabilities of losing a block, 0..1 without 1.
    layer: number of this use of the keys; no two uses share one.

  Returns:
    bool [n, k].
  """
  drawn = _uniform(image_rngs, layer, (len(rates),))
  return drawn < 1 - jnp.asarray(rates, jnp.float32)[None, :]


def drop_images(x: jax.Array, keep: jax.Array, rate: float) -> jax.Array:
  """Stochastic depth (Huang et al. 2016, arXiv:1603.09382), image by image.

      y = x / (1 - rate) where kept, else 0

  Args:
    x: [n, ...], what a block adds to its input.
    keep: bool [n], drawn with probability 1 - rate.
    rate: probability of losing the block, 0..1 without 1.

  Returns:
    As x.
  """
  keep = keep.reshape((-1,) + (1,) * (x.ndim - 1))
  return jnp.where(keep, x / (1 - rate), 0)


def dropout(
  x: jax.Array, image_rngs: jax.Array, rate: float, *, layer: int
) -> jax.Array:
  """Dropout (Srivastava et al. 2014): y = x / (1 - rate) where kept, else 0.

  Args:
    x: [n, ...].
    image_rngs: PRNG keys [n], one an image.
    rate: probability of losing a value, 0..1 without 1.
    layer: number of this use of the keys; no two uses share one.

  Returns:
    As x.
  """
  keep = _uniform(image_rngs, layer, x.shape[1:]) < 1 - rate
  return jnp.where(keep, x / (1 - rate), 0)


def _uniform(
  image_rngs: jax.Array, layer: int, shape: tuple[int, ...]
) -> jax.Array:
  """float32 [n, *shape] in 0..1 without 1, of each image's own key."""

  def draw(rng: jax.Array) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(rng, layer), shape)

  return jax.vmap(draw)(image_rngs)
