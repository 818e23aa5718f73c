import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.config import check_config, follow
from blt_jax.method.train_step import TrainState
from blt_jax.training import build, examples
from blt_jax.training.feeder import Feeder
from blt_jax.workdir import records
from configs import digits_lt


def _choose(counts, tail, *, usable=None):
  """Classes of the chosen sources, which must be distinct images."""
  labels = np.repeat(np.arange(len(counts)), counts)
  sources = examples.choose_sources(
    labels,
    tail=np.isin(np.arange(len(counts)), tail),
    usable=np.isin(
      np.arange(len(counts)), range(len(counts)) if usable is None else usable
    ),
    seed=3,
  )
  assert len(set(sources.tolist())) == len(sources)
  return labels[sources].tolist()


def test_tail_classes_take_turns_the_smallest_first():
  assert _choose([50, 3, 2], [1, 2]) == [2, 1, 2, 1, 1]


def test_equal_classes_keep_their_order_and_the_number_is_limited():
  assert _choose([50, 20, 20], [1, 2]) == [1, 2] * 12


def test_many_tail_classes_are_sampled_evenly():
  counts = [100, *range(50, 2, -1)]
  chosen = _choose(counts, range(1, 49))
  assert len(chosen) == len(set(chosen)) == 24
  assert (max(chosen), min(chosen)) == (48, 1)
  assert set(-np.diff(chosen)) == {2, 3}


def test_classes_that_were_never_confused_are_left_out():
  assert _choose([50, 3, 2], [1, 2], usable=[0, 1]) == [1, 1, 1]


def test_others_come_in_when_no_tail_class_is_usable():
  assert _choose([3, 2, 1], [2], usable=[0, 1]) == [1, 0, 1, 0, 0]
  assert _choose([3, 2], []) == [1, 0, 1, 0, 0]


def test_nothing_confused_gives_nothing():
  assert _choose([3, 2, 1], [2], usable=[]) == []


@pytest.fixture(scope="module")
def feeder():
  config = digits_lt.get_config("confidence=0.4")
  config.dataset.image_size = config.dataset.resize_size = 8
  config = follow(check_config(config))
  return Feeder(config, build.build_dataset(config), devices=4)


def _state(confusion):
  """A network that likes class 0 the more, the brighter the image."""

  def apply(variables, images, *, train):
    assert not train
    bright = images.mean(axis=(1, 2, 3))[:, None]
    return bright * jnp.arange(10, 0, -1)[None, :] * variables["params"]

  return TrainState(
    step=jnp.int32(9),
    params=jnp.float32(3),
    batch_stats={},
    opt_state=(),
    confusion=jnp.asarray(confusion),
    rng=jax.random.key(1),
    apply_fn=apply,
  )


def test_examples_are_moved_to_the_class_they_are_confused_with(feeder):
  confusion = np.eye(10, dtype=np.int32)
  confusion[8, 0] = confusion[9, 0] = 2
  made = examples.make_examples(feeder, _state(confusion))
  # 7 and 5 training images, in turns, the smallest class first.
  assert made.label.tolist() == [9, 8] * 5 + [8, 8]
  assert made.target.tolist() == [0] * 12
  np.testing.assert_allclose(made.confidence, 0.4)
  assert made.original.shape == made.perturbed.shape == (12, 8, 8, 3)
  assert made.original.min() >= -1e-6
  assert made.original.max() <= 1 + 1e-6
  moved = made.num_updates > 0
  assert moved.any()
  np.testing.assert_array_equal(made.reached, made.after > 0.4)
  np.testing.assert_allclose(made.before[~moved], made.after[~moved], 1e-6)
  assert (made.after[moved] > made.before[moved]).all()
  np.testing.assert_array_equal(
    moved, (made.perturbed != made.original).any(axis=(1, 2, 3))
  )


def test_nothing_confused_leaves_no_examples(feeder, tmp_path):
  state = _state(np.eye(10, dtype=np.int32))
  records.write_examples(tmp_path, examples.make_examples(feeder, state))
  assert records.read_examples(tmp_path) is None
