import numpy as np
import pytest

from blt_jax.training import static_images, train
from tests.small_run import make_config


def test_more_than_is_free_is_refused_before_the_work_begins(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(static_images, "_free_memory", lambda: 1)
  config = make_config(",method=static_targeted")
  message = (
    r"config.perturb.static is True, for which \d+ images of 8 x 8 pixels .*"
    r"take 0.0 GB, and 0.0 GB are free; expected"
  )
  with pytest.raises(ValueError, match=message):
    train.train(config, tmp_path)
  assert not list(tmp_path.iterdir())


def test_other_methods_need_no_memory_for_them(monkeypatch):
  monkeypatch.setattr(static_images, "_free_memory", lambda: 0)
  run = train.Run(make_config())
  static_images.check_memory(run.config, run.stages, run.class_counts)


def test_free_memory_is_that_of_this_machine():
  assert 2**20 < static_images._free_memory() < 2**50


def test_slots_take_the_images_that_were_made_from_their_sources():
  pool = static_images.Pool(
    images=np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1),
    usable=np.array([True, False, True]),
    members=np.array([4, 7, 9]),
    labels=np.array([5, 5, 6], np.int32),
  )
  filled = pool.fill(np.array([9, 7, 2]), np.array([True, True, False]))
  assert filled.image[:2].ravel().tolist() == [2, 1]
  assert filled.label[:2].tolist() == [6, 5]
  assert filled.used.tolist() == [True, False, False]
