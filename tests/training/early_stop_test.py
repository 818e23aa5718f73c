"""Stages that end once the accuracy on validation rises no more."""

import contextlib
import csv
import shutil

import jax
import numpy as np
import pytest

from blt_jax.report.html import page
from blt_jax.report.record import read_run
from blt_jax.system.interrupt import NOTHING, STOP, Interrupted, Watch
from blt_jax.training import train
from blt_jax.training.evaluate import evaluate_run
from blt_jax.workdir import directory, files
from blt_jax.workdir.checkpoint import Checkpoints
from tests import small_run
from tests.marks import long_test

EPOCHS, PATIENCE = 30, {1: 1, 2: 2}
TIMINGS = ("seconds", "data_wait_share", "images_per_second")


def make_config(**fields):
  """Far more epochs than patience leaves of them."""
  given = {
    "stage1__epochs": EPOCHS,
    "stage2__epochs": EPOCHS,
    "stage1__patience": PATIENCE[1],
    "stage2__patience": PATIENCE[2],
    **fields,
  }
  return small_run.make_config(",method=neither", **given)


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
  workdir = tmp_path_factory.mktemp("early") / "whole"
  with (
    (workdir.parent / "shown.txt").open("w") as shown,
    contextlib.redirect_stdout(shown),
  ):
    train.train(make_config(), workdir)
  return workdir


def _rows(workdir):
  with (workdir / "metrics.csv").open() as file:
    return [
      {name: v for name, v in row.items() if not name.endswith(TIMINGS)}
      for row in csv.DictReader(file)
    ]


def _accuracies(workdir, stage):
  rows = [row for row in _rows(workdir) if row["stage"] == str(stage)]
  return [float(row["val_overall"]) for row in rows]


def _last(workdir):
  template = train.Run(make_config()).state_shapes()
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(template.arrays())[0]


def _assert_same(workdir, expected):
  assert _rows(workdir) == _rows(expected)
  results = files.read_object(expected / "results.json")
  assert files.read_object(workdir / "results.json") == results
  jax.tree.map(np.testing.assert_array_equal, _last(workdir), _last(expected))


def _stop(monkeypatch, poll):
  """Lets the next training stop at a poll of its watch, from 1; 0: at none."""
  polls = iter(range(1, 10**6))

  class Scripted(Watch):
    def poll(self):
      return STOP if next(polls) == poll else NOTHING

  monkeypatch.setattr(train, "Watch", Scripted)


@pytest.mark.parametrize("stage", [1, 2])
def test_stage_ends_when_its_patience_does(whole, stage):
  found = _accuracies(whole, stage)
  best = int(np.argmax(np.round(found, 6)))
  assert len(found) == best + 1 + PATIENCE[stage]
  assert len(found) < EPOCHS


def test_result_is_of_the_best_epoch_and_of_the_last(whole):
  results = files.read_object(whole / "results.json")
  found = _accuracies(whole, 2)
  assert results["last"]["epoch"] == len(found)
  assert results["best"]["epoch"] == len(found) - PATIENCE[2]
  assert results["best"]["validation"]["overall"] == max(found)


@long_test("another run")
def test_stops_where_a_stage_ends_change_no_bit(
  whole, tmp_path, monkeypatch, capsys
):
  """Within its last epoch, and after the checkpoint of that."""
  # An epoch is polled for its six steps and four batches of validation.
  before, after = (10 * len(_accuracies(whole, stage)) for stage in (1, 2))
  _stop(monkeypatch, before - 10 + 3)
  with pytest.raises(Interrupted, match="in stage 1 epoch .* after step 3"):
    train.train(make_config(), tmp_path)
  with monkeypatch.context() as patch:
    write = train.records.write_metrics
    _stop(patch, 0)
    patch.setattr(
      train.records,
      "write_metrics",
      lambda workdir, rows: (
        _fail() if len(rows) == before // 10 else write(workdir, rows)
      ),
    )
    with pytest.raises(KeyboardInterrupt):
      train.train(make_config(), tmp_path)
  capsys.readouterr()
  _stop(monkeypatch, after - 10 + 3)
  with pytest.raises(Interrupted, match="in stage 2 epoch .* after step 3"):
    train.train(make_config(), tmp_path)
  assert f"after stage 1 epoch {before // 10}\n" in capsys.readouterr().out
  _stop(monkeypatch, 0)
  train.train(make_config(), tmp_path)
  _assert_same(tmp_path, whole)


def _fail():
  raise KeyboardInterrupt


def test_stage_1_that_ended_early_can_be_reused(whole, tmp_path):
  train.train(make_config(stage1__reuse=str(whole)), tmp_path / "run")
  _assert_same(tmp_path / "run", whole)


def test_stage_1_that_has_not_ended_can_not_be_reused(
  whole, tmp_path, monkeypatch
):
  first = tmp_path / "first"
  _stop(monkeypatch, 13)
  with pytest.raises(Interrupted, match="in stage 1 epoch 2"):
    train.train(make_config(), first)
  monkeypatch.setattr(train, "Watch", Watch)
  config = make_config(stage1__reuse=str(first))
  with pytest.raises(ValueError, match="does not hold the end of its stage 1"):
    train.train(config, tmp_path / "run")


def test_other_patience_is_another_configuration(whole):
  with pytest.raises(ValueError, match=r"stage2\.patience \(2 there, 3 here\)"):
    train.train(make_config(stage2__patience=3), whole)


def test_more_epochs_change_nothing_and_the_run_says_so(
  whole, tmp_path, capsys
):
  workdir = tmp_path / "longer"
  shutil.copytree(whole, workdir)
  longer = make_config(stage2__epochs=EPOCHS + 5)
  train.train(longer, workdir)
  assert (
    "note: more epochs of stage 2 change nothing" in capsys.readouterr().out
  )
  _assert_same(workdir, whole)
  assert directory.read_config(workdir).stage2.epochs == EPOCHS + 5
  train.train(longer, workdir)
  assert "is finished" in capsys.readouterr().out


def test_last_line_of_a_stage_says_why_it_ends(whole):
  shown = (whole.parent / "shown.txt").read_text().splitlines()
  (announced,) = (line for line in shown if line.startswith("neither with"))
  assert f"at most {EPOCHS} + {EPOCHS} epochs on" in announced
  *before, last = (line for line in shown if line.startswith("stage "))
  assert all("left at most" in line for line in before)
  best = files.read_object(whole / "results.json")["best"]
  assert last.endswith(
    f"left 0:00:00  ends early: overall {best['validation']['overall']:.1f} of "
    f"epoch {best['epoch']} was not raised since (config.stage2.patience is 2)"
  )
  first = before[len(_accuracies(whole, 1)) - 1]
  assert first.endswith("(config.stage1.patience is 1)")


def test_evaluation_repeats_the_test_of_the_best_epoch(whole):
  (tested,) = evaluate_run(whole)
  results = files.read_object(whole / "results.json")
  assert tested["overall"] == pytest.approx(results["best"]["test"]["overall"])


def test_report_shows_how_many_epochs_a_stage_had(whole):
  first, second = (len(_accuracies(whole, stage)) for stage in (1, 2))
  run = read_run(whole)
  setting = page._setting(run)
  assert f"{first} of {EPOCHS} + {second} of {EPOCHS} epochs" in setting
  *_, one, two = page._summary(run, {"few": None, "many": None})
  assert "Stage 1 ended early: its accuracy on validation rose no more" in one
  assert two.endswith(f"(stage2.patience is {PATIENCE[2]}).")
