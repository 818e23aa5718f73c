import dataclasses
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from blt_jax.workdir import orbax_store
from blt_jax.workdir.checkpoint import Checkpoints, read_epoch
from blt_jax.workdir.progress import Midway, Progress
from tests.rows import make_row


def _arrays(step):
  """What a state holds, each array filled with the step."""
  params = {"classifier": {"w": np.full(3, float(step), np.float32)}}
  return {
    "step": jnp.int32(step),
    "params": params,
    "batch_stats": {},
    "opt_state": optax.sgd(0.1, momentum=0.9).init(params),
    "confusion": np.full((2, 2), step, np.int32),
  }


def _run(folder, accuracies, **options):
  """Saves a checkpoint for each (stage, epoch, overall), steps 1, 2, ..."""
  progress = Progress()
  with Checkpoints(folder, **options) as checkpoints:
    for step, (stage, epoch, overall) in enumerate(accuracies, start=1):
      progress = progress.after(
        make_row(stage, epoch, step, val_overall=overall)
      )
      checkpoints.save(_arrays(step), progress)
  return progress


def _steps(folder):
  return sorted(int(path.name) for path in folder.iterdir())


def test_round_trip(tmp_path):
  progress = _run(tmp_path, [(1, 1, 10.0)])
  with Checkpoints(tmp_path) as checkpoints:
    arrays, restored = checkpoints.restore(_arrays(0))
  assert restored == progress
  np.testing.assert_array_equal(arrays["params"]["classifier"]["w"], [1.0] * 3)
  np.testing.assert_array_equal(arrays["confusion"], np.full((2, 2), 1))
  assert arrays["step"] == 1


def test_latest_two_and_best_and_end_of_stage_1_are_kept(tmp_path):
  accuracies = [(1, 1, 90.0), (1, 2, 50.0)] + [
    (2, epoch, overall)
    for epoch, overall in enumerate([20.0, 60.0, 30.0, 40.0, 35.0], start=1)
  ]
  progress = _run(tmp_path, accuracies)
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
    arrays, progress = checkpoints.restore(_arrays(0))
  assert arrays["step"] == 1
  assert progress.epoch == 1
  said = capsys.readouterr().out
  assert f"checkpoint {tmp_path}/2 is damaged, passed over" in said


def _midway(progress, steps):
  midway = Midway(2, 9, steps, {"loss": 0.1 + 0.2})
  return dataclasses.replace(progress, midway=midway)


def test_flipped_bit_is_found_and_the_checkpoint_passed_over(tmp_path, capsys):
  _run(tmp_path, [(2, 1, 30.0), (2, 2, 40.0)])
  # Of an array of 40 kB, where it changes a value and nothing else.
  arrays = _arrays(3) | {"params": {"w": np.arange(10_000.0, dtype="float32")}}
  for name in ("1", "2"):
    shutil.rmtree(tmp_path / name)
  with Checkpoints(tmp_path) as checkpoints:
    row = make_row(2, 1, 3)
    checkpoints.save(arrays, Progress().after(row))
    checkpoints.save(arrays | {"step": jnp.int32(4)}, Progress().after(row))
  largest = max(
    (path for path in (tmp_path / "4").rglob("*") if path.is_file()),
    key=lambda path: path.stat().st_size,
  )
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
  with Checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore(arrays)
  assert restored["step"] == 3
  np.testing.assert_array_equal(restored["params"]["w"], np.arange(10_000.0))
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
    _, progress = checkpoints.restore(_arrays(0))
  assert progress.epoch == 1
  assert "passed over: wrong checksum of progress/" in capsys.readouterr().out


