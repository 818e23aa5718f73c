"""A training step in small, for the tests of steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from blt_jax.method import optimizer, train_step
from blt_jax.method.train_step import Batch, Sources

BATCH, SLOTS, SIZE, CLASSES = 8, 4, 16, 6


def preprocess(rngs, images):
  """A stand-in for the augmentation that uses its random numbers."""
  shift = jax.vmap(lambda rng: jax.random.uniform(rng))(rngs)
  return images / 128.0 - 1.0 + 0.1 * shift[:, None, None, None]


# Of the backbone and of the classifier.
TX = optimizer.sgd(lambda _: 0.1, lambda _: 0.2)


def make_state(model):
  """A fresh state of a model for images of SIZE pixels and CLASSES classes."""
  variables = jax.jit(functools.partial(model.init, train=False))(
    jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3))
  )
  return train_step.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables.get("batch_stats", {}),
    opt_state=TX.init(variables["params"]),
    confusion=jnp.ones((CLASSES, CLASSES), jnp.int32),
    rng=jax.random.key(7),
    apply_fn=model.apply,
  )


def make_batch(seed):
  """A batch of noise whose last slot is unused."""
  rng = np.random.default_rng(seed)
  shape = (SIZE, SIZE, 3)

  def images(count):
    return rng.integers(0, 256, (count, *shape)).astype(np.uint8)

  def labels(count):
    return rng.integers(0, CLASSES, count).astype(np.int32)

  image, label = images(BATCH), labels(BATCH)
  used = np.arange(SLOTS) < SLOTS - 1
  return Batch(image, label, Sources(images(SLOTS), labels(SLOTS), used))


def over_devices(step, devices, *, out_axes=None):
  """A step mapped over the first devices, which may not reach for the host."""
  owners = jax.devices()[:devices]
  mapped = jax.pmap(
    step,
    axis_name="batch",
    in_axes=(None, 0),
    out_axes=out_axes,
    devices=owners,
  )
  mesh = jax.sharding.Mesh(np.array(owners), ("batch",))

  def guarded(state, batch):
    state, batch = (
      jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))
      for tree, spec in ((state, P()), (batch, P("batch")))
    )
    with jax.transfer_guard("disallow"):
      return mapped(state, batch)

  return guarded


def assert_close(a, b, rtol):
  """Compares trees of arrays, with as large an absolute tolerance."""
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)
