import numpy as np
import pytest

from blt_jax.config import check_config, follow
from blt_jax.training import build
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import build_stages, plan_epoch
from configs import digits_lt


def _feeder(devices):
  config = follow(check_config(digits_lt.get_config("batch=32,seed=5")))
  dataset = build.build_dataset(config)
  stages = build_stages(config, dataset.class_counts, devices=devices)
  return Feeder(config, dataset, devices=devices), stages


def _plan(feeder, stage, epoch):
  labels = feeder.dataset.train.labels
  return plan_epoch(feeder.config, stage, epoch, labels=labels)


def _undeal(array):
  """The global order of images that lie on devices."""
  return array.reshape(-1, *array.shape[2:])


def _undeal_slots(array):
  """The global order of slots that lie on devices."""
  return _undeal(array.swapaxes(0, 1))


def test_devices_share_the_very_batch_of_one():
  (one, stages), (four, stages4) = _feeder(1), _feeder(4)
  batch = next(one.training(_plan(one, stages[1], 2))).batch
  shared = next(four.training(_plan(four, stages4[1], 2))).batch
  slots = batch.sources.used.size
  assert stages4[1].capacity >= slots
  for name in ("image", "label"):
    np.testing.assert_array_equal(
      _undeal(getattr(shared, name)), _undeal(getattr(batch, name))
    )
  for whole, array in zip(shared.sources, batch.sources, strict=True):
    np.testing.assert_array_equal(
      _undeal_slots(whole)[:slots], _undeal_slots(array)
    )
  assert not _undeal_slots(shared.sources.used)[slots:].any()


def test_used_slots_are_spread_over_the_devices():
  feeder, stages = _feeder(4)
  for batch, _ in feeder.training(_plan(feeder, stages[1], 2)):
    used = batch.sources.used.sum(axis=1)
    assert used.max() - used.min() <= 1


def test_no_slot_is_used_before_the_start_epoch():
  feeder, stages = _feeder(1)
  assert not _plan(feeder, stages[1], 1).used.any()
  assert _plan(feeder, stages[1], 2).used.any()


def test_stage_without_perturbation_has_no_slots():
  feeder, stages = _feeder(1)
  assert stages[0].capacity == 0
  (batch, _), *_ = feeder.training(_plan(feeder, stages[0], 1))
  assert batch.sources is None


@pytest.mark.parametrize("devices", [1, 3])
def test_evaluation_holds_every_image_once_and_is_read_once(devices):
  config = follow(check_config(digits_lt.get_config("batch=32")))
  dataset = build.build_dataset(config)
  feeder = Feeder(config, dataset, devices=devices)
  batches = list(feeder.evaluation("test"))
  mask = np.concatenate([batch.mask.reshape(-1) for batch in batches])
  labels = np.concatenate([batch.label.reshape(-1) for batch in batches])
  np.testing.assert_array_equal(labels[mask], dataset.test.labels)
  again = list(feeder.evaluation("test"))
  assert all(a.image is b.image for a, b in zip(batches, again, strict=True))
