"""Image folders: which layouts are understood, which images are held out."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import sources
from blt_jax.data.sources import image_files

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


def test_what_is_no_image_of_a_class_is_counted_and_named(tmp_path):
  _files(tmp_path, {"a": 2, "b": 2, ".cache": 1, "b/@eaDir/x": 3, "b/.t": 2})
  _files(tmp_path, {"@eaDir": 0, "System Volume Information": 1, "#recycle": 2})
  for name in ("notes.txt", "more.txt", "list.csv", ".DS_Store", "x.heic"):
    (tmp_path / "a" / name).touch()
  (tmp_path / "a" / "y.NEF").write_bytes(b"II*\0")
  (tmp_path / "loose.png").touch()
  (tmp_path / "b" / "00.jpg").rename(tmp_path / "b" / "00.JFIF")
  (tmp_path / "b" / "01.jpg").rename(tmp_path / "b" / "01.ppm")
  dataset = _load(tmp_path, validation_per_class=1, test_per_class=0)
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  assert dataset.class_names == ("a", "b")
  assert set(dataset.left_out) == {
    "left out: 1 image in no class folder, such as loose.png",
    "left out: 3 files with hidden names (a dot begins them), such as"
    " .cache/00.jpg",
    "left out: 1 file called '.DS_Store' (remarks of macOS), such as"
    " a/.DS_Store",
    "left out: 1 file in the format HEIC (.heic; `pip install pillow-heif`"
    " makes them readable), such as a/x.heic",
    "left out: 1 file in a camera's raw format (.nef; develop them first), such"
    " as a/y.NEF",
    "left out: 3 files without an image that Pillow reads (.txt: 2, .csv: 1),"
    " such as a/list.csv",
    "left out: 3 files in 2 folders '@eaDir' (thumbnails of a NAS), such as"
    " b/@eaDir/x/00.jpg",
    "left out: 2 files in 1 folder '#recycle' (bin of a NAS), such as"
    " #recycle/00.jpg",
    "left out: 1 file in 1 folder 'System Volume Information' (work of"
    " Windows), such as System Volume Information/00.jpg",
  }


def test_other_files_of_many_classes_are_one_line(tmp_path):
  _files(tmp_path, {"a": 4, "b": 4})
  for name, count in (("a", 3), ("b", 2)):
    for i in range(count):
      (tmp_path / name / f"{i}.txt").touch()
  assert _load(tmp_path).left_out == (
    "left out: 5 files without an image that Pillow reads (.txt: 5), such as"
    " a/0.txt",
  )


@pytest.mark.parametrize(
  "name",
  [
    *("lost+found", "@Recycle", ".@__thumb", "$RECYCLE.BIN", "#snapshot"),
    *("__MACOSX", ".AppleDouble", ".ipynb_checkpoints", ".Trash-1000"),
    *("Network Trash Folder", "Temporary Items", ".thumbnails", "FOUND.000"),
  ],
)
def test_an_empty_folder_of_a_system_is_no_class(tmp_path, name):
  _files(tmp_path, {"a": 4, "b": 4, name: 0, f"b/{name}": 2})
  dataset = _load(tmp_path)
  assert dataset.class_names == ("a", "b")
  (line,) = dataset.left_out
  assert line.startswith(f"left out: 2 files in 2 folders '{name}' (")


def test_names_that_classes_have_are_classes(tmp_path):
  _files(tmp_path, {"trash": 4, "cache": 4, "recycle": 4, "thumbs": 4})
  assert len(_load(tmp_path).class_names) == 4


def test_what_can_not_be_opened_as_a_file_is_left_out(tmp_path):
  _files(tmp_path, {"a": 2})
  os.mkfifo(tmp_path / "a" / "pipe.jpg")
  (tmp_path / "a" / "gone.jpg").symlink_to("nowhere.jpg")
  for name in ("._00.jpg", "Thumbs.db", "x.jpg.part", "00.jpg~"):
    (tmp_path / "a" / name).touch()
  found = image_files.find_images(str(tmp_path / "a"))
  # A link to nowhere is named as damaged files are.
  assert found.paths == ["00.jpg", "01.jpg", "gone.jpg"]
  assert set(found.lines()) == {
    "left out: 1 file of other kinds (pipes, devices), such as pipe.jpg",
    "left out: 1 file called '._*' (remarks of macOS), such as ._00.jpg",
    "left out: 1 file called 'Thumbs.db' (thumbnails of Windows), such as"
    " Thumbs.db",
    "left out: 2 files of unfinished downloads and of copies before a change,"
    " such as 00.jpg~",
  }


def test_known_suffixes_are_not_opened(tmp_path, monkeypatch):
  _files(tmp_path, {"a": 2})
  for name in ("0.txt", "0.json", "0.mp4", "0.dng"):
    (tmp_path / "a" / name).touch()
  monkeypatch.setattr(Image, "open", lambda path, **_: pytest.fail(path))
  assert len(image_files.find_images(str(tmp_path / "a")).paths) == 2


def test_files_are_images_by_their_content(tmp_path):
  _files(tmp_path, {"a": 2, "b": 2})
  image = Image.new("RGB", (9, 9))
  for name, kind in (("scan", "TIFF"), ("x.dat", "PNG"), ("1.tmp", "JPEG")):
    image.save(tmp_path / "a" / name, kind)
  (tmp_path / "a" / "y.dat").write_bytes(bytes(64))
  found = image_files.find_images(str(tmp_path / "a"))
  assert found.paths == ["00.jpg", "01.jpg", "1.tmp", "scan", "x.dat"]
  assert found.lines() == (
    "left out: 1 file without an image that Pillow reads (.dat: 1), such as"
    " y.dat",
  )


def test_suffixes_are_those_of_pillow():
  for suffix in (".jfif", ".PPM", ".avif", ".jp2", ".webp", ".bmp", ".mpo"):
    assert image_files.is_image("x" + suffix)
  for suffix in (".pdf", ".eps", ".h5", ".mpg", ".dng", ".txt", ""):
    assert not image_files.is_image("x" + suffix)


@pytest.mark.parametrize(
  "folders, message",
  [
    ({}, "0 class folders; expected 2 or more"),
    (
      {"a": 2, "b": 0},
      "b: no image .the folder is empty.; expected images of the class 'b', or"
      " no such folder .1 of 2",
    ),
    ({"train/a": 2, "train/b": 2, "val/c": 1}, "val: class 'c' is not a tr"),
    ({"train/a": 2, "train/b": 2, "val/a": 0}, "val/a: no image .the folder"),
    (
      {"a": 2, "b": 2, "test": 3},
      "'test' has no class folders and lies beside the class 'a'. If it holds"
      " images without labels, .*if it is a class, expected another name",
    ),
    (
      {"train": 4, "test": 3},
      "its folders 'test', 'train' hold no class folders for training. If they"
      " are splits,"
      " .*; if they are classes, expected other names",
    ),
    (
      {"caf\u00e9": 2, "cafe\u0301": 2},
      r"cafe.u0301' and .*caf.xe9' are two classes of one name, 'caf\u00e9'",
    ),
    ({"train/a": 2, "train/b": 2, "test1/a": 1, "test2/a": 1}, "'test1' and"),
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


def test_a_file_with_two_labels_by_a_link_is_refused(tmp_path):
  _files(tmp_path, {"a": 8, "b": 8})
  (tmp_path / "a" / "all").symlink_to(tmp_path, target_is_directory=True)
  # The whole tree lies below class a now, and class b's images as well.
  with pytest.raises(ValueError, match="a/all/b/00.jpg and .*b/00.jpg are one"):
    _load(tmp_path)


def test_a_hard_link_to_an_image_of_its_class_is_left_out(tmp_path):
  _files(tmp_path, {"a": 8, "b": 8})
  (tmp_path / "a" / "x.jpg").hardlink_to(tmp_path / "a" / "03.jpg")
  dataset = _load(tmp_path)
  assert sum(dataset.counts.values()).tolist() == [8, 8]
  assert "left out: 1 link to images" in dataset.left_out[0]


def test_a_link_to_an_image_of_its_class_is_left_out(tmp_path):
  _files(tmp_path, {"a": 8, "b": 8, "c": 8})
  (tmp_path / "a" / "x.jpg").symlink_to(tmp_path / "a" / "03.jpg")
  (tmp_path / "b" / "circle").symlink_to(tmp_path / "b")
  dataset = _load(tmp_path)
  assert sum(dataset.counts.values()).tolist() == [8, 8, 8]
  assert dataset.left_out == (
    "left out: 1 link to images that are in their class already, such as"
    " a/x.jpg",
  )


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_in_two_splits_by_a_link_is_refused(tmp_path, link):
  _files(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1})
  again = tmp_path / "test" / "a" / "x.jpg"
  getattr(again, link)(tmp_path / "train/a/01.jpg")
  with pytest.raises(ValueError, match="are one file, by a link, in two spli"):
    _load(tmp_path)


@pytest.mark.parametrize(
  "train, validation, test",
  [
    ("train", "valid", "test"),
    ("Training", "Validation", "Testing"),
    ("seg_train/seg_train", "seg_dev/seg_dev", "seg_test/seg_test"),
    ("train_set", "dev_set", "test set"),
    ("trainset", "valset", "testset"),
    ("train2017", "val2017", "test2017"),
    ("birds-train", "birds-val", "birds-test"),
  ],
)
def test_splits_have_the_usual_names(tmp_path, train, validation, test):
  for part, count in ((train, 9), (validation, 2), (test, 3)):
    _files(tmp_path / part, {"a": count, "b": count})
  counts = {k: v.tolist() for k, v in _load(tmp_path).counts.items()}
  assert counts == {"training": [9, 9], "validation": [2, 2], "test": [3, 3]}


def test_classes_with_words_of_splits_are_classes(tmp_path):
  names = {"test tube/x": 8, "train station/y": 8, "valid ticket": 8}
  _files(tmp_path, names)
  assert len(_load(tmp_path).class_names) == 3


def test_a_test_folder_without_classes_is_left_out_and_said(tmp_path):
  _files(tmp_path, {"train/a": 8, "train/b": 8, "test1": 3})
  dataset = _load(tmp_path)
  assert dataset.counts["test"].tolist() == [2, 2]
  assert dataset.left_out == (
    "left out: test1, which has 3 images and no class folders; images without"
    f" labels are classified by --mode=predict --input={tmp_path}/test1",
  )


def test_accents_are_composed_in_any_split(tmp_path):
  _files(tmp_path, {"train/caf\u00e9": 3, "train/b": 3, "val/cafe\u0301": 1})
  dataset = _load(tmp_path, test_per_class=0)
  assert dataset.class_names == ("b", "caf\u00e9")
  assert dataset.validation.labels.tolist() == [1]


def test_accents_do_not_decide_what_is_held_out(tmp_path):
  held = []
  for root, name in (("x", "caf\u00e9"), ("y", "cafe\u0301")):
    _files(tmp_path / root, {name: 24, "b": 24})
    dataset = _load(tmp_path / root)
    held.append([path.rsplit("/", 1)[1] for path in dataset.test.paths])
  assert held[0] == held[1]


def test_folders_beside_the_splits_are_named(tmp_path):
  for part in ("train", "val", "unlabelled"):
    _files(tmp_path / part, {"a": 9, "b": 9})
  assert _load(tmp_path).left_out == (
    "left out: unlabelled, 18 images: beside train, there may be validation and"
    " test",
  )


def test_a_class_called_train_with_folders_is_asked_about(tmp_path):
  _files(tmp_path, {"train/2020": 4, "train/2021": 4, "bus": 12, "car": 12})
  with pytest.raises(
    ValueError, match="lies beside 'bus', which has 12 images.*'class train'"
  ):
    _load(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
  _files(tmp_path, {"bus": 8, "train": 8, "__MACOSX": 3})
  assert _load(tmp_path).class_names == ("bus", "train")


def test_names_of_splits_alone_are_asked_about(tmp_path):
  _files(tmp_path, {"test": 8, "testing": 8})
  with pytest.raises(ValueError, match="If they are splits, .* if they are cl"):
    _load(tmp_path)


def test_a_test_split_beside_the_classes_is_asked_about(tmp_path):
  _files(tmp_path, {"a": 8, "b": 8, "test/a": 2, "test/b": 2})
  with pytest.raises(
    ValueError,
    match="'test' holds the folder 'a' .* If it is a split, .*'train",
  ):
    _load(tmp_path)


@pytest.mark.parametrize(
  "folders, message",
  [
    (["Cat", "dog"], "'Cat' is not a .*, such as 'cat', which is written in"),
    (["unknown"], "or no such folder: --mode=predict classifies images"),
    (["cat", "owl"], "class 'owl' is not .* the training images\\."),
  ],
)
def test_test_classes_of_other_names_are_explained(tmp_path, folders, message):
  _files(tmp_path, {"train/cat": 4, "train/dog": 4})
  _files(tmp_path / "test", dict.fromkeys(folders, 2))
  with pytest.raises(ValueError, match=message):
    _load(tmp_path)


@pytest.mark.parametrize("other", ["cat ", "cat\u200b", "ca\u00adt"])
def test_names_that_look_alike_are_refused(tmp_path, other):
  _files(tmp_path, {"cat": 4, other: 4})
  with pytest.raises(ValueError, match="are two classes of one name, 'c"):
    _load(tmp_path)


def test_spaces_around_a_name_are_not_part_of_it(tmp_path):
  _files(tmp_path, {"train/cat ": 4, "train/dog": 4, "test/cat": 1})
  dataset = _load(tmp_path)
  assert dataset.class_names == ("cat", "dog")
  assert dataset.counts["test"].tolist() == [1, 0]


def test_upper_and_lower_case_are_two_classes(tmp_path):
  _files(tmp_path, {"a": 4, "A": 4})
  assert _load(tmp_path).class_names == ("A", "a")


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
