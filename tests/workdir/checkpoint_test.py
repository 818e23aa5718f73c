import dataclasses
import json
import math
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method import optimizer
from blt_jax.method.train_step import TrainState
from blt_jax.workdir.checkpoint import Checkpoints
from blt_jax.workdir.progress import Midway, Progress
from tests.rows import make_row


def _state(step):
  params = {"classifier": {"w": jnp.full(3, float(step))}}
  return TrainState(
    step=jnp.int32(step),
    params=params,
    batch_stats={},
    opt_state=optimizer.init(params),
    confusion=jnp.full((2, 2), step, jnp.int32),
    rng=(),
    apply_fn=lambda: None,
  )


def _run(folder, accuracies, **options):
  """Saves a checkpoint for each (stage, epoch, overall), steps 1, 2, ..."""
  progress = Progress()
  with Checkpoints(folder, **options) as checkpoints:
    for step, (stage, epoch, overall) in enumerate(accuracies, start=1):
      progress = progress.after(
        make_row(stage, epoch, step, val_overall=overall)
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
  assert progress.best == make_row(2, 2, 4, val_overall=60.0)


def test_nan_never_displaces_the_best(tmp_path):
  accuracies = [(2, 1, 30.0)] + [(2, e, math.nan) for e in range(2, 6)]
  progress = _run(tmp_path, accuracies)
  assert progress.best.epoch == 1
  assert _steps(tmp_path) == [1, 4, 5]


def test_earlier_of_equals_is_the_best(tmp_path):
  progress = _run(tmp_path, [(2, epoch, 30.0) for epoch in range(1, 6)])
  assert progress.best.epoch == 1
  assert _steps(tmp_path) == [1, 4, 5]


def test_rounding_errors_of_a_mean_decide_nothing(tmp_path):
  accuracies = [(2, e, 30.0 + 1e-13 * e) for e in range(1, 6)]
  progress = _run(tmp_path, accuracies)
  assert progress.best.epoch == 1
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


def _midway(progress, steps):
  midway = Midway(2, 9, steps, {"loss": 0.1 + 0.2})
  return dataclasses.replace(progress, midway=midway)


def test_flipped_bit_is_found_and_the_checkpoint_passed_over(tmp_path, capsys):
  _run(tmp_path, [(2, 1, 30.0), (2, 2, 40.0)])
  # Of an array of 40 kB, where it changes a value and nothing else.
  state = _state(3).replace(params={"w": jnp.arange(10_000.0)})
  state = state.replace(opt_state=optimizer.init(state.params))
  for name in ("1", "2"):
    shutil.rmtree(tmp_path / name)
  with Checkpoints(tmp_path) as checkpoints:
    row = make_row(2, 1, 3)
    checkpoints.save(state, Progress().after(row))
    checkpoints.save(state.replace(step=jnp.int32(4)), Progress().after(row))
  largest = max(
    (path for path in (tmp_path / "4").rglob("*") if path.is_file()),
    key=lambda path: path.stat().st_size,
  )
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
  with Checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore(state)
  assert restored.step == 3
  np.testing.assert_array_equal(restored.params["w"], np.arange(10_000.0))
  assert f"{tmp_path}/4 is damaged, passed over: " in capsys.readouterr().out


def _rewrite_progress(folder, change):
  path = folder / "progress" / "metadata"
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))


def test_changed_progress_is_found(tmp_path, capsys):
  _run(tmp_path, [(2, 1, 30.0), (2, 2, 40.0)])
  _rewrite_progress(tmp_path / "2", lambda content: content["rows"].pop())
  with Checkpoints(tmp_path) as checkpoints:
    _, progress = checkpoints.restore(_state(0))
  assert progress.epoch == 1
  assert "passed over: wrong checksum of progress" in capsys.readouterr().out


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_missing_or_truncated_file_is_found(tmp_path, capsys):
  _run(tmp_path / "whole", [(2, 1, 30.0), (2, 2, 40.0)])
  files = [p for p in (tmp_path / "whole" / "2").rglob("*") if p.is_file()]
  passed_over = 0
  for number, path in enumerate(files):
    for damage in ("missing", "empty"):
      folder = tmp_path / f"{damage}{number}"
      shutil.copytree(tmp_path / "whole", folder)
      damaged = folder / path.relative_to(tmp_path / "whole")
      damaged.unlink() if damage == "missing" else damaged.write_bytes(b"")
      with Checkpoints(folder, read_only=True) as checkpoints:
        state, progress = checkpoints.restore(_state(0))
      # Either it was not needed, or the checkpoint before is used; never half.
      assert int(state.step) == progress.epoch
      expected = [float(state.step)] * 3
      np.testing.assert_array_equal(state.params["classifier"]["w"], expected)
      passed_over += progress.epoch == 1
  # Of the other files Orbax has no need.
  assert passed_over >= 8
  assert capsys.readouterr().out.count("passed over") == passed_over


def test_links_in_a_checkpoint_are_refused(tmp_path, capsys):
  _run(tmp_path / "own", [(2, 1, 30.0), (2, 2, 40.0)])
  (tmp_path / "own" / "2" / "state").rename(tmp_path / "elsewhere")
  (tmp_path / "own" / "2" / "state").symlink_to(tmp_path / "elsewhere")
  with Checkpoints(tmp_path / "own") as checkpoints:
    state, _ = checkpoints.restore(_state(0))
  assert state.step == 1
  assert "state is a symbolic link" in capsys.readouterr().out


