"""Differences of runs on the same test images."""

import dataclasses

import numpy as np
import pytest

from blt_jax.method import metrics
from blt_jax.report import record
from blt_jax.report.differences import differences, draw
from blt_jax.workdir import records
from tests.report_runs import COUNTS, make_run

BETTER = ((10, 0, 0, 0), (2, 8, 0, 0), (1, 0, 9, 0), (4, 6, 0, 0))


@pytest.fixture
def pair(tmp_path):
  return [
    make_run(tmp_path / "a", rows=(), examples=0),
    make_run(tmp_path / "b", rows=(), examples=0, confusion=BETTER),
  ]


def _one(runs):
  (found,) = differences(runs, ["A", "B"])
  return found


def test_a_better_run_has_positive_differences_with_intervals(pair):
  found = _one(pair)
  first, second = (run.predictions("test-best") for run in pair)
  expected = metrics.paired_differences(
    second.correct, first.correct, first.label, np.array(COUNTS)
  )
  assert found.points == expected
  assert {g: points[0] for g, points in found.points.items()} == pytest.approx(
    {"overall": 12.5, "many": 10, "medium": 0, "few": 20}
  )


def test_runs_are_drawn_by_group_with_their_intervals(pair):
  drawn = draw([_one(pair)], "A")
  axes = drawn.figure.axes[0]
  names = [text.get_text() for text in axes.get_yticklabels()]
  assert names == ["few", "medium", "many", "overall"]
  assert drawn.description == (
    "B few +20.0, medium +0.0, many +10.0, overall +12.5."
  )
  marks = axes.containers[0].lines[0].get_xdata()
  assert marks == pytest.approx([20, 0, 10, 12.5])


def _change(run, **arrays):
  """The run with other predictions on its test images."""
  found = dataclasses.replace(run.predictions("test-best"), **arrays)
  records.write_predictions(run.workdir, "test-best", found)
  return record.read_run(run.workdir)


def test_other_labels_are_not_compared(pair):
  label = pair[1].predictions("test-best").label[::-1].copy()
  found = _one([pair[0], _change(pair[1], label=label)])
  assert found.points == {}
  assert found.reason == "40 of its test images have other labels than A's"
  assert draw([found], "A") is None


def test_other_images_are_not_compared(pair):
  row = pair[1].predictions("test-best").row + 1
  found = _one([pair[0], _change(pair[1], row=row)])
  assert (
    found.reason == "it has other test images than A, or could not read some"
  )


def test_files_of_other_paths_are_not_compared(pair):
  for run, name in zip(pair, ("x.png", "y.png"), strict=True):
    table = f"path,label,split,group\nt.png,ant,train,\n{name},ant,test,\n"
    (run.workdir / "splits.csv").write_text(table)
  assert _one(pair).reason == "its test images are other files than A's"
  (pair[1].workdir / "splits.csv").unlink()
  pair[1] = record.read_run(pair[1].workdir)
  assert _one(pair).points


def test_validation_images_are_the_test_where_there_is_no_other(pair):
  table = "path,label,split,group\na,ant,train,\nb,ant,validation,\n"
  (pair[0].workdir / "splits.csv").write_text(table)
  assert pair[0].tested_paths == ["b"]


def test_other_classes_and_missing_predictions_are_not_compared(pair, tmp_path):
  other = make_run(
    tmp_path / "c", names=("a", "b", "c", "d"), rows=(), examples=0
  )
  begun = make_run(tmp_path / "d", finished=False, rows=())
  found = differences([pair[0], other, begun], ["A", "B", "C"])
  assert [one.reason for one in found] == [
    "its classes are others",
    "the predictions for its test images or for A's are not recorded",
  ]