def test_every_missing_or_truncated_file_is_found(tmp_path, capfd):
  _run(tmp_path / "whole", [(2, 1, 30.0), (2, 2, 40.0)])
  paths = [p for p in (tmp_path / "whole" / "2").rglob("*") if p.is_file()]
  assert len(paths) >= 8
  for number, path in enumerate(paths):
    folder = tmp_path / str(number)
    shutil.copytree(tmp_path / "whole", folder)
    damaged = folder / path.relative_to(tmp_path / "whole")
    if number % 2:
      damaged.unlink()
    else:
      os.truncate(damaged, damaged.stat().st_size // 2)
    with Checkpoints(folder, read_only=True) as checkpoints:
      arrays, progress = checkpoints.restore(_arrays(0))
    assert int(arrays["step"]) == progress.epoch == 1
    np.testing.assert_array_equal(
      arrays["params"]["classifier"]["w"], [1.0] * 3
    )
  said, errors = capfd.readouterr()
  assert said.count("is damaged, passed over: ") == len(paths)
  assert not errors  # No page by Orbax.


def test_links_in_a_checkpoint_are_refused(tmp_path, capsys):
  _run(tmp_path / "own", [(2, 1, 30.0), (2, 2, 40.0)])
  (tmp_path / "own" / "2" / "state").rename(tmp_path / "elsewhere")
  (tmp_path / "own" / "2" / "state").symlink_to(tmp_path / "elsewhere")
  with Checkpoints(tmp_path / "own") as checkpoints:
    arrays, _ = checkpoints.restore(_arrays(0))
  assert arrays["step"] == 1
  assert "state is a symbolic link" in capsys.readouterr().out


def test_checkpoint_of_other_classes_is_refused(tmp_path):
  _run(tmp_path, [(2, 1, 30.0)])
  other = _arrays(0) | {"confusion": np.zeros((3, 3), np.int32)}
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(ValueError, match=r"confusion is \(2, 2\) there, \(3, 3\)"),
  ):
    checkpoints.restore(other)


def test_checkpoint_of_other_layers_is_refused(tmp_path):
  _run(tmp_path, [(2, 1, 30.0)])
  layers = {"classifier": {"w": np.zeros(3, np.float32), "b": np.zeros(2)}}
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(ValueError, match="1 is of another network: "),
  ):
    checkpoints.restore(_arrays(0) | {"params": layers})


@pytest.mark.parametrize("entries", [0, 3])
def test_confusion_is_stored_by_its_entries(tmp_path, entries):
  confusion = np.zeros((500, 500), np.int32)
  confusion.flat[:entries] = 7
  with Checkpoints(tmp_path) as checkpoints:
    arrays = _arrays(1) | {"confusion": confusion}
    checkpoints.save(arrays, Progress().after(make_row(2, 1, 1)))
    restored, _ = checkpoints.restore(arrays)
  assert restored["confusion"].dtype == np.int32
  np.testing.assert_array_equal(restored["confusion"], confusion)
  with ocp.CheckpointManager(tmp_path, item_names=("state",)) as manager:
    args = ocp.args.Composite(state=ocp.args.StandardRestore())
    stored = manager.restore(1, args=args)["state"]["confusion"]
  assert stored.shape == (entries + 1, 3)


def test_epoch_of_a_run_is_read_though_the_best_is_damaged(tmp_path, capsys):
  progress = _run(
    tmp_path / "checkpoints", [(2, 1, 9.0), (2, 2, 7.0), (2, 3, 8.0)]
  )
  shutil.rmtree(tmp_path / "checkpoints" / "1" / "state")
  arrays, row = read_epoch(tmp_path, _arrays(0), checkpoint="best")
  assert (int(arrays["step"]), row) == (3, progress.rows[2])
  assert "stage 2 epoch 3 takes its place" in capsys.readouterr().out
  arrays, row = read_epoch(tmp_path, _arrays(0), checkpoint="last")
  assert (int(arrays["step"]), row) == (3, progress.rows[2])


def test_run_without_a_checkpoint_has_no_epoch_to_read(tmp_path):
  (tmp_path / "checkpoints").mkdir()
  with pytest.raises(ValueError, match="holds no checkpoint yet"):
    read_epoch(tmp_path, _arrays(0), checkpoint="best")


def test_damaged_checkpoint_gives_way_to_a_new_one(tmp_path):
  progress = _run(tmp_path, [(2, 1, 30.0)])
  (tmp_path / "2").mkdir()
  row = make_row(2, 2, 2)
  with Checkpoints(tmp_path) as checkpoints:
    _, progress = checkpoints.restore(_arrays(0))
    checkpoints.save(_arrays(2), progress.after(row))
    arrays, _ = checkpoints.restore(_arrays(0))
  assert arrays["step"] == 2


def test_what_stays_does_not_depend_on_restarts(tmp_path):
  progress = Progress()
  for step, overall in enumerate([20.0, 60.0, 30.0, 40.0, 35.0], start=1):
    row = make_row(2, step, step, val_overall=overall)
    progress = progress.after(row)
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(_arrays(step), progress)
  assert _steps(tmp_path) == [2, 4, 5]


