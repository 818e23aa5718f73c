import numpy as np
import pytest

from blt_jax.workdir import records
from tests.rows import make_row


def test_confusion_comes_back_as_it_was(tmp_path):
  confusion = np.int32([[2, 0, 1], [0, 0, 0], [7, 0, 3]])
  records.write_confusion(tmp_path, "test-best", confusion)
  entries = records.read_confusion(tmp_path, "test-best")
  np.testing.assert_array_equal(entries.matrix(), confusion)
  assert entries.count.tolist() == [2, 1, 7, 3]
  assert entries.count.dtype == entries.true.dtype == np.int32
  assert entries.totals().tolist() == [3, 0, 10]
  assert entries.correct().tolist() == [2, 0, 3]


def test_later_confusion_takes_the_place_of_an_earlier_one(tmp_path):
  name = records.epoch_name(2, 7)
  for number in (3, 4):
    records.write_confusion(tmp_path, name, np.full((1, 1), number))
  read = records.read_confusion(tmp_path, name)
  assert read.matrix().tolist() == [[4]]
  assert records.recorded_epochs(tmp_path, 2) == [7]
  folder = tmp_path / "confusion"
  assert [path.name for path in folder.iterdir()] == ["stage2-epoch007.npz"]


def test_confusion_without_entries_keeps_its_size(tmp_path):
  records.write_confusion(tmp_path, "test-last", np.zeros((2, 2), np.int32))
  read = records.read_confusion(tmp_path, "test-last")
  assert read.matrix().tolist() == [[0, 0], [0, 0]]


def test_only_stage_1_is_taken_over(tmp_path):
  one = np.ones((1, 1), np.int32)
  there, here = tmp_path / "there", tmp_path / "here"
  here.mkdir()
  there.mkdir()
  for name in ("stage1-epoch001", "stage2-epoch001", "test-best"):
    records.write_confusion(there, name, one)
  records.copy_stage1_confusions(here, there)
  names = [path.name for path in (here / "confusion").iterdir()]
  assert names == ["stage1-epoch001.npz"]


def test_run_that_recorded_nothing_gives_nothing_to_take_over(tmp_path):
  records.copy_stage1_confusions(tmp_path, tmp_path / "other")
  assert not list(tmp_path.iterdir())


def _predictions(**changes):
  arrays = {
    "row": np.int32([0, 1, 3]),
    "label": np.int32([2, 0, 1]),
    "prediction": np.int32([2, 1, 1]),
    "in_top5": np.array([True, False, True]),
    "confidence": np.float32([0.5, 0.6, 0.7]),
    "log_likelihood": np.float32([-0.7, -3, -0.4]),
    "calibrated_confidence": np.float32([0.4, 0.5, 0.6]),
    "calibrated_log_likelihood": np.float32([-0.9, -2, -0.5]),
  }
  return records.Predictions(**(arrays | changes))


def test_predictions_come_back_as_they_were(tmp_path):
  assert records.read_predictions(tmp_path, "test-best") is None
  records.write_predictions(tmp_path, "test-best", _predictions())
  found = records.read_predictions(tmp_path, "test-best")
  for name, expected in vars(_predictions()).items():
    array = getattr(found, name)
    np.testing.assert_array_equal(array, expected)
    assert array.dtype == expected.dtype
  assert len(found) == 3
  assert found.correct.tolist() == [True, False, True]
  assert (tmp_path / "predictions" / "test-best.npz").exists()
  for _ in range(2):
    records.remove_predictions(tmp_path, "test-best")
    assert records.read_predictions(tmp_path, "test-best") is None


def test_parts_of_predictions_are_joined_in_order():
  one = _predictions()
  joined = records.Predictions.joined([one, one])
  for name, values in vars(one).items():
    np.testing.assert_array_equal(getattr(joined, name), [*values, *values])


def test_confusion_of_images_is_that_of_the_matrix():
  label, prediction = np.random.default_rng(0).integers(0, 5, (2, 40))
  matrix = np.zeros((6, 6), int)
  np.add.at(matrix, (label, prediction), 1)
  found = records.Confusion.of_images(label, prediction, num_classes=6)
  expected = records.Confusion.of(matrix)
  assert vars(found).keys() == vars(expected).keys()
  for name, values in vars(expected).items():
    array = np.asarray(getattr(found, name))
    np.testing.assert_array_equal(array, values)
    assert array.dtype == np.asarray(values).dtype


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"label": np.int32([2, -1, 1])}, "numbers in label that are below 0"),
    ({"prediction": np.float32([2, 1, 1])}, "numbers in prediction that"),
    ({"row": np.int32([0, 1])}, "arrays of .2, 3. entries"),
  ],
)
def test_damaged_predictions_are_named(tmp_path, changes, message):
  records.write_predictions(tmp_path, "test-last", _predictions(**changes))
  with pytest.raises(ValueError, match=rf"test-last\.npz has {message}"):
    records.read_predictions(tmp_path, "test-last")


def test_rows_come_back_as_they_were(tmp_path):
  rows = [
    make_row(1, 1, 12, val_few=float("inf"), loss=0.1 + 0.2),
    make_row(2, 1, 24),
  ]
  records.write_metrics(tmp_path, rows)
  assert records.read_metrics(tmp_path) == rows
  header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
  assert header.startswith("stage,epoch,step,loss,val_overall,val_many,")
  assert len(lines) == 2


def test_no_rows_make_no_file(tmp_path):
  records.write_metrics(tmp_path, [])
  assert records.read_metrics(tmp_path) == []
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "old, new, message",
  [
    ("seconds", "minutes", "has no column 'seconds'; expected stage, "),
    ("1.5", "word", "is not a table of numbers.*word"),
    (",1.5", "", "is not a table of numbers"),
  ],
)
def test_damaged_table_is_named(tmp_path, old, new, message):
  records.write_metrics(tmp_path, [make_row(1, 1, 12)])
  path = tmp_path / "metrics.csv"
  path.write_text(path.read_text().replace(old, new))
  with pytest.raises(ValueError, match=rf"metrics\.csv {message}"):
    records.read_metrics(tmp_path)
