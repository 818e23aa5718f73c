"""Options of splits, and the dispatch from the name of a source."""

import dataclasses

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources import SOURCES, SourceFiles, SplitOptions


@pytest.mark.parametrize(
  "options, message",
  [
    ({"profile": "steep"}, "profile is 'steep'; expected one of natural, exp"),
    ({"imbalance": 0.5}, "imbalance is 0.5; expected a finite number of 1 or"),
    ({"imbalance": float("nan")}, "imbalance is nan; expected"),
    ({"max_per_class": -1}, "max_per_class is -1; expected 0 or more"),
    ({"validation_per_class": -1}, "validation_per_class is -1; expected 0"),
    ({"test_per_class": -2}, "test_per_class is -2; expected 0 or more"),
    ({"drop_below": -1}, "drop_below is -1; expected 0 or more"),
    ({"split_seed": -1}, "split_seed is -1; expected 0 or more"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    SplitOptions(**options)


def test_small_classes_of_every_source_are_dropped():
  labels = np.repeat([0, 1, 2], [6, 2, 9])
  dataset = sources.from_arrays(
    np.zeros((17, 2, 2, 3), np.uint8),
    labels,
    class_names=["a", "b", "c"],
    options=SplitOptions(validation_per_class=1, drop_below=2),
  )
  assert dataset.class_names == ("a", "c")
  np.testing.assert_array_equal(dataset.class_counts, [5, 8])


def test_options_that_leave_no_class_are_refused():
  with pytest.raises(ValueError, match="largest class has 4 .* expected a cl"):
    sources.from_arrays(
      np.zeros((7, 2, 2, 3), np.uint8),
      np.repeat([0, 1], [4, 3]),
      options=SplitOptions(validation_per_class=1, drop_below=9),
    )


def test_unknown_source_is_named():
  with pytest.raises(ValueError, match="source is 'web'; expected one of dig"):
    sources.load("web", "x", files=SourceFiles(), options=SplitOptions())


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"digits", "tfds"}))
def test_source_without_its_root_is_refused(source):
  field = "table" if source == "image_table" else "root"
  with pytest.raises(ValueError, match=rf"{field} is ''; .* {source} needs it"):
    sources.load(source, "x", files=SourceFiles(), options=SplitOptions())


def test_column_is_refused_without_a_table():
  files, columns = SourceFiles(root="x"), sources.Columns(group="camera")
  with pytest.raises(ValueError, match=r"dataset\.group is 'camera'; expected"):
    sources.load(
      "npz", "x", files=files, options=SplitOptions(), columns=columns
    )


def test_lists_are_found_as_they_are_named_or_below_the_root(tmp_path):
  (tmp_path / "train.txt").touch()
  files = SourceFiles(root=str(tmp_path), train_list="train.txt")
  assert files.path("train_list") == str(tmp_path / "train.txt")
  own = dataclasses.replace(files, train_list=str(tmp_path / "train.txt"))
  assert own.path("train_list") == own.train_list
  missing = dataclasses.replace(files, train_list="none.txt")
  assert missing.path("train_list") == "none.txt"
  assert files.path("test_list") == ""