def test_best_readable_epoch_stands_in_for_a_damaged_best(tmp_path):
  progress = _run(tmp_path, [(2, e, v) for e, v in [(1, 9), (2, 7), (3, 8)]])
  shutil.rmtree(tmp_path / "1" / "state")
  with Checkpoints(tmp_path) as checkpoints:
    arrays, row = checkpoints.restore_best(_arrays(0), progress)
  assert arrays["step"] == 3
  assert row.epoch == 3


def test_checkpoint_within_an_epoch_is_the_newest_until_its_end(tmp_path):
  folder = tmp_path / "checkpoints"
  progress = _run(folder, [(2, 1, 30.0)])
  with Checkpoints(folder) as checkpoints:
    for step in (2, 3, 4):
      checkpoints.save_midway(_arrays(step), _midway(progress, step))
    assert _steps(tmp_path / "midway") == [3, 4]
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.latest_step() == 4
    arrays, restored = checkpoints.restore(_arrays(0))
    assert arrays["step"] == 4
    assert restored == _midway(progress, 4)
    # The end of the epoch has the number of its last step.
    row = make_row(2, 9, 4)
    checkpoints.save(_arrays(4), restored.after(row))
    assert checkpoints.restore(_arrays(0))[1].midway is None
  assert not (tmp_path / "midway").exists()


def test_clean_up_that_was_cut_off_is_ended(tmp_path):
  folder = tmp_path / "checkpoints"
  progress = _run(folder, [(2, e, 30.0 - e) for e in (1, 2, 3)])
  with Checkpoints(folder) as checkpoints:
    checkpoints.save_midway(_arrays(4), _midway(progress, 4))
  # As it is before anything is removed, and when that has begun.
  shutil.copytree(folder / "3", folder / "4")
  shutil.rmtree(folder / "2" / "state")
  progress = progress.after(make_row(2, 4, 4, val_overall=1.0))
  with Checkpoints(folder) as checkpoints:
    checkpoints.remove_old(progress, step=4)
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
      checkpoints.save(_arrays(2), progress)
  assert not (tmp_path / "run").exists()


def _large_arrays(step):
  # 0.4 MB of noise, which can't be compressed.
  noise = np.random.default_rng(step).normal(size=100_000)
  return _arrays(step) | {"params": {"w": noise.astype(np.float32)}}


def _fill(folder, done):
  """Saves one checkpoint after the other; their steps are added to `done`."""
  progress = Progress()
  with Checkpoints(folder) as checkpoints:
    for step in range(1, 9):
      row = make_row(2, step, step)
      progress = progress.after(row)
      checkpoints.save(_large_arrays(step), progress)
      done.append(step)


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk_ends_with_the_last_checkpoint_intact(disk, capfd):
  # Three checkpoints are kept, and a fourth has no room.
  disk.resize("1500k")
  folder, done = disk.path / "checkpoints", []
  with pytest.raises(OSError, match="can't be written: the disk is full"):
    _fill(folder, done)
  assert done in ([1, 2], [1, 2, 3])
  with Checkpoints(folder) as checkpoints:
    arrays, _ = checkpoints.restore(_large_arrays(0))
  np.testing.assert_array_equal(
    arrays["params"]["w"], _large_arrays(done[-1])["params"]["w"]
  )
  assert _steps(folder) == done
  assert not capfd.readouterr().err  # No page by Orbax.


def test_missing_checkpoint_is_named(tmp_path):
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(FileNotFoundError, match="no readable checkpoint of step 5"),
  ):
    checkpoints.restore(_arrays(0), step=5)


# Names that Orbax, or what it stands on, takes for patterns or addresses or
# does not know, and others.
NAMES = (
  *("[ab]", "a[0]b", "a*b", "**", "a?b", "{a,b}", "~", "a%20b", "#=&,'\"$HOME"),
  *("a\\b", "a\\", " a  b ", "a\nb", "é\U0001f600", "gs:", "x\udcff"),
)


