import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method import rng
from blt_jax.method.rng import Stream


def _data(keys):
  return np.asarray(jax.random.key_data(keys))


def test_streams_of_the_same_key_have_different_numbers():
  values = [stream.value for stream in Stream.__members__.values()]
  assert len(set(values)) == len(values)


def test_no_step_has_the_number_of_a_stream_outside_of_steps():
  for stream in (Stream.STATIC_IMAGES, Stream.EXAMPLES):
    assert stream.value[1] > np.iinfo(np.int32).max


def test_keys_are_those_of_the_first_runs():
  """Recorded runs were drawn with these; splitting a key is folding in 0, 1."""
  init, run = jax.random.split(jax.random.fold_in(jax.random.key(3), 1))
  np.testing.assert_array_equal(_data(rng.init_key(3, draw=1)), _data(init))
  _, run = jax.random.split(jax.random.fold_in(jax.random.key(3), 0))
  np.testing.assert_array_equal(_data(rng.run_key(3)), _data(run))
  step = jax.random.fold_in(run, 7)
  images, slots = jax.random.split(step)
  network = jax.random.fold_in(step, 1_000_003)
  numbers = jnp.array([0, 5])
  for stream, key in (
    (Stream.IMAGES, images),
    (Stream.SLOTS, slots),
    (Stream.NETWORK, network),
  ):
    expected = [_data(jax.random.fold_in(key, n)) for n in (0, 5)]
    found = rng.step_keys(run, jnp.int32(7), stream, numbers)
    np.testing.assert_array_equal(_data(found), expected)
  static = jax.random.fold_in(jax.random.fold_in(run, 2**31), 5)
  found = rng.outside_keys(run, Stream.STATIC_IMAGES, numbers)
  np.testing.assert_array_equal(_data(found)[1], _data(static))
  parts = (Stream.TARGET, Stream.CONFIDENCE, Stream.AUGMENTATION)
  np.testing.assert_array_equal(
    [_data(rng.fold(slots, part)) for part in parts],
    _data(jax.random.split(slots, 3)),
  )


def test_another_default_implementation_does_not_change_a_run():
  expected = rng.run_key(1)
  with jax.default_prng_impl("rbg"):
    assert jax.random.key(1).dtype != expected.dtype
    found = rng.run_key(1)
  assert found.dtype == expected.dtype
  np.testing.assert_array_equal(_data(found), _data(expected))


def test_setting_that_changes_what_is_drawn_is_refused():
  with (
    jax.threefry_partitionable(False),
    pytest.raises(ValueError, match="jax_threefry_partitionable is False"),
  ):
    rng.run_key(1)
