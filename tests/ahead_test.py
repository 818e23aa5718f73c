import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax import ahead, hallucinate, optimizer, train_step
from blt_jax.models import create_model

BATCH, SLOTS, SIZE, CLASSES, EVERY = 8, 4, 16, 6, 3
MODEL = create_model("small_resnet10", CLASSES, hidden=16, axis_name="batch")


def _preprocess(rngs, images):
  """A stand-in for the augmentation that uses its random numbers."""
  shift = jax.vmap(lambda rng: jax.random.uniform(rng))(rngs)
  return images / 128.0 - 1.0 + 0.1 * shift[:, None, None, None]


HALLUCINATE = functools.partial(
  hallucinate.hallucinate,
  preprocess_fn=_preprocess,
  confidence=(0.5, 0.6),
  ascent={"max_steps": 3},
)


@pytest.fixture(scope="module")
def state():
  tx = optimizer.sgd(lambda _: 0.1, lambda _: 0.2)
  variables = jax.jit(functools.partial(MODEL.init, train=False))(
    jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3))
  )
  return train_step.TrainState(
    step=jnp.int32(5),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=tx.init(variables["params"]),
    confusion=jnp.ones((CLASSES, CLASSES), jnp.int32),
    rng=jax.random.key(7),
    apply_fn=MODEL.apply,
    tx=tx,
  )


def _batch(number):
  """A batch for one device; the last slot is unused."""
  rng = np.random.default_rng(number)
  shape = (SIZE, SIZE, 3)
  return {
    "image": rng.integers(0, 256, (BATCH, *shape)).astype(np.uint8),
    "label": rng.integers(0, CLASSES, BATCH).astype(np.int32),
    "source_image": rng.integers(0, 256, (SLOTS, *shape)).astype(np.uint8),
    "source_label": rng.integers(0, CLASSES, SLOTS).astype(np.int32),
    "source_used": np.arange(SLOTS) < SLOTS - 1,
  }


def _deal(batch, devices):
  """As blt_jax.batches deals: images in blocks, slots in turn."""
  return {
    name: array.reshape((-1, devices, *array.shape[1:])).swapaxes(0, 1)
    if name.startswith("source_")
    else array.reshape((devices, -1, *array.shape[1:]))
    for name, array in batch.items()
  }


@functools.cache
def _ahead(devices):
  step = functools.partial(
    ahead.hallucinate_ahead,
    hallucinate_fn=HALLUCINATE,
    every=EVERY,
    axis_name="batch",
  )
  return _map(step, devices, out_axes=0)


@functools.cache
def _train(devices):
  step = functools.partial(
    train_step.train_step,
    preprocess_fn=_preprocess,
    hallucinate_fn=HALLUCINATE,
  )
  return _map(step, devices, out_axes=None)


def _map(step, devices, *, out_axes):
  return jax.pmap(
    step,
    axis_name="batch",
    in_axes=(None, 0),
    out_axes=out_axes,
    devices=jax.devices()[:devices],
  )


def _assert_close(a, b, rtol):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("devices", [1, 2])
def test_each_step_gets_what_it_would_make_with_the_first_ones_network(
  state, devices
):
  group = [_deal(_batch(number), devices) for number in range(EVERY)]
  slots = ahead.slots_of(group, EVERY)
  made = jax.device_get(_ahead(devices)(state, slots))
  assert len(made) == EVERY
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  for number, extra in enumerate(made):
    step_rng = jax.random.fold_in(state.rng, state.step + number)
    _, slot_rng = jax.random.split(step_rng)
    expected = jax.jit(HALLUCINATE)(
      fold(slot_rng, jnp.arange(SLOTS)), state, _batch(number)
    )
    # From [devices, slots of each] back into the order of the slots.
    extra = jax.tree.map(
      lambda a: a.swapaxes(0, 1).reshape((SLOTS, *a.shape[2:])), extra
    )
    np.testing.assert_array_equal(extra.weight, [1, 1, 1, 0])
    np.testing.assert_array_equal(extra.num_updates, expected.num_updates)
    np.testing.assert_array_equal(extra.reached, expected.reached)
    used = extra.weight > 0
    np.testing.assert_allclose(
      extra.images[used], expected.images[used], rtol=1e-3, atol=1e-3
    )
    assert expected.num_updates.sum() > 0


@pytest.mark.parametrize("devices", [1, 2])
def test_the_first_step_of_a_group_is_the_step_that_hallucinates_itself(
  state, devices
):
  batch = _deal(_batch(0), devices)
  slots = ahead.slots_of([batch], EVERY)
  filled = ahead.with_extra(batch, _ahead(devices)(state, slots)[0])
  assert set(filled) == {"image", "label", "source_label", "extra"}
  by_itself, ready = (
    jax.device_get(_train(devices)(state.replace(rng=state.rng), given))
    for given in (batch, filled)
  )
  _assert_close(by_itself[1], ready[1], rtol=1e-5)
  assert by_itself[1]["updates"] > 0
  for name in ("params", "batch_stats", "opt_state"):
    _assert_close(
      getattr(by_itself[0], name), getattr(ready[0], name), rtol=1e-4
    )


def test_a_group_that_is_not_whole_is_filled_with_unused_slots():
  batches = [_deal(_batch(number), 2) for number in range(2)]
  slots = ahead.slots_of(batches, EVERY)
  assert slots["source_label"].shape == (2, EVERY * SLOTS // 2)
  used = slots["source_used"].reshape(2, EVERY, SLOTS // 2)
  np.testing.assert_array_equal(used.sum(axis=(0, 2)), [3, 3, 0])
  np.testing.assert_array_equal(
    slots["source_label"][1, SLOTS // 2 : SLOTS], batches[1]["source_label"][1]
  )


@pytest.mark.parametrize(
  "size, sizes", [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])]
)
def test_groups_keep_every_batch_in_order(size, sizes):
  grouped = list(ahead.groups(iter([{"n": n} for n in range(5)]), size))
  assert [len(group) for group in grouped] == sizes
  assert [batch["n"] for group in grouped for batch in group] == list(range(5))
