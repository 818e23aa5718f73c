import json
import math
import re

import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.report import record
from blt_jax.workdir import directory, records
from configs import digits_lt
from tests.report_runs import predictions_of
from tests.rows import make_row


def _make_run(folder, *, finished=True):
  """A work directory of three classes, made by hand."""
  directory.claim(folder, check_config(digits_lt.get_config("seed=7")))
  rows = [
    make_row(1, 1, 12, val_overall=50.5, val_few=math.nan),
    make_row(2, 1, 24, val_overall=60.0),
  ]
  records.write_metrics(folder, rows)
  (folder / "confusion").mkdir()
  for name, true, predicted, count in (
    ("stage1-epoch001", [0, 1], [0, 0], [2, 3]),
    ("stage2-epoch002", [0, 1], [0, 1], [2, 3]),
    ("stage2-epoch010", [0, 2], [0, 2], [2, 1]),
    ("test-best", [0, 0, 1], [0, 1, 1], [3, 1, 2]),
  ):
    np.savez(
      folder / "confusion" / f"{name}.npz",
      true=np.int32(true),
      predicted=np.int32(predicted),
      count=np.int32(count),
      num_classes=3,
    )
  if finished:
    classes = {"class_counts": [120, 60, 5], "class_names": ["a", "b", "c"]}
    (folder / "results.json").write_text(json.dumps(classes))
  return folder


@pytest.fixture
def run(tmp_path):
  return record.read_run(_make_run(tmp_path / "run"))


def test_configuration_results_and_rows_are_read(run):
  assert run.config.seed == 7
  assert run.results["class_names"] == ["a", "b", "c"]
  assert [row.val_overall for row in run.rows] == [50.5, 60.0]
  assert np.isnan(run.rows[0].val_few)
  assert run.rows[1] == make_row(2, 1, 24, val_overall=60.0)


def test_classes_and_their_groups(run):
  np.testing.assert_array_equal(run.class_counts, [120, 60, 5])
  assert run.class_names == ["a", "b", "c"]
  np.testing.assert_array_equal(run.groups["many"], [True, False, False])
  np.testing.assert_array_equal(run.groups["medium"], [False, True, False])
  np.testing.assert_array_equal(run.groups["few"], [False, False, True])


def test_confusion_is_the_whole_matrix(run):
  np.testing.assert_array_equal(
    run.entries("test-best").matrix(), [[3, 1, 0], [0, 2, 0], [0, 0, 0]]
  )


def test_accuracy_of_a_class_without_images_is_nan(run):
  np.testing.assert_array_equal(run.class_accuracies(), [75.0, 100.0, np.nan])


def test_validation_confusions_come_in_the_order_of_epochs(run):
  assert list(run.validation_entries(2)) == [2, 10]
  assert list(run.validation_entries(1)) == [1]
  assert run.validation_entries(2)[10].matrix()[2, 2] == 1


def test_what_was_not_recorded_is_none(run):
  assert run.entries("test-last") is None
  assert run.class_accuracies("test-last") is None
  assert run.examples is None
  assert run.classes is None
  assert run.predictions("test-best") is None
  assert run.tested_paths == []


def test_measures_of_classes_are_read_and_unknown_ones_are_nan(run):
  (run.workdir / "classes.csv").write_text(
    "class,train,validation,test,recall,precision,f1,top5,confused_with\n"
    '"a",120,3,4,75.00,100.00,85.71,100.00,b\n'
    "b,60,3,2,100.00,50.00,66.67,100.00,\n"
    "c,5,3,0,,,,,\n"
  )
  first, second, third = run.classes
  assert first == record.ClassRow(
    120, 3, 4, 75.0, 100.0, 85.71, 100.0, confused_with="b"
  )
  assert second.confused_with == ""
  assert third.test == 0
  assert math.isnan(third.recall)


@pytest.mark.parametrize(
  "content, message",
  [
    ("class,train\na,5\n", "classes.csv is not a table of classes"),
    (
      "class,train,validation,test,recall,precision,f1,top5,confused_with\n"
      "a,120,3,4,75,100,85,100,b\n",
      "classes.csv has 1 classes; expected 3, as in results.json",
    ),
  ],
)
def test_damaged_table_of_classes_is_refused(run, content, message):
  (run.workdir / "classes.csv").write_text(content)
  with pytest.raises(ValueError, match=message):
    _ = run.classes


def test_predictions_of_unknown_classes_are_refused(run):
  found = predictions_of(np.eye(4, dtype=int))
  records.write_predictions(run.workdir, "test-best", found)
  with pytest.raises(ValueError, match=r"test-best\.npz has class 3; expected"):
    run.predictions("test-best")


def test_unfinished_run_tells_what_there_is(tmp_path):
  run = record.read_run(_make_run(tmp_path / "run", finished=False))
  assert run.results is None
  assert run.class_counts.shape == (0,)
  assert run.class_names == []
  assert len(run.rows) == 2


def test_unfinished_run_takes_its_classes_from_classes_json(tmp_path):
  folder = _make_run(tmp_path / "run", finished=False)
  (folder / "classes.json").write_text('{"class_counts": [9, 4]}')
  run = record.read_run(folder)
  np.testing.assert_array_equal(run.class_counts, [9, 4])
  assert run.class_names == ["0", "1"]


def test_run_before_its_first_epoch_has_no_rows(tmp_path):
  directory.claim(tmp_path, check_config(digits_lt.get_config()))
  assert record.read_run(tmp_path).rows == []


def test_examples_are_read(run):
  images = np.zeros((2, 4, 4, 3), np.float32)
  numbers = np.float32([0.1, 0.2])
  np.savez(
    run.workdir / "perturbed.npz",
    original=images,
    perturbed=images + 1,
    label=np.int32([2, 2]),
    target=np.int32([0, 1]),
    confidence=numbers,
    before=numbers,
    after=numbers * 2,
    num_updates=np.int32([3, 15]),
    reached=np.bool_([True, False]),
  )
  assert len(run.examples) == 2
  assert run.examples.num_updates.tolist() == [3, 15]
  assert run.examples.perturbed.max() == 1


def test_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    record.read_run(tmp_path)


@pytest.mark.parametrize(
  "file, read, message",
  [
    ("metrics.csv", lambda folder: record.read_run(folder), "has no column"),
    (
      "confusion/test-best.npz",
      lambda folder: record.read_run(folder).entries("test-best"),
      "can't be read",
    ),
    (
      "perturbed.npz",
      lambda folder: record.read_run(folder).examples,
      "can't be read",
    ),
  ],
)
def test_damaged_file_is_named(tmp_path, file, read, message):
  folder = _make_run(tmp_path / "run")
  (folder / file).write_text("stage,epoch\n1,two\n")
  with pytest.raises(ValueError, match=f"{re.escape(file)}.*{message}"):
    read(folder)
