"""Thresholds of confidence, against a loop over all of them."""

import math

import numpy as np
import pytest

from blt_jax.report import confidence
from blt_jax.workdir import records
from tests.report_runs import make_run, predictions_of

# Class 0 is taken for class 3 often; nothing is taken for class 1.
CONFUSION = ((30, 0, 0, 10), (20, 0, 5, 0), (4, 0, 20, 1), (2, 0, 1, 22))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Its test predictions are not those that thresholds are chosen on."""
  folder = tmp_path_factory.mktemp("run")
  made = make_run(folder, confusion=CONFUSION, rows=(), examples=0)
  other = predictions_of(np.array(CONFUSION) + 1)
  records.write_predictions(folder, "validation-best", other)
  return made


def _smallest(precision, confidences, correct):
  for limit in sorted(confidences):
    if np.mean(correct[confidences >= limit]) >= precision:
      return limit
  return None


def test_thresholds_are_chosen_on_validation_and_measured_on_test(run):
  validation, test = (
    run.predictions(name) for name in ("validation-best", "test-best")
  )
  found = confidence.thresholds(run)
  assert [one.group for one in found[:3]] == ["few", "many", "overall"]
  assert len(found) == 9
  classes = {"few": [2, 3], "many": [0], "overall": [0, 1, 2, 3]}
  for one in found:
    of = {
      name: np.isin(split.prediction, classes[one.group])
      for name, split in (("validation", validation), ("test", test))
    }
    chosen = validation.calibrated_confidence[of["validation"]]
    right = validation.correct[of["validation"]]
    limit = _smallest(one.precision, chosen, right)
    if limit is None:
      assert one.confidence is None
      continue
    assert one.confidence == pytest.approx(limit)
    assert one.images == np.sum(chosen >= limit)
    kept = of["test"] & (test.calibrated_confidence >= limit)
    assert one.coverage == pytest.approx(kept.sum() / of["test"].sum())
    if kept.any():
      assert one.tested == pytest.approx(test.correct[kept].mean())
    else:
      assert math.isnan(one.tested)
  assert any(one.confidence is not None for one in found)


def test_group_that_nothing_is_taken_for_is_left_out(run):
  groups = confidence.answered(run, run.predictions("test-best"))
  assert list(groups) == ["few", "many", "overall"]  # Class 1 is medium.
  assert groups["few"].sum() == 59
  assert groups["overall"].all()


def test_precision_that_nothing_reaches_has_no_threshold(tmp_path):
  wrong = ((0, 5, 0, 0), (5, 0, 0, 0), (0, 0, 0, 5), (0, 0, 5, 0))
  run = make_run(tmp_path, confusion=wrong, rows=(), examples=0)
  found = confidence.thresholds(run)
  assert len(found) == 12
  assert {one.confidence for one in found} == {None}


def test_run_without_predictions_has_no_thresholds(tmp_path):
  run = make_run(tmp_path, finished=False, rows=())
  assert confidence.thresholds(run) == []
