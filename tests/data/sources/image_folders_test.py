"""Image folders: which layouts are understood, which images are held out."""

import pathlib

import numpy as np
import pytest

from blt_jax.data import sources

TAIL = {"large": 24, "medium": 20, "seven": 7, "four": 4, "two": 2, "one": 1}


def _files(root, counts):
  for name, count in counts.items():
    (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
      (root / name / f"{i:02d}.jpg").touch()


def _load(root, **options):
  per_class = {"validation_per_class": 5, "test_per_class": 5}
  return sources.load_image_folder(
    str(root), options=sources.SplitOptions(**{**per_class, **options})
  )


def _held(dataset, name):
  """Files of a class in each split, as root-free names."""
  return {
    part: sorted(
      path.rsplit("/", 1)[1]
      for path in split.paths
      if path.rsplit("/", 2)[1] == name
    )
    for part, split in (
      ("training", dataset.train),
      ("validation", dataset.validation),
      ("test", dataset.test),
    )
  }


def test_small_classes_keep_at_least_half_for_training(tmp_path):
  _files(tmp_path, TAIL)
  dataset = _load(tmp_path)
  counts = dict(zip(dataset.class_names, dataset.class_counts, strict=True))
  assert counts == {
    "large": 14,
    "medium": 10,
    "seven": 5,
    "four": 2,
    "two": 2,
    "one": 1,
  }


def test_each_held_out_split_takes_at_most_a_fourth(tmp_path):
  _files(tmp_path, TAIL)
  dataset = _load(tmp_path)
  for part in ("validation", "test"):
    counts = dict(
      zip(dataset.class_names, dataset.counts[part].tolist(), strict=True)
    )
    assert counts == {
      "large": 5,
      "medium": 5,
      "seven": 1,
      "four": 1,
      "two": 0,
      "one": 0,
    }


def test_a_single_held_out_split_takes_at_most_half(tmp_path):
  _files(tmp_path, {"a": 12, "b": 7, "c": 1})
  dataset = _load(tmp_path, test_per_class=0)
  np.testing.assert_array_equal(dataset.counts["validation"], [5, 3, 0])
  np.testing.assert_array_equal(dataset.class_counts, [7, 4, 1])
  assert dataset.test is dataset.validation


def test_only_what_lacks_a_folder_is_held_out(tmp_path):
  _files(tmp_path / "train", {"a": 12, "b": 3})
  _files(tmp_path / "test", {"a": 2})
  dataset = _load(tmp_path)
  np.testing.assert_array_equal(dataset.counts["validation"], [5, 1])
  np.testing.assert_array_equal(dataset.counts["test"], [2, 0])
  assert all("/train/" in path for path in dataset.validation.paths)


def test_splits_share_no_image_and_lose_none(tmp_path):
  _files(tmp_path, TAIL)
  dataset = _load(tmp_path)
  paths = [
    path
    for split in (dataset.train, dataset.validation, dataset.test)
    for path in split.paths
  ]
  assert len(set(paths)) == len(paths) == sum(TAIL.values())


def test_an_image_more_changes_no_other_class(tmp_path):
  _files(tmp_path, TAIL)
  before = _load(tmp_path)
  (tmp_path / "medium" / "new.jpg").touch()
  after = _load(tmp_path)
  for name in set(TAIL) - {"medium"}:
    assert _held(after, name) == _held(before, name)


def test_a_class_more_changes_no_other_class(tmp_path):
  _files(tmp_path, TAIL)
  before = _load(tmp_path)
  _files(tmp_path, {"ant": 30})
  after = _load(tmp_path)
  for name in TAIL:
    assert _held(after, name) == _held(before, name)


def test_an_image_more_moves_at_most_one_out_of_a_split(tmp_path):
  _files(tmp_path, TAIL)
  before = _held(_load(tmp_path), "large")
  (tmp_path / "large" / "new.jpg").touch()
  after = _held(_load(tmp_path), "large")
  for part in before:
    assert len(set(before[part]) - set(after[part])) <= 1


def test_the_splits_are_these_for_good(tmp_path):
  _files(tmp_path, {"cat": 8, "dog": 8})
  dataset = _load(tmp_path)
  assert _held(dataset, "cat")["test"] == ["01.jpg", "03.jpg"]
  assert _held(dataset, "cat")["validation"] == ["06.jpg", "07.jpg"]
  assert _held(dataset, "dog")["test"] == ["04.jpg", "05.jpg"]


def test_the_seed_draws_other_splits(tmp_path):
  _files(tmp_path, TAIL)
  splits = [_load(tmp_path, split_seed=seed).test.paths for seed in (0, 1)]
  assert splits[0].tolist() != splits[1].tolist()


def test_a_moved_folder_is_split_the_same(tmp_path):
  _files(tmp_path / "a", TAIL)
  before = _load(tmp_path / "a")
  (tmp_path / "a").rename(tmp_path / "b")
  after = _load(tmp_path / "b")
  assert _held(after, "large") == _held(before, "large")


# Layouts


def test_folder_of_splits(tmp_path):
  _files(tmp_path / "train", {"b": 3, "a": 2})
  _files(tmp_path / "val", {"b": 1})
  _files(tmp_path / "test", {"a": 2})
  dataset = _load(tmp_path, validation_per_class=0)
  assert dataset.class_names == ("a", "b")
  np.testing.assert_array_equal(dataset.class_counts, [2, 3])
  np.testing.assert_array_equal(dataset.validation.labels, [1])
  np.testing.assert_array_equal(dataset.test.labels, [0, 0])
  assert dataset.validation.paths[0] == str(tmp_path / "val" / "b" / "00.jpg")


def test_folder_of_classes_holds_out_both_splits(tmp_path):
  _files(tmp_path, {"a": 9, "b": 8})
  dataset = _load(tmp_path, validation_per_class=1, test_per_class=2)
  np.testing.assert_array_equal(dataset.class_counts, [6, 5])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), [1, 1])
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2])
  parts = (dataset.train, dataset.validation, dataset.test)
  paths = np.concatenate([part.paths.tolist() for part in parts])
  assert len(set(paths)) == 17


