import dataclasses
import json
import math

import pytest

from blt_jax.workdir.progress import Midway, Progress
from tests.rows import make_row


def _progress():
  rows = (
    make_row(1, 1, 10, val_overall=80.0),
    make_row(1, 2, 20, val_overall=80.0),
    make_row(2, 1, 40, val_overall=20.0),
  )
  return Progress(rows, Midway(2, 2, 7, {"loss": 0.1 + 0.2}))


def test_each_stage_looks_for_its_own_best():
  progress = _progress()
  assert progress.best.step == 40
  assert Progress(progress.rows[:2]).best.step == 10
  assert Progress().best is None


def test_epochs_and_steps_are_those_of_a_stage():
  progress = _progress()
  assert [progress.epochs_done(stage) for stage in (1, 2)] == [2, 1]
  assert progress.midway_in(1) is None
  assert progress.midway_in(2).steps == 7
  assert (progress.stage, progress.epoch) == (2, 1)
  assert (Progress().stage, Progress().epoch) == (0, 0)


def _stage(accuracies, stage=2):
  return tuple(
    make_row(stage, epoch, 10 * epoch, val_overall=overall)
    for epoch, overall in enumerate(accuracies, start=1)
  )


@pytest.mark.parametrize(
  ("accuracies", "patience", "early"),
  [
    ([], 1, False),
    ([10.0], 1, False),
    ([10.0, 10.0], 1, True),
    ([10.0, 9.0], 2, False),
    ([10.0, 9.0, 9.5], 2, True),  # Rising again, but not above the best.
    ([10.0, 9.0, 11.0], 2, False),
    ([10.0, 10.0 + 1e-9], 1, True),  # What rounding errors raise is no rise.
    ([10.0, 10.0001], 1, False),
    ([math.nan, math.nan], 1, True),
    ([math.nan, 1.0], 1, False),
    ([10.0, 9.0, 8.0, 7.0], 0, False),
    ([10.0, 9.0, 8.0, 7.0], 9, False),
  ],
)
def test_stage_ends_early_once_its_best_is_old(accuracies, patience, early):
  rows = (*_stage([50.0, 40.0, 30.0], stage=1), *_stage(accuracies))
  assert Progress(rows).ended_early(2, patience=patience) is early


def test_stage_that_ended_early_stays_so_in_the_next_one():
  rows = (*_stage([50.0, 40.0], stage=1), *_stage([60.0]))
  assert Progress(rows).ended_early(1, patience=1)
  assert Progress(rows).step_after(1) == 20


def test_finished_epoch_ends_what_was_midway():
  row = make_row(2, 2, 50)
  after = _progress().after(row)
  assert after.midway is None
  assert after.rows[-1] == row


def test_progress_comes_back_from_json():
  progress = _progress()
  text = json.dumps(dataclasses.asdict(progress))
  assert Progress.from_json(json.loads(text)) == progress


def test_row_holds_what_results_json_says_of_validation():
  validation = make_row(2, 1, 10).validation
  assert validation["few"] == 25.0
  assert validation["top5"]["few"] == 85.0
  assert list(validation) == ["overall", "many", "medium", "few", "top5"]


@pytest.mark.parametrize("name", ["stage", "val_few"])
def test_row_can_not_be_changed(name):
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(make_row(1, 1, 1), name, 2)
