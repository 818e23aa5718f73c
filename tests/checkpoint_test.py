import math

import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax import optimizer
from blt_jax.checkpoint import Checkpoints, Progress
from blt_jax.train_step import TrainState


def _state(step):
  params = {"classifier": {"w": jnp.full(3, float(step))}}
  tx = optimizer.sgd(lambda _: 0.1, lambda _: 0.1)
  return TrainState(
    step=jnp.int32(step),
    params=params,
    batch_stats={},
    opt_state=tx.init(params),
    confusion=jnp.full((2, 2), step, jnp.int32),
    rng=(),
    apply_fn=lambda: None,
    tx=tx,
  )


def _run(folder, accuracies, **options):
  """Saves a checkpoint for each (stage, epoch, overall), steps 1, 2, ..."""
  progress = Progress()
  with Checkpoints(folder, **options) as checkpoints:
    for step, (stage, epoch, overall) in enumerate(accuracies, start=1):
      progress = progress.after(
        {"stage": stage, "epoch": epoch, "step": step, "val_overall": overall}
      )
      checkpoints.save(_state(step), progress)
  return progress


def _steps(folder):
  return sorted(int(path.name) for path in folder.iterdir())


def test_round_trip(tmp_path):
  progress = _run(tmp_path, [(1, 1, 10.0)])
  with Checkpoints(tmp_path) as checkpoints:
    state, restored = checkpoints.restore(_state(0))
  assert restored == progress
  np.testing.assert_array_equal(state.params["classifier"]["w"], [1.0] * 3)
  np.testing.assert_array_equal(state.confusion, np.full((2, 2), 1))
  assert state.step == 1


def test_latest_two_and_best_and_end_of_stage_1_are_kept(tmp_path):
  accuracies = [(1, 1, 90.0), (1, 2, 50.0)] + [
    (2, epoch, overall)
    for epoch, overall in enumerate([20.0, 60.0, 30.0, 40.0, 35.0], start=1)
  ]
  progress = _run(tmp_path, accuracies, keep_steps=(2,))
  assert _steps(tmp_path) == [2, 4, 6, 7]
  assert progress.best == {"stage": 2, "epoch": 2, "step": 4, "overall": 60.0}


def test_nan_never_displaces_the_best(tmp_path):
  accuracies = [(2, 1, 30.0)] + [(2, e, math.nan) for e in range(2, 6)]
  progress = _run(tmp_path, accuracies)
  assert progress.best["epoch"] == 1
  assert _steps(tmp_path) == [1, 4, 5]


def test_earlier_of_equals_is_the_best(tmp_path):
  progress = _run(tmp_path, [(2, epoch, 30.0) for epoch in range(1, 6)])
  assert progress.best["epoch"] == 1
  assert _steps(tmp_path) == [1, 4, 5]


def test_rounding_errors_of_a_mean_decide_nothing(tmp_path):
  accuracies = [(2, e, 30.0 + 1e-13 * e) for e in range(1, 6)]
  progress = _run(tmp_path, accuracies)
  assert progress.best["epoch"] == 1
  assert _steps(tmp_path) == [1, 4, 5]


def test_damaged_newest_checkpoint_is_passed_over(tmp_path, capsys):
  _run(tmp_path, [(2, 1, 30.0), (2, 2, 40.0)])
  (tmp_path / "9").mkdir()
  for path in (tmp_path / "2" / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with Checkpoints(tmp_path) as checkpoints:
    state, progress = checkpoints.restore(_state(0))
  assert state.step == 1
  assert progress.epoch == 1
  said = capsys.readouterr().out
  assert f"checkpoint {tmp_path}/2 is damaged, passed over" in said


def test_each_stage_looks_for_its_own_best():
  row = {"stage": 1, "epoch": 3, "step": 30, "val_overall": 80.0}
  progress = Progress().after(row)
  progress = progress.after(
    {"stage": 2, "epoch": 1, "step": 40, "val_overall": 20.0}
  )
  assert progress.best["step"] == 40
  assert len(progress.rows) == 2


def test_missing_checkpoint_is_named(tmp_path):
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(FileNotFoundError, match="no readable checkpoint of step 5"),
  ):
    checkpoints.restore(_state(0), step=5)
