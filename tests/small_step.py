"""A training step in small, for the tests of steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.method import optimizer, train_step

BATCH, SLOTS, SIZE, CLASSES = 8, 4, 16, 6


def preprocess(rngs, images):
  """A stand-in for the augmentation that uses its random numbers."""
  shift = jax.vmap(lambda rng: jax.random.uniform(rng))(rngs)
  return images / 128.0 - 1.0 + 0.1 * shift[:, None, None, None]


def make_state(model):
  """A fresh state of a model for images of SIZE pixels and CLASSES classes."""
  tx = optimizer.sgd(lambda _: 0.1, lambda _: 0.2)
  variables = jax.jit(functools.partial(model.init, train=False))(
    jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3))
  )
  return train_step.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=tx.init(variables["params"]),
    confusion=jnp.ones((CLASSES, CLASSES), jnp.int32),
    rng=jax.random.key(7),
    apply_fn=model.apply,
    tx=tx,
  )


def make_batch(seed):
  """A batch of noise whose last slot is unused."""
  rng = np.random.default_rng(seed)
  shape = (SIZE, SIZE, 3)
  return {
    "image": rng.integers(0, 256, (BATCH, *shape)).astype(np.uint8),
    "label": rng.integers(0, CLASSES, BATCH).astype(np.int32),
    "source_image": rng.integers(0, 256, (SLOTS, *shape)).astype(np.uint8),
    "source_label": rng.integers(0, CLASSES, SLOTS).astype(np.int32),
    "source_used": np.arange(SLOTS) < SLOTS - 1,
  }


def deal(batch, devices):
  """As blt_jax.batches deals: images in blocks, slots in turn."""
  return {
    name: array.reshape((-1, devices, *array.shape[1:])).swapaxes(0, 1)
    if name.startswith("source_")
    else array.reshape((devices, -1, *array.shape[1:]))
    for name, array in batch.items()
  }


def over_devices(step, devices, *, out_axes=None):
  """A step mapped over the first devices."""
  return jax.pmap(
    step,
    axis_name="batch",
    in_axes=(None, 0),
    out_axes=out_axes,
    devices=jax.devices()[:devices],
  )


def assert_close(a, b, rtol):
  """Compares trees of arrays, with as large an absolute tolerance."""
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)