@pytest.mark.parametrize("name", NAMES)
def test_any_path_can_be_written_and_read(tmp_path, monkeypatch, name):
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setattr("tempfile.tempdir", None)
  workdir = tmp_path / name / "run"
  progress = _run(workdir / "checkpoints", [(2, 1, 30.0), (2, 2, 40.0)])
  with Checkpoints(workdir / "checkpoints") as checkpoints:
    checkpoints.save_midway(_arrays(3), _midway(progress, 3))
    assert checkpoints.restore(_arrays(0))[0]["step"] == 3
  arrays, row = read_epoch(workdir, _arrays(0), checkpoint="best")
  assert (int(arrays["step"]), row.step) == (2, 2)
  assert [path.name for path in tmp_path.iterdir()] == [name]
  # It can be read at another place.
  (tmp_path / name).rename(tmp_path / "plain")
  read_epoch(tmp_path / "plain" / "run", _arrays(0), checkpoint="best")


def test_path_that_has_no_alias_is_refused(tmp_path, monkeypatch):
  (tmp_path / "[t]").mkdir()
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[t]"))
  with pytest.raises(ValueError, match="expected another TMPDIR, or another"):
    Checkpoints(tmp_path / "[a]" / "checkpoints")
  assert not list((tmp_path / "[t]").iterdir())


def _lose_manifest(folder):
  (folder / "state" / "manifest.ocdbt").unlink()


def _lose_array(folder):
  shutil.rmtree(folder / "state" / "d")


def _change_progress(folder):
  _rewrite_progress(folder, lambda content: content["rows"].pop())


def _other_bits(folder):
  with ocp.StandardCheckpointer() as checkpointer:
    content = checkpointer.restore(folder / "state")
    content["params"]["classifier"]["w"][0] += 1
    shutil.rmtree(folder / "state")
    checkpointer.save(folder / "state", content)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Of _other_bits.
@pytest.mark.parametrize(
  "damage, message",
  [
    (_lose_manifest, "can't be read back: "),
    (_lose_array, "can't be read back: "),
    (_change_progress, "the progress read back is not what was written"),
    (_other_bits, "what is read back is not what was written"),
  ],
)
def test_damaged_save_does_not_count(
  tmp_path, monkeypatch, capsys, damage, message
):
  progress = _run(tmp_path, [(2, 1, 30.0)])
  write = orbax_store.Store._write

  def damaged(store, step, *given):
    write(store, step, *given)
    damage(tmp_path / str(step))

  monkeypatch.setattr(orbax_store.Store, "_write", damaged)
  with Checkpoints(tmp_path) as checkpoints:
    after = progress.after(make_row(2, 2, 2))
    with pytest.raises(OSError, match=f"2 can't be written: .*{message}"):
      checkpoints.save(_arrays(2), after)
    arrays, _ = checkpoints.restore(_arrays(0))
    assert arrays["step"] == 1
    assert "2 is damaged, passed over: it has no" in capsys.readouterr().out
    monkeypatch.undo()
    checkpoints.save(_arrays(2), after)
    assert checkpoints.restore(_arrays(0))[0]["step"] == 2


_KILLED = """
import os, pathlib, signal, sys
from blt_jax.workdir import orbax_store
from tests.workdir.checkpoint_test import _run
check, steps = orbax_store.Store._check_readable, []
def killed(store, step, *given):
  if step == int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
  check(store, step, *given)
orbax_store.Store._check_readable = killed
_run(pathlib.Path(sys.argv[1]), [(2, 1, 30.0), (2, 2, 40.0)])
"""


@pytest.mark.parametrize("step, before", [(1, None), (2, 1)])
def test_killed_while_a_checkpoint_is_checked(tmp_path, capsys, step, before):
  folder = tmp_path / "checkpoints"
  finished = subprocess.run(
    [sys.executable, "-c", _KILLED, str(folder), str(step)],
    cwd=pathlib.Path(__file__).parents[2],
    timeout=60,
  )
  assert finished.returncode == -signal.SIGKILL
  assert _steps(folder)[-1] == step
  with Checkpoints(folder) as checkpoints:
    if before is None:  # The run begins again.
      assert checkpoints.latest_step() is None
      assert "1 was not finished; removed" in capsys.readouterr().out
    else:
      assert checkpoints.restore(_arrays(0))[0]["step"] == before
    checkpoints.save(_arrays(2), Progress().after(make_row(2, 2, 2)))
    assert checkpoints.restore(_arrays(0))[0]["step"] == 2
