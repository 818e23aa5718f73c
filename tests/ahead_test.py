import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax import ahead, hallucinate, train_step
from blt_jax.models import create_model
from tests import small_step
from tests.marks import long_test
from tests.small_step import CLASSES, SLOTS

EVERY = 3
MODEL = create_model("small_resnet10", CLASSES, hidden=16, axis_name="batch")


HALLUCINATE = functools.partial(
  hallucinate.hallucinate,
  preprocess_fn=small_step.preprocess,
  confidence=(0.5, 0.6),
  ascent={"max_steps": 3},
)


@pytest.fixture(scope="module")
def state():
  return small_step.make_state(MODEL).replace(step=jnp.int32(5))


@functools.cache
def _ahead(devices):
  step = functools.partial(
    ahead.hallucinate_ahead,
    hallucinate_fn=HALLUCINATE,
    every=EVERY,
    axis_name="batch",
  )
  return small_step.over_devices(step, devices, out_axes=0)


@functools.cache
def _train(devices):
  step = functools.partial(
    train_step.train_step,
    preprocess_fn=small_step.preprocess,
    hallucinate_fn=HALLUCINATE,
  )
  return small_step.over_devices(step, devices)


@pytest.mark.parametrize("devices", [1, 2])
def test_each_step_gets_what_it_would_make_with_the_first_ones_network(
  state, devices
):
  group = [
    small_step.deal(small_step.make_batch(number), devices)
    for number in range(EVERY)
  ]
  slots = ahead.slots_of(group, EVERY)
  made = jax.device_get(_ahead(devices)(state, slots))
  assert len(made) == EVERY
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  for number, extra in enumerate(made):
    step_rng = jax.random.fold_in(state.rng, state.step + number)
    _, slot_rng = jax.random.split(step_rng)
    expected = jax.jit(HALLUCINATE)(
      fold(slot_rng, jnp.arange(SLOTS)), state, small_step.make_batch(number)
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


@pytest.mark.parametrize(
  "devices", [1, pytest.param(2, marks=long_test("compiles again"))]
)
def test_the_first_step_of_a_group_is_the_step_that_hallucinates_itself(
  state, devices
):
  batch = small_step.deal(small_step.make_batch(0), devices)
  slots = ahead.slots_of([batch], EVERY)
  filled = ahead.with_extra(batch, _ahead(devices)(state, slots)[0])
  assert set(filled) == {"image", "label", "source_label", "extra"}
  by_itself, ready = (
    jax.device_get(_train(devices)(state.replace(rng=state.rng), given))
    for given in (batch, filled)
  )
  small_step.assert_close(by_itself[1], ready[1], rtol=1e-5)
  assert by_itself[1]["updates"] > 0
  for name in ("params", "batch_stats", "opt_state"):
    small_step.assert_close(
      getattr(by_itself[0], name), getattr(ready[0], name), rtol=1e-4
    )


def test_a_group_that_is_not_whole_is_filled_with_unused_slots():
  batches = [
    small_step.deal(small_step.make_batch(number), 2) for number in range(2)
  ]
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