def test_folder_ignores_and_counts_other_files(tmp_path, caplog):
  _files(tmp_path, {"a": 2, "b": 2, ".cache": 1})
  (tmp_path / "a" / "notes.txt").touch()
  (tmp_path / "a" / ".hidden.jpg").touch()
  (tmp_path / "b" / "00.jpg").rename(tmp_path / "b" / "00.JPEG")
  (tmp_path / "b" / "01.jpg").rename(tmp_path / "b" / "01.tif")
  dataset = _load(tmp_path, validation_per_class=1, test_per_class=0)
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  assert dataset.class_names == ("a", "b")
  assert "ignored 1 files that are not images" in caplog.text


@pytest.mark.parametrize(
  "folders, message",
  [
    ({}, "0 class folders; expected 2 or more"),
    ({"a": 2, "b": 0}, r"class 1 \(b\) has no training image"),
    ({"train/a": 2, "train/b": 2, "val/c": 1}, "val: class 'c' is not a tr"),
    ({"train/a": 2, "train/b": 2, "val/a": 0}, "val: no image; expected"),
    (
      {"train/a": 2, "train/b": 2, "val/a": 1, "validation/a": 1},
      "'val' and 'validation'; expected one",
    ),
  ],
)
def test_bad_folders_are_named(tmp_path, folders, message):
  _files(tmp_path, folders)
  with pytest.raises(ValueError, match=message):
    _load(tmp_path, validation_per_class=0)


def test_folders_of_validation_and_test_win_over_holding_out(tmp_path):
  counts = {"train": 4, "val": 1, "test": 2}
  _files(
    tmp_path, {f"{part}/{c}": n for part, n in counts.items() for c in "ab"}
  )
  dataset = _load(tmp_path, validation_per_class=2, test_per_class=1)
  sizes = [
    len(split) for split in (dataset.train, dataset.validation, dataset.test)
  ]
  assert sizes == [8, 2, 4]