def test_checkpoint_of_other_classes_is_refused(tmp_path):
  _run(tmp_path, [(2, 1, 30.0)])
  other = _state(0).replace(confusion=jnp.zeros((3, 3), jnp.int32))
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(ValueError, match=r"confusion is \(2, 2\) there, \(3, 3\)"),
  ):
    checkpoints.restore(other)


def test_damaged_checkpoint_gives_way_to_a_new_one(tmp_path):
  progress = _run(tmp_path, [(2, 1, 30.0)])
  (tmp_path / "2").mkdir()
  row = make_row(2, 2, 2)
  with Checkpoints(tmp_path) as checkpoints:
    _, progress = checkpoints.restore(_state(0))
    checkpoints.save(_state(2), progress.after(row))
    state, _ = checkpoints.restore(_state(0))
  assert state.step == 2


def test_what_stays_does_not_depend_on_restarts(tmp_path):
  progress = Progress()
  for step, overall in enumerate([20.0, 60.0, 30.0, 40.0, 35.0], start=1):
    row = make_row(2, step, step, val_overall=overall)
    progress = progress.after(row)
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(_state(step), progress)
  assert _steps(tmp_path) == [2, 4, 5]


def test_best_readable_epoch_stands_in_for_a_damaged_best(tmp_path):
  progress = _run(tmp_path, [(2, e, v) for e, v in [(1, 9), (2, 7), (3, 8)]])
  shutil.rmtree(tmp_path / "1" / "state")
  with Checkpoints(tmp_path) as checkpoints:
    state, row = checkpoints.restore_best(_state(0), progress)
  assert state.step == 3
  assert row.epoch == 3


def test_checkpoint_within_an_epoch_is_the_newest_until_its_end(tmp_path):
  folder = tmp_path / "checkpoints"
  progress = _run(folder, [(2, 1, 30.0)])
  with Checkpoints(folder) as checkpoints:
    for step in (2, 3, 4):
      checkpoints.save_midway(_state(step), _midway(progress, step))
    assert _steps(tmp_path / "midway") == [3, 4]
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() == 4
    state, restored = checkpoints.restore(_state(0))
    assert state.step == 4
    assert restored == _midway(progress, 4)
    # The end of the epoch has the number of its last step.
    row = make_row(2, 9, 4)
    checkpoints.save(_state(4), restored.after(row))
    assert checkpoints.restore(_state(0))[1].midway is None
  assert not (tmp_path / "midway").exists()


def test_clean_up_that_was_cut_off_is_ended(tmp_path):
  folder = tmp_path / "checkpoints"
  progress = _run(folder, [(2, e, 30.0 - e) for e in (1, 2, 3)])
  with Checkpoints(folder) as checkpoints:
    checkpoints.save_midway(_state(4), _midway(progress, 4))
  # As it is before anything is removed, and when that has begun.
  shutil.copytree(folder / "3", folder / "4")
  shutil.rmtree(folder / "2" / "state")
  progress = progress.after(make_row(2, 4, 4, val_overall=1.0))
  with Checkpoints(folder) as checkpoints:
    checkpoints.tidy(_state(4), progress)
  assert _steps(folder) == [1, 3, 4]
  assert not (tmp_path / "midway").exists()


def test_file_in_the_place_of_checkpoints_is_named(tmp_path):
  (tmp_path / "checkpoints").write_text("")
  with pytest.raises(ValueError, match="checkpoints is a file; expected"):
    Checkpoints(tmp_path / "checkpoints")


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_vanished_folder_is_named(tmp_path):
  folder = tmp_path / "run" / "checkpoints"
  progress = _run(folder, [(2, 1, 30.0)])
  with Checkpoints(folder) as checkpoints:
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(OSError, match="2 can't be written: .*has vanished"):
      checkpoints.save(_state(2), progress)
  assert not (tmp_path / "run").exists()


def _large_state(step):
  # 0.4 MB of noise, which can't be compressed.
  noise = np.random.default_rng(step).normal(size=100_000)
  return _state(step).replace(params={"w": jnp.asarray(noise, jnp.float32)})


def _fill(folder, done):
  """Saves one checkpoint after the other; their steps are added to `done`."""
  progress = Progress()
  with Checkpoints(folder) as checkpoints:
    for step in range(1, 9):
      row = make_row(2, step, step)
      progress = progress.after(row)
      checkpoints.save(_large_state(step), progress)
      done.append(step)


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk_ends_with_the_last_checkpoint_intact(disk):
  # Three checkpoints are kept, and a fourth has no room.
  disk.resize("1500k")
  folder, done = disk.path / "checkpoints", []
  with pytest.raises(OSError, match="can't be written: the disk is full"):
    _fill(folder, done)
  assert done in ([1, 2], [1, 2, 3])
  with Checkpoints(folder) as checkpoints:
    state, _ = checkpoints.restore(_large_state(0))
  np.testing.assert_array_equal(
    state.params["w"], _large_state(done[-1]).params["w"]
  )
  assert _steps(folder) == done


def test_missing_checkpoint_is_named(tmp_path):
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(FileNotFoundError, match="no readable checkpoint of step 5"),
  ):
    checkpoints.restore(_state(0), step=5)
