"""Runs that are stopped between any two steps, and how they go on."""

import csv
import json
import os
import pathlib
import shutil
from typing import ClassVar

import jax
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.system.interrupt import NOTHING, SAVE, STOP, Interrupted, Watch
from blt_jax.training import choose, resume, train
from blt_jax.training.run import Run
from blt_jax.workdir import directory, files
from blt_jax.workdir.checkpoint import Checkpoints
from tests import small_run
from tests.marks import long_test

TIMINGS = ("seconds", "data_wait_share", "images_per_second")


def make_config(variant=small_run.FEW_SLOTS, **fields):
  return small_run.make_config(variant, **fields)


class _Scripted(Watch):
  """Asks for what it is told at certain polls, in place of signals."""

  script: ClassVar[dict[int, int]]
  polls: ClassVar[int] = 0

  def poll(self):
    type(self).polls += 1
    return self.script.get(self.polls, NOTHING)


@pytest.fixture
def script(monkeypatch):
  """Sets what is asked for at which poll, counted over all calls of train."""

  def use(answers):
    watch = type("_Watch", (_Scripted,), {"script": answers})
    monkeypatch.setattr(train, "Watch", watch)
    return watch

  return use


@pytest.fixture(autouse=True, scope="module")
def _quick():
  with (
    small_run.one_block(),
    small_run.steps_traced_once(),
    small_run.without_examples(),
  ):
    yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Work directory of a run that was never stopped."""
  workdir = tmp_path_factory.mktemp("resume") / "whole"
  train.train(make_config(), workdir)
  return workdir


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
  """Work directory of a run that stopped within the first epoch of stage 2."""
  workdir = tmp_path_factory.mktemp("resume") / "stopped"
  watch = type("_Watch", (_Scripted,), {"script": {14: STOP}})
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "Watch", watch)
    with pytest.raises(Interrupted):
      train.train(make_config(), workdir)
  return workdir


@pytest.fixture
def stopped(stopped_once, tmp_path):
  """A copy of it."""
  return pathlib.Path(shutil.copytree(stopped_once, tmp_path / "stopped"))


def _rows(workdir):
  with (workdir / "metrics.csv").open() as file:
    return [
      {name: v for name, v in row.items() if not name.endswith(TIMINGS)}
      for row in csv.DictReader(file)
    ]


def _last(workdir, config):
  """The arrays of the newest checkpoint."""
  state = train.Run(config).state_shapes()
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(state.arrays())[0]


def _assert_same(workdir, expected, config=None):
  config = config or make_config()
  assert _rows(workdir) == _rows(expected)
  results = files.read_object(expected / "results.json")
  assert files.read_object(workdir / "results.json") == results
  jax.tree.map(
    np.testing.assert_array_equal,
    _last(workdir, config),
    _last(expected, config),
  )
  assert not (workdir / "midway").exists()
  assert not list(workdir.rglob("*.tmp*"))


def _train_with_stops(config, workdir):
  """Trains until the end; returns the messages of the stops."""
  messages = []
  while True:
    try:
      train.train(config, workdir)
      return messages
    except Interrupted as interrupted:
      messages.append(str(interrupted))


def test_stops_anywhere_change_no_bit(whole, tmp_path, script):
  # In both stages and their validations, and in the test. An epoch has six
  # steps and four batches of validation images.
  script(dict.fromkeys((2, 8, 16, 24, 32, 40), STOP))
  messages = _train_with_stops(make_config(), tmp_path)
  places = [message.split(";")[0].split("SIGTERM ")[1] for message in messages]
  assert places == [
    "in stage 1 epoch 1 after step 2 of 6",
    "in stage 1 epoch 1 after step 6 of 6",
    "in stage 2 epoch 1 after step 4 of 6",
    "in stage 2 epoch 2 after step 2 of 6",
    "in stage 2 epoch 2 after step 6 of 6",
    "after the last epoch, before its test",
  ]
  _assert_same(tmp_path, whole)


def test_checkpoints_in_between_change_no_bit(whole, tmp_path, script):
  watch = script(dict.fromkeys(range(2, 60, 3), SAVE))
  train.train(make_config(), tmp_path)
  assert watch.polls > 3 * 6
  _assert_same(tmp_path, whole)


@long_test("two more runs")
def test_static_images_are_those_of_the_end_of_stage_1(tmp_path, script):
  config = make_config(",method=static_targeted")
  script({})
  train.train(config, tmp_path / "whole")
  script({28: STOP})
  with pytest.raises(Interrupted, match="stage 2 epoch 2"):
    train.train(config, tmp_path / "stopped")
  pool = tmp_path / "stopped" / "static_images.npz"
  content = bytearray(pool.read_bytes())
  content[len(content) // 2] ^= 1
  pool.write_bytes(content)
  train.train(config, tmp_path / "stopped")
  _assert_same(tmp_path / "stopped", tmp_path / "whole", config)


def test_damaged_newest_checkpoint_costs_time_and_nothing_else(
  whole, stopped, capsys
):
  (newest,) = (stopped / "midway").iterdir()
  shutil.rmtree(newest / "state")
  train.train(make_config(), stopped)
  said = capsys.readouterr().out
  assert f"{newest} is damaged, passed over" in said
  assert "after stage 1 epoch 1" in said
  _assert_same(stopped, whole)


def test_no_readable_checkpoint_is_refused_and_nothing_begins(stopped):
  for folder in ("midway", "checkpoints"):
    for path in (stopped / folder).iterdir():
      shutil.rmtree(path / "state")
  with pytest.raises(FileNotFoundError, match="no readable checkpoint in"):
    train.train(make_config(), stopped)
  assert len(_rows(stopped)) == 1


def _scalars(workdir):
  from tensorboard.backend.event_processing import event_accumulator

  found = []
  for path in sorted(workdir.glob("events.*")):
    events = event_accumulator.EventAccumulator(str(path))
    events.Reload()
    for tag in events.Tags()["tensors"]:
      found += [(event.step, tag) for event in events.Tensors(tag)]
  return sorted(found)


def test_tensorboard_has_every_value_once(whole, stopped):
  # As if it had ended in the middle of writing those of the first epoch.
  (first,) = stopped.glob("events.*")
  first.write_bytes(first.read_bytes()[:-7])
  assert len(_scalars(stopped)) == len(_scalars(whole)) / 3 - 1
  train.train(make_config(), stopped)
  assert len(set(_scalars(whole))) == len(_scalars(whole))
  assert _scalars(stopped) == _scalars(whole)


def test_longer_run_goes_on_from_a_finished_one(whole, tmp_path):
  workdir = tmp_path / "longer"
  shutil.copytree(whole, workdir)
  longer = make_config(stage2__epochs=3)
  results = train.train(longer, workdir)
  assert results["last"]["epoch"] == 3
  assert _rows(workdir)[:3] == _rows(whole)
  assert directory.read_config(workdir).stage2.epochs == 3
  assert files.read_object(workdir / "results-stage2-epoch002.json") == (
    files.read_object(whole / "results.json")
  )
  with pytest.raises(ValueError, match=r"stage2\.epochs \(3 there, 2 here\)"):
    train.train(make_config(), workdir)


def test_run_that_becomes_longer_before_its_first_checkpoint(tmp_path):
  begun, longer = (
    choose.complete(check_config(make_config(stage2__epochs=n))).config
    for n in (2, 3)
  )
  directory.claim(tmp_path, begun)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    _, progress = resume.begin_or_resume(Run(longer), checkpoints, tmp_path)
  assert not progress.rows
  assert directory.read_config(tmp_path) == longer


def test_longer_stage_1_is_refused_once_stage_2_has_begun(whole, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  before = (workdir / "config.json").read_bytes()
  with pytest.raises(ValueError, match="is 2; expected 1, because .* stage 2"):
    train.train(make_config(stage1__epochs=2), workdir)
  assert (workdir / "config.json").read_bytes() == before


def test_other_number_of_devices_goes_on(whole, stopped):
  config = make_config()
  config.num_devices = 4
  train.train(config, stopped)
  rows, expected = _rows(stopped), _rows(whole)
  for name in ("step", "hallucinated", "overflow"):
    assert [row[name] for row in rows] == [row[name] for row in expected]
  assert float(rows[1]["loss"]) == pytest.approx(
    float(expected[1]["loss"]), rel=1e-3
  )


def test_other_images_are_refused(whole, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  (workdir / "results.json").unlink()
  classes = json.loads((workdir / "classes.json").read_text())
  classes["class_counts"][4] += 1
  (workdir / "classes.json").write_text(json.dumps(classes))
  with pytest.raises(ValueError, match="class 4 has .* training images there"):
    train.train(make_config(), workdir)


def test_stage1_of_other_images_is_refused(whole, tmp_path):
  shutil.copytree(whole, tmp_path / "first")
  classes = json.loads((whole / "classes.json").read_text())
  classes["class_names"][4] = "four"
  (tmp_path / "first" / "classes.json").write_text(json.dumps(classes))
  config = make_config(stage1__reuse=str(tmp_path / "first"))
  with pytest.raises(ValueError, match="'four' is missing here, '4' is new"):
    train.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_used_directory_is_refused_and_named(whole, tmp_path):
  workdir = tmp_path / "run"
  with (
    directory.lock(workdir),
    pytest.raises(ValueError, match=rf"in use: process {os.getpid()} on "),
  ):
    train.train(make_config(), workdir)
  assert not list(workdir.iterdir())


def test_lock_that_a_killed_process_left_in_a_finished_run_goes(
  whole, tmp_path
):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  (workdir / directory.LOCK).write_text("of a process that was killed")
  train.train(make_config(), workdir)
  assert not (workdir / directory.LOCK).exists()


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk_costs_time_and_nothing_else(whole, disk, monkeypatch):
  workdir = disk.path / "run"
  write = train.records.write_confusion

  def fill(workdir, name, confusion):
    # The first checkpoint has room, the second one not.
    if name == "stage2-epoch001":
      used = shutil.disk_usage(disk.path).used // 1024
      disk.resize(f"{used + 40}k")
    write(workdir, name, confusion)

  monkeypatch.setattr(train.records, "write_confusion", fill)
  with pytest.raises(OSError, match="12 can't be written: the disk is full"):
    train.train(make_config(), workdir)
  assert len(_rows(workdir)) == 1
  disk.resize("64m")
  monkeypatch.setattr(train.records, "write_confusion", write)
  train.train(make_config(), workdir)
  _assert_same(workdir, whole)


def test_read_only_directory_is_named(disk):
  disk.protect()
  workdir = disk.path / "run"
  with pytest.raises(
    ValueError, match=f"{workdir} can't be written: Read-only"
  ):
    train.train(make_config(), workdir)


# Orbax leaves coroutines behind when it fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_vanished_directory_is_named(tmp_path, monkeypatch):
  workdir = tmp_path / "run"
  write = train.records.write_confusion

  def vanish(*arguments):
    shutil.rmtree(workdir)
    pathlib.Path(workdir).mkdir()
    write(*arguments)

  monkeypatch.setattr(train.records, "write_confusion", vanish)
  with pytest.raises(OSError, match="6 can't be written: .*vanished"):
    train.train(make_config(), workdir)