# What folders look like in the wild


def test_images_may_lie_deeper_in_a_class(tmp_path):
  _files(tmp_path, {"a": 4, "a/2020/may": 3, "a/.thumbnails": 2, "b": 4})
  dataset = _load(tmp_path)
  assert dataset.class_names == ("a", "b")
  assert sum(counts[0] for counts in dataset.counts.values()) == 7
  assert f"{tmp_path}/a/2020/may/00.jpg" in {
    path
    for split in (dataset.train, dataset.validation, dataset.test)
    for path in split.paths
  }


def test_a_deeper_image_moves_no_other(tmp_path):
  _files(tmp_path, {"a": 24, "b": 24})
  before = _load(tmp_path)
  _files(tmp_path, {"a/more": 1})
  after = _load(tmp_path)
  for part in ("validation", "test"):
    old = set(getattr(before, part).paths)
    assert len(old - set(getattr(after, part).paths)) <= 1


def test_folders_that_link_in_a_circle_are_read_once(tmp_path):
  _files(tmp_path, {"a": 8, "b": 8})
  (tmp_path / "a" / "all").symlink_to(tmp_path, target_is_directory=True)
  # The whole tree lies below class a now, and class b's images as well.
  dataset = _load(tmp_path)
  assert sum(counts[0] for counts in dataset.counts.values()) == 16


@pytest.mark.parametrize(
  "train, validation, test",
  [("train", "valid", "test"), ("Training", "Validation", "Testing")],
)
def test_splits_have_the_usual_names(tmp_path, train, validation, test):
  for part, count in ((train, 9), (validation, 2), (test, 3)):
    _files(tmp_path / part, {"a": count, "b": count})
  counts = {k: v.tolist() for k, v in _load(tmp_path).counts.items()}
  assert counts == {"training": [9, 9], "validation": [2, 2], "test": [3, 3]}


def test_folders_beside_the_splits_are_named(tmp_path, caplog):
  for part in ("train", "unlabelled"):
    _files(tmp_path / part, {"a": 9, "b": 9})
  _load(tmp_path)
  (message,) = [record.getMessage() for record in caplog.records]
  assert "ignored unlabelled" in message


def test_a_class_may_be_called_train(tmp_path):
  _files(tmp_path, {"bus": 8, "train": 8, "__MACOSX": 3})
  assert _load(tmp_path).class_names == ("bus", "train")


def test_without_train_names_of_splits_are_classes(tmp_path):
  _files(tmp_path, {"test": 8, "testing": 8})
  assert _load(tmp_path).class_names == ("test", "testing")


def test_names_that_are_not_utf_8_are_classes_of_readable_names(tmp_path):
  _files(tmp_path, {"v\udce9lo": 8, "bus": 8})
  dataset = _load(tmp_path)
  assert dataset.class_names == ("bus", "v\\xe9lo")
  assert all(pathlib.Path(path).exists() for path in dataset.train.paths)


def test_profile_is_made_of_what_is_not_held_out(tmp_path):
  _files(tmp_path, {"a": 30, "b": 30})
  whole = _load(tmp_path)
  dataset = _load(tmp_path, profile="step", max_per_class=20, imbalance=5)
  np.testing.assert_array_equal(dataset.class_counts, [20, 4])
  assert dataset.validation.paths.tolist() == whole.validation.paths.tolist()
  assert dataset.test.paths.tolist() == whole.test.paths.tolist()
  assert set(dataset.train.paths) < set(whole.train.paths)


@pytest.mark.parametrize(
  "options, message",
  [
    (
      {},
      "the largest class has 3 images; expected a class with 4 or"
      " more, to hold images out for test and validation, or folders train,",
    ),
    ({"validation_per_class": 0}, "validation_per_class is 0 and there is no"),
  ],
)
def test_what_can_not_be_split_is_refused(tmp_path, options, message):
  _files(tmp_path, {"a": 3, "b": 1})
  with pytest.raises(ValueError, match=message):
    _load(tmp_path, **options)
