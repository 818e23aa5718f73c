"""Batches on their way to the devices."""

import itertools

import jax
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.training import devices
from tests.small_run import make_config


def _config(number):
  return check_config({**make_config().to_dict(), "num_devices": number})


def test_each_batch_is_put_one_ahead_and_none_is_read_behind_the_last():
  events = []

  def read():
    for number in range(3):
      events.append(f"read {number}")
      yield number
    events.append("end")

  def put(number):
    events.append(f"put {number}")
    return number

  for number in devices.ahead(read(), put):
    events.append(f"step {number}")
  assert events == [
    *("read 0", "put 0", "read 1", "put 1", "step 0"),
    *("read 2", "put 2", "step 1", "end", "step 2"),
  ]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_batch_comes_once_and_in_order(count):
  assert list(devices.ahead(iter(range(count)), lambda x: x)) == [*range(count)]


def test_no_more_is_put_than_a_guard_lets_through():
  source = iter(range(9))
  few = itertools.islice(source, 2)
  assert list(devices.ahead(few, lambda x: x)) == [0, 1]
  assert next(source) == 2


@pytest.mark.parametrize("number", [1, 4])
def test_a_step_sees_the_same_bits_of_a_batch_that_is_on_the_devices(number):
  config = _config(number)
  images = np.random.default_rng(0).normal(size=(number, 2, 3)).astype("f4")

  def step(state, batch):
    return jax.lax.psum((state * batch).sum(), devices.AXIS)

  mapped = devices.over_devices(step, config)
  placed = devices.put({"image": images}, config)["image"]
  assert [shard.data.shape for shard in placed.addressable_shards] == (
    [(1, 2, 3)] * number
  )
  owners = [shard.device for shard in placed.addressable_shards]
  assert owners == devices.local_devices_of(config)
  state = devices.place(np.float32(3), config)
  assert float(mapped(state, placed)) == float(mapped(state, images))
  # Neither moves nor compiles anything anew.
  with jax.transfer_guard("disallow"):
    mapped(state, placed)


def test_the_state_is_whole_on_every_device():
  placed = devices.place(np.arange(3), _config(4))
  assert len(placed.addressable_shards) == 4
  assert all(shard.data.shape == (3,) for shard in placed.addressable_shards)
