import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.method.train_step import TrainState
from blt_jax.report import record
from blt_jax.training import build, recording
from blt_jax.training.feeder import Feeder
from blt_jax.workdir import directory
from configs import digits_lt


def _read(folder):
  if not (folder / "config.json").exists():
    directory.claim(folder, check_config(digits_lt.get_config()))
  return record.read_run(folder)


def test_confusion_comes_back_as_it_was(tmp_path):
  confusion = np.int32([[2, 0, 1], [0, 0, 0], [7, 0, 3]])
  recording.write_confusion(tmp_path, "test-best", confusion)
  read = _read(tmp_path)
  np.testing.assert_array_equal(read.confusion("test-best"), confusion)
  entries = read.entries("test-best")
  assert entries.count.tolist() == [2, 1, 7, 3]
  assert entries.count.dtype == entries.true.dtype == np.int32
  assert entries.totals().tolist() == [3, 0, 10]
  assert entries.correct().tolist() == [2, 0, 3]


def test_later_confusion_takes_the_place_of_an_earlier_one(tmp_path):
  name = recording.epoch_name(2, 7)
  for number in (3, 4):
    recording.write_confusion(tmp_path, name, np.full((1, 1), number))
  assert _read(tmp_path).validation_confusions(2)[7].tolist() == [[4]]
  folder = tmp_path / "confusion"
  assert [path.name for path in folder.iterdir()] == ["stage2-epoch007.npz"]


def test_confusion_without_entries_keeps_its_size(tmp_path):
  recording.write_confusion(tmp_path, "test-last", np.zeros((2, 2), np.int32))
  assert _read(tmp_path).confusion("test-last").tolist() == [[0, 0], [0, 0]]


def test_only_stage_1_is_taken_over(tmp_path):
  one = np.ones((1, 1), np.int32)
  there, here = tmp_path / "there", tmp_path / "here"
  here.mkdir()
  there.mkdir()
  for name in ("stage1-epoch001", "stage2-epoch001", "test-best"):
    recording.write_confusion(there, name, one)
  recording.take_over_confusions(here, there)
  names = [path.name for path in (here / "confusion").iterdir()]
  assert names == ["stage1-epoch001.npz"]


def test_run_that_recorded_nothing_gives_nothing_to_take_over(tmp_path):
  recording.take_over_confusions(tmp_path, tmp_path / "other")
  assert not list(tmp_path.iterdir())


def _choose(counts, tail, *, usable=None):
  """Classes of the chosen sources, which must be distinct images."""
  labels = np.repeat(np.arange(len(counts)), counts)
  sources = recording.choose_sources(
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


def test_examples_are_moved_to_the_class_they_are_confused_with(
  feeder, tmp_path
):
  confusion = np.eye(10, dtype=np.int32)
  confusion[8, 0] = confusion[9, 0] = 2
  recording.write_examples(tmp_path, feeder, _state(confusion))
  made = _read(tmp_path).examples
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


def test_nothing_confused_leaves_a_file_without_examples(feeder, tmp_path):
  recording.write_examples(tmp_path, feeder, _state(np.eye(10, dtype=np.int32)))
  made = _read(tmp_path).examples
  assert len(made) == 0
  assert made.original.shape == (0, 8, 8, 3)
  assert made.reached.dtype == bool
