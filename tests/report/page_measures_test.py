"""What report.html says of classes, confidences and test images."""

import numpy as np
import pytest

from blt_jax.report import measures
from blt_jax.report.confidence import thresholds
from blt_jax.report.figures import Drawings
from blt_jax.report.html import (
  class_table,
  confidence_tables,
  page,
  sections,
)
from blt_jax.report.html.side_by_side import Runs
from tests.page_reader import table_rows
from tests.report_runs import make_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
  run = make_run(tmp_path_factory.mktemp("run"), rows=(), examples=0)
  return page.render(Runs([Drawings(run)]))


def test_eight_thousand_classes_stay_below_four_megabytes(tmp_path):
  number = 8142
  classes = np.arange(number)
  confusion = np.zeros((number, number), np.int8)
  confusion[classes, classes] = classes % 4
  confusion[classes, (classes * 7 + 1) % number] = 3 - classes % 4
  run = make_run(
    tmp_path,
    counts=(1000 // np.arange(1, number + 1) + 2).tolist(),
    names=[f"a species with quite a long name {c}" for c in range(number)],
    confusion=confusion,
    examples=0,
    rows=(),
  )
  content = page.render(Runs([Drawings(run)]))
  assert len(content) < 4_000_000
  wrong = int((classes % 4 < 3).sum())
  assert content.count("a species with quite a long name") > number + wrong


def test_every_class_has_its_row_the_smallest_first(content):
  head, *rows = table_rows(content, "Every class")
  assert head == [
    *("class", "train", "recall", "precision", "F1", "top-5"),
    *("most taken for", "validation", "test"),
  ]
  assert rows[0][:4] == ["dog", "5", "0.0", "–"]
  assert rows[0][6:] == ["bee", "3", "10"]
  assert [row[0] for row in rows] == ["dog", "cat", "bee", "ant"]
  assert '<th scope="col" aria-sort="ascending">train</th>' in content


def test_classes_are_folded_where_they_are_many(tmp_path, content):
  assert "<details open><summary>Every class in numbers" in content
  number = 21
  run = make_run(
    tmp_path,
    counts=[5] * number,
    names=[f"class {c}" for c in range(number)],
    confusion=np.eye(number, dtype=int),
    rows=(),
    examples=0,
  )
  table = class_table.class_table(run)
  assert table.startswith("<details><summary>Every class in numbers")


def test_what_the_test_set_is_stands_below_the_numbers(content):
  assert (
    "The test set is balanced: 40 images of 4 classes. Overall is about the "
    "share of images that are right, 55.0\xa0%.</p>"
  ) in content


def test_what_is_unusual_about_the_test_set_is_said():
  found = {"images": 1234, "classes": 9, "is_validation": True}
  lines = measures.test_set(
    {
      "best": {"test": {"accuracy": 60.0}},
      "class_counts": [5] * 10,
      "test_set": {"kind": "natural", **found},
      "prior": "shares.csv",
    }
  )
  assert lines[:3] == [
    "The test set is about as long-tailed as the training images: 1,234 images "
    "of 9 classes.",
    "Overall counts classes alike; of the images 60.0 % are right.",
    "Classes without a test image: 1.",
  ]
  assert lines[3].startswith("The test images are the validation images: ")
  assert lines[4].startswith("By dataset.prior=shares.csv, F1, the share of ")


def test_nothing_is_said_of_a_test_set_before_the_end():
  assert measures.test_set({}) == []


def test_temperature_that_could_not_be_fitted_is_said():
  table = confidence_tables.calibration_table(
    {
      "temperature": 1.0,
      "test": {
        **{"nll": 2.0, "ece": 0.5, "groups": {}},
        "calibrated": {"nll": 2.0, "ece": 0.5, "groups": {}},
      },
    }
  )
  assert "no temperature fits the validation images" in table


def test_calibration_stands_before_and_after(content):
  rows = table_rows(content, "Negative log-likelihood")
  assert rows[1] == ["few", "0.750", "0.500", "0.125", "0.062"]
  assert [row[0] for row in rows[1:]] == ["few", "medium", "many", "overall"]
  assert "logits are divided by 1.25, which was fitted" in content


def test_thresholds_that_are_not_reached_say_so(tmp_path):
  wrong = ((0, 5, 0, 0), (5, 0, 0, 0), (0, 0, 5, 0), (0, 0, 0, 5))
  run = make_run(tmp_path, confusion=wrong, rows=(), examples=0)
  content = confidence_tables.thresholds_table(thresholds(run))
  rows = table_rows(content, "The lowest confidence from which on")[1:]
  assert [row[0] for row in rows[:4]] == [
    f"90\xa0%\xa0{group}" for group in ("few", "medium", "many", "overall")
  ]
  assert rows[0][2:] == ["10", "100.0", "100.0"]
  assert rows[1][1:] == ["not reached", "–", "–", "–"]


def test_runs_on_other_test_images_have_no_differences(tmp_path):
  fewer = ((9, 1, 0, 0), (2, 8, 0, 0), (3, 2, 5, 0), (4, 5, 0, 0))
  runs = [
    make_run(tmp_path / "a", rows=(), examples=0),
    make_run(tmp_path / "b", rows=(), examples=0, confusion=fewer),
  ]
  content = sections.differences(Runs([Drawings(run) for run in runs]))
  assert "Left out: it has 39 test images, not the 40 of A." in content
  assert "Points above or below A" not in content
