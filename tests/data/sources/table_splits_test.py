"""Data sets from tables: given splits, groups, and images held out."""

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources import Columns, SplitOptions
from blt_jax.data.sources.image_tables import load_image_table

OPTIONS = SplitOptions(validation_per_class=5, test_per_class=5)


def _many(root, rows, header="path,label,split,location"):
  """Writes a table and a file for each row."""
  for row in rows:
    (root / row.split(",")[0]).touch()
  (root / "labels.csv").write_text("\n".join([header, *rows]))
  return str(root / "labels.csv")


def _load(root, table, **columns):
  return load_image_table(
    str(root), table, columns=Columns(**columns), options=OPTIONS
  )


def _sizes(dataset):
  return {part: len(split) for part, split in dataset.splits.items()}


def test_without_columns_of_splits_and_groups_images_are_held_out(tmp_path):
  rows = [f"{i}.jpg,{'ab'[i % 2]}" for i in range(48)]
  table = _many(tmp_path, rows, "path,label")
  dataset = _load(tmp_path, table)
  assert _sizes(dataset) == {"training": 28, "validation": 10, "test": 10}
  everything = [p for split in dataset.splits.values() for p in split.paths]
  assert len(set(everything)) == 48
  assert dataset.train.labels.tolist() == sorted(dataset.train.labels)


def test_another_order_of_rows_gives_the_same_splits(tmp_path):
  rows = [f"{i}.jpg,{'ab'[i % 2]},,{i % 7}" for i in range(60)]
  for columns in ({"split": "none"}, {"split": "none", "group": "none"}):
    first = _load(tmp_path, _many(tmp_path, rows), **columns)
    again = _load(tmp_path, _many(tmp_path, rows[::-1]), **columns)
    for part, split in first.splits.items():
      assert set(split.paths) == set(again.splits[part].paths)


def test_groups_never_lie_in_two_splits(tmp_path):
  rows = [f"{i}.jpg,{'ab'[i % 3 > 0]},,c{i % 11}" for i in range(110)]
  dataset = _load(tmp_path, _many(tmp_path, rows), split="none")
  groups = [set(split.groups) for split in dataset.splits.values()]
  assert set.union(*groups) == {f"c{i}" for i in range(11)}
  assert sum(map(len, groups)) == 11
  assert dataset.left_out[1] == (
    "split by 'location': 7 groups with 70 images for training, 2 groups with"
    " 20 images for validation, 2 groups with 20 images for test"
  )


def test_no_split_shares_a_number_that_is_written_in_two_ways(tmp_path):
  forms = ("{}", "0{}", "{}.0")
  rows = [
    f"{i}.jpg,{'ab'[i % 2]},,{forms[i % 3].format(i % 7)}" for i in range(84)
  ]
  dataset = _load(tmp_path, _many(tmp_path, rows), split="none")
  groups = [set(split.groups) for split in dataset.splits.values()]
  assert set.union(*groups) == set("0123456")
  assert sum(map(len, groups)) == 7


def test_images_without_a_group_are_said(tmp_path):
  rows = [f"{i}.jpg,{'ab'[i % 2]},,{i % 5 or ''}" for i in range(50)]
  dataset = _load(tmp_path, _many(tmp_path, rows), split="none")
  assert dataset.left_out[2] == (
    "10 images without a group: each is a group of its own"
  )


def test_too_few_groups_are_refused_with_the_way_out(tmp_path):
  table = _many(tmp_path, [f"{i}.jpg,{'ab'[i % 2]},,x" for i in range(20)])
  with pytest.raises(
    ValueError, match=r"'location': there is 1 group; .*=none"
  ):
    _load(tmp_path, table, split="none")


GIVEN = ["1.jpg,a,train,x", "2.jpg,b,train,y", "3.jpg,a,val,z"]


def test_given_splits_are_taken(tmp_path):
  table = _many(tmp_path, [*GIVEN, "4.jpg,b,test,w"])
  dataset = _load(tmp_path, table)
  assert _sizes(dataset) == {"training": 2, "validation": 1, "test": 1}


def test_given_validation_is_the_test_without_test_images(tmp_path):
  dataset = _load(tmp_path, _many(tmp_path, GIVEN))
  assert dataset.test is dataset.validation


def test_given_test_leaves_validation_to_be_held_out_by_group(tmp_path):
  rows = [f"{i}.jpg,{'ab'[i % 2]},train,g{i % 5}" for i in range(40)]
  table = _many(tmp_path, [*rows, "t.jpg,a,test,t"])
  dataset = _load(tmp_path, table)
  assert _sizes(dataset) == {"training": 32, "validation": 8, "test": 1}
  assert not set(dataset.train.groups) & set(dataset.validation.groups)


def test_given_splits_without_training_are_refused(tmp_path):
  table = _many(tmp_path, GIVEN[2:])
  with pytest.raises(ValueError, match=r"no row of the split train in column"):
    _load(tmp_path, table)


def test_classes_without_a_training_image_are_left_out(tmp_path):
  table = _many(tmp_path, ["0.jpg,c,val,v", *GIVEN, "4.jpg,d,test,w"])
  dataset = _load(tmp_path, table)
  assert dataset.class_names == ("a", "b")
  assert dataset.train.labels.tolist() == [0, 1]
  assert dataset.test is dataset.validation  # All of its images are gone.
  assert dataset.left_out[-1] == (
    "left out: 2 images of 2 classes without a training image, such as 'c'"
  )


def test_splits_that_tear_groups_apart_are_said_or_refused(tmp_path):
  table = _many(tmp_path, [*GIVEN, "4.jpg,a,val,x"])
  line = "1 of 3 groups in more than one split, such as 'x'"
  for columns in ({}, {"split": "split", "group": "location"}):
    assert line in _load(tmp_path, table, **columns).left_out[1]
  with pytest.raises(ValueError, match=f"{line}.*expected each group in one"):
    _load(tmp_path, table, group="location")


def test_one_class_is_refused(tmp_path):
  table = _many(tmp_path, [GIVEN[0], GIVEN[2]])
  with pytest.raises(
    ValueError, match="'label' has one class, 'a'; expected 2"
  ):
    _load(tmp_path, table)


def test_an_empty_column_of_groups_is_none_unless_asked_for(tmp_path):
  table = _many(tmp_path, [row[: row.rfind(",")] + "," for row in GIVEN])
  assert _load(tmp_path, table).train.groups is None
  with pytest.raises(ValueError, match=r"group is 'location'; .* is empty"):
    _load(tmp_path, table, group="location")


def test_the_source_is_called_with_its_fields(tmp_path):
  _many(tmp_path, GIVEN)
  dataset = sources.load(
    "image_table",
    "mine",
    files=sources.SourceFiles(root=str(tmp_path), table="labels.csv"),
    options=OPTIONS,
    columns=Columns(group="none"),
  )
  assert dataset.name == "mine"
  assert dataset.train.groups is None
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
