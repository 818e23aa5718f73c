"""Every source: what it loads, and what it says about bad input."""

import logging
import warnings

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import sources


def _images(count, size=4, seed=0):
  shape = (count, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _write_images(root, paths):
  for path, image in zip(paths, _images(len(paths)), strict=True):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / path)


# Splits


def test_split_takes_images_by_position():
  split = sources.Split(np.array([3, 1, 2]), images=_images(3))
  part = split.take(np.array([2, 0]))
  np.testing.assert_array_equal(part.labels, [2, 3])
  np.testing.assert_array_equal(part.images, split.images[[2, 0]])
  assert part.labels.dtype == np.int32


def test_split_takes_paths_by_position():
  split = sources.Split(np.array([0, 1, 2]), paths=["a", "Ähre.jpg", "c"])
  assert split.take(np.array([1])).paths.tolist() == ["Ähre.jpg"]


def test_split_holds_images_or_paths():
  with pytest.raises(ValueError, match="2 of images, paths and records"):
    sources.Split(np.zeros(1, int), _images(1), ["a"])


def test_split_needs_a_label_for_each_image():
  with pytest.raises(ValueError, match="2 labels for 3 images"):
    sources.Split(np.zeros(2, int), _images(3))


# Digits


def test_digits_have_the_profile_and_balanced_splits():
  digits = sources.load_digits_lt()
  expected = [120, 84, 59, 41, 29, 20, 14, 10, 7, 5]
  np.testing.assert_array_equal(digits.class_counts, expected)
  np.testing.assert_array_equal(
    np.bincount(digits.validation.labels), 10 * [20]
  )
  np.testing.assert_array_equal(np.bincount(digits.test.labels), 10 * [34])
  assert digits.class_names == tuple("0123456789")


def test_digits_are_rgb_over_the_whole_range():
  images = sources.load_digits_lt().train.images
  assert images.shape[1:] == (8, 8, 3)
  assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 255)
  np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_digits_splits_share_no_image():
  digits = sources.load_digits_lt()
  parts = (digits.train, digits.validation, digits.test)
  rows = np.concatenate([part.images.reshape(len(part), -1) for part in parts])
  assert len(np.unique(rows, axis=0)) == len(rows)


def test_digits_test_split_is_the_same_for_every_imbalance():
  flat = sources.load_digits_lt(imbalance=1)
  np.testing.assert_array_equal(
    flat.test.images, sources.load_digits_lt().test.images
  )


def test_digits_refuse_a_profile_without_test_images():
  with pytest.raises(ValueError, match="max_per_class = 160 .* 173 together"):
    sources.load_digits_lt(max_per_class=160)


# Arrays


def test_arrays_keep_given_splits():
  dataset = sources.from_arrays(
    _images(5),
    np.array([0, 1, 1, 0, 1]),
    validation_images=_images(2),
    validation_labels=np.array([0, 1]),
    test_images=_images(3),
    test_labels=np.array([0, 1, 1]),
    class_names=["cat", "dog"],
  )
  sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
  assert sizes == [5, 2, 3]
  np.testing.assert_array_equal(dataset.class_counts, [2, 3])
  assert (dataset.class_names, dataset.num_classes) == (("cat", "dog"), 2)


@pytest.mark.parametrize("shape", [(6, 4, 4), (6, 4, 4, 1)])
def test_grey_arrays_become_rgb(shape):
  grey = _images(6)[..., 0]
  dataset = sources.from_arrays(
    grey.reshape(shape), np.array([0, 1] * 3), validation_per_class=1
  )
  assert dataset.train.images.shape == (4, 4, 4, 3)
  assert dataset.test is dataset.validation


def test_arrays_by_profile():
  dataset = sources.from_arrays(
    _images(60),
    np.repeat([0, 1, 2], 20),
    profile="step",
    imbalance=5,
    validation_per_class=4,
  )
  np.testing.assert_array_equal(dataset.class_counts, [16, 3, 3])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [4])


@pytest.mark.parametrize(
  "change, message",
  [
    (
      {"train_images": np.zeros((4, 2, 2, 3))},
      r"train_images: float64 \[4, 2, 2, 3\]; allowed: uint8",
    ),
    (
      {"train_images": np.zeros((4, 2, 2, 4), np.uint8)},
      r"train_images: uint8 \[4, 2, 2, 4\]",
    ),
    ({"train_labels": np.array([0, 1, 0])}, r"train_labels: int64 \[3\]"),
    ({"train_labels": np.array([0.0, 1, 0, 1])}, "train_labels: float64"),
    ({"train_labels": np.array([0, -1, 0, 1])}, "train_labels: -1 to 1"),
    (
      {"train_labels": np.array([0, 2, 0, 2])},
      r"class 1 \(1\) has no training",
    ),
    ({"class_names": ["a"]}, "train_labels: 1; allowed: 0 to 0"),
    ({"validation_labels": None}, "validation_images and validation_labels"),
    (
      {"validation_labels": np.array([5, 0])},
      "validation_labels: 5; allowed: 0 to 1",
    ),
    (
      {"test_images": _images(0), "test_labels": np.zeros(0, int)},
      "test_images: no image",
    ),
    (
      {"validation_images": None, "validation_labels": None},
      "validation_per_class = 0 with no validation",
    ),
  ],
)
def test_bad_arrays_are_named(change, message):
  arguments = {
    "train_images": _images(4),
    "train_labels": np.array([0, 1, 0, 1]),
    "validation_images": _images(2),
    "validation_labels": np.array([0, 1]),
  }
  with pytest.raises(ValueError, match=message):
    sources.from_arrays(**{**arguments, **change})


def test_npz_equals_its_arrays(tmp_path):
  path = tmp_path / "shapes.npz"
  np.savez(
    path,
    train_images=_images(4),
    train_labels=np.array([0, 1, 0, 1]),
    test_images=_images(2, seed=1),
    test_labels=np.array([1, 0]),
    class_names=np.array(["round", "square"]),
  )
  dataset = sources.load_npz(str(path), validation_per_class=1)
  assert (dataset.name, dataset.class_names) == ("shapes", ("round", "square"))
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  np.testing.assert_array_equal(dataset.test.images, _images(2, seed=1))


def test_npz_names_the_missing_array(tmp_path):
  np.savez(tmp_path / "x.npz", train_images=_images(2))
  with pytest.raises(ValueError, match=r"x\.npz: no array 'train_labels'"):
    sources.load_npz(str(tmp_path / "x.npz"))


@pytest.mark.parametrize(
  "content", [None, b"PK\x03\x04 broken", b"text", "npy"]
)
def test_unreadable_npz_is_named(tmp_path, content):
  path = tmp_path / "x.npz"
  if content == "npy":
    with path.open("wb") as file:
      np.save(file, np.zeros(3))
  elif content is not None:
    path.write_bytes(content)
  with pytest.raises(ValueError, match=r"x\.npz: can't be read as an \.npz"):
    sources.load_npz(str(path))


# Image lists


@pytest.fixture
def listed(tmp_path):
  """A root with 2 classes x 4 images, and a function that writes a list."""
  paths = [f"{name}/im {i}.png" for name in ("cat", "dog") for i in range(4)]
  _write_images(tmp_path / "root", paths)

  def write(name, lines):
    (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    return str(tmp_path / name)

  def load(train, **options):
    file = write("train.txt", train)
    return sources.load_image_lists(str(tmp_path / "root"), file, **options)

  lines = [f"{path} {i // 4}" for i, path in enumerate(paths)]
  load.lines, load.write, load.root = lines, write, tmp_path / "root"
  return load


def test_lists_give_joined_paths_with_spaces(listed):
  validation = listed.write("val.txt", listed.lines[2:4])
  dataset = listed(
    listed.lines[:2] + listed.lines[6:], validation_list=validation
  )
  np.testing.assert_array_equal(dataset.train.labels, [0, 0, 1, 1])
  assert dataset.train.paths[1] == str(listed.root / "cat" / "im 1.png")
  assert dataset.class_names == ("cat", "dog")
  assert dataset.test is dataset.validation


def test_lists_may_have_empty_lines_tabs_and_carriage_returns(listed):
  lines = ["", listed.lines[0] + "\r", "  ", "dog/im 0.png\t1"]
  dataset = listed(
    lines, validation_list=listed.write("v.txt", listed.lines[1:2])
  )
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])


def test_lists_hold_validation_out_of_training(listed):
  dataset = listed(listed.lines, validation_per_class=1)
  np.testing.assert_array_equal(dataset.class_counts, [3, 3])
  np.testing.assert_array_equal(dataset.validation.labels, [0, 1])
  assert not set(dataset.train.paths) & set(dataset.validation.paths)


def test_lists_by_profile(listed):
  dataset = listed(
    listed.lines,
    profile="exponential",
    max_per_class=3,
    imbalance=3,
    validation_per_class=1,
    test_list=listed.write("test.txt", listed.lines),
  )
  np.testing.assert_array_equal(dataset.class_counts, [3, 1])
  assert len(dataset.test) == 8


def test_classes_in_one_folder_are_named_by_number(listed):
  lines = ["cat/im 0.png 0", "cat/im 1.png 1"]
  dataset = listed(lines, validation_list=listed.write("v.txt", lines))
  assert dataset.class_names == ("0", "1")


def test_class_names_come_from_a_file(listed):
  names = listed.write("names.txt", ["house cat", "dog"])
  dataset = listed(listed.lines, validation_per_class=1, class_names_file=names)
  assert dataset.class_names == ("house cat", "dog")


def test_small_classes_are_dropped_from_every_split_and_logged(listed, caplog):
  lines = listed.lines[:1] + [line[:-1] + "2" for line in listed.lines[4:]]
  with caplog.at_level(logging.INFO):
    dataset = listed(
      lines,
      validation_per_class=1,
      drop_below=2,
      num_classes=3,
      test_list=listed.write("test.txt", lines),
    )
  assert dataset.class_names == ("dog",)
  np.testing.assert_array_equal(dataset.class_counts, [3])
  np.testing.assert_array_equal(dataset.test.labels, 4 * [0])
  assert "dropped 2 of 3 classes" in caplog.text


@pytest.mark.parametrize(
  "line, message",
  [
    ("cat/im.png", r"train\.txt:2: 'cat/im\.png'; allowed: 'path label'"),
    ("  7", r"train\.txt:2: '7'; allowed: 'path label'"),
    ("cat/im 0.png x", r"train\.txt:2: label 'x'; allowed: a whole number"),
    ("cat/im 0.png -1", r"train\.txt:2: label '-1'; allowed"),
    ("cat/im 0.png 1.0", r"train\.txt:2: label '1\.0'; allowed"),
    ("cat/im 0.png ²", r"train\.txt:2: label '²'; allowed"),
    ("cat/im 0.png 9", r"train\.txt:2: label 9; allowed: 0 to 8, .* 9 lines"),
    ("cat/im 0.png 12345678901", r"train\.txt:2: label '12345678901'"),
    ("../root/cat/a.png 0", r"train\.txt:2: path '\.\./root.*leaves the root"),
    ("/etc/passwd 0", r"train\.txt:2: path '/etc/passwd' leaves the root"),
    ("cat/none.png 0", r"train\.txt:2: no file '.*none\.png'; 1 of .* 9 files"),
    ("fish/im 0.png 0", r"train\.txt:2: no file '.*fish/im 0\.png'"),
    ("cat/im 0.png 3", r"class 2 \(2\) has no training image.* 1 such .* of 4"),
  ],
)
def test_bad_list_lines_are_named(listed, line, message):
  lines = [listed.lines[0], line, *listed.lines[1:]]
  with pytest.raises(ValueError, match=message):
    listed(lines, validation_per_class=1)


def test_line_numbers_count_empty_lines(listed):
  with pytest.raises(ValueError, match=r"train\.txt:4: no file"):
    listed(["", listed.lines[0], "", "cat/none.png 0"], validation_per_class=1)


def test_validation_label_must_be_a_training_class(listed):
  validation = listed.write("val.txt", ["cat/im 0.png 2"])
  with pytest.raises(
    ValueError, match=r"val\.txt:1: label 2; allowed: 0 to 1, as there are 2"
  ):
    listed(listed.lines, validation_list=validation)


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_empty_list_is_named(listed, lines):
  with pytest.raises(ValueError, match=r"train\.txt: no line"):
    listed(lines)


def test_missing_list_root_and_validation_are_named(listed, tmp_path):
  with pytest.raises(ValueError, match=r"none\.txt: can't be read"):
    listed(listed.lines, validation_list=str(tmp_path / "none.txt"))
  with pytest.raises(ValueError, match="root = .*nowhere.*existing folder"):
    sources.load_image_lists(str(tmp_path / "nowhere"), "train.txt")
  with pytest.raises(ValueError, match="validation_per_class = 0 with no"):
    listed(listed.lines)


def test_binary_list_is_named(listed, tmp_path):
  (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match=r"x\.txt: can't be read as a text file"):
    listed(listed.lines, validation_list=str(tmp_path / "x.txt"))


def test_hold_out_names_the_small_class(listed):
  with pytest.raises(ValueError, match=r"class 1 \(dog\) has 1 images"):
    listed(listed.lines[:5], validation_per_class=1)


@pytest.mark.parametrize(
  "names, options, message",
  [
    (["a", "", "b"], {}, r"names\.txt:2: empty"),
    (["a"], {"num_classes": 2}, r"names\.txt: 1 names; .* num_classes = 2"),
    (["a"], {}, r"train\.txt:5: label 1; allowed: 0 to 0, as there are 1 cl"),
  ],
)
def test_bad_class_names_are_named(listed, names, options, message):
  file = listed.write("names.txt", names)
  with pytest.raises(ValueError, match=message):
    listed(listed.lines, class_names_file=file, **options)


def test_real_places_lists_parse(shared, tmp_path):
  splits = shared / "data/splits"
  lines = (splits / "Places_LT_val.txt").read_text().splitlines()
  for path in (line.rsplit(" ", 1)[0] for line in lines):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
  dataset = sources.load_image_lists(
    str(tmp_path),
    str(splits / "Places_LT_val.txt"),
    validation_list=str(splits / "Places_LT_val.txt"),
  )
  np.testing.assert_array_equal(dataset.class_counts, np.full(365, 20))
  assert dataset.class_names[0] == "airfield"


# Image folders


def _folder(root, counts, *, below=""):
  paths = [
    f"{below}{name}/{i}.jpg" for name, n in counts.items() for i in range(n)
  ]
  _write_images(root, paths)


def test_folder_of_splits(tmp_path):
  _folder(tmp_path, {"b": 3, "a": 2}, below="train/")
  _folder(tmp_path, {"b": 1}, below="val/")
  _folder(tmp_path, {"a": 2}, below="test/")
  dataset = sources.load_image_folder(str(tmp_path))
  assert dataset.class_names == ("a", "b")
  np.testing.assert_array_equal(dataset.class_counts, [2, 3])
  np.testing.assert_array_equal(dataset.validation.labels, [1])
  np.testing.assert_array_equal(dataset.test.labels, [0, 0])
  assert dataset.validation.paths[0] == str(tmp_path / "val" / "b" / "0.jpg")


def test_folder_of_classes_holds_out_both_splits(tmp_path):
  _folder(tmp_path, {"a": 9, "b": 8})
  dataset = sources.load_image_folder(
    str(tmp_path), validation_per_class=1, test_per_class=2
  )
  np.testing.assert_array_equal(dataset.class_counts, [6, 5])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), [1, 1])
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2])
  parts = (dataset.train, dataset.validation, dataset.test)
  paths = np.concatenate([part.paths.tolist() for part in parts])
  assert len(set(paths)) == 17


def test_folder_ignores_and_counts_other_files(tmp_path, caplog):
  _folder(tmp_path, {"a": 2, "b": 2, ".cache": 1})
  (tmp_path / "a" / "notes.txt").touch()
  (tmp_path / "a" / ".hidden.jpg").touch()
  (tmp_path / "b" / "0.jpg").rename(tmp_path / "b" / "0.JPEG")
  (tmp_path / "b" / "1.jpg").rename(tmp_path / "b" / "1.tif")
  dataset = sources.load_image_folder(str(tmp_path), validation_per_class=1)
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  assert dataset.class_names == ("a", "b")
  assert "ignored 1 files that are not images" in caplog.text


@pytest.mark.parametrize(
  "folders, message",
  [
    ({}, "0 class folders; allowed: 2 or more"),
    ({"a": 2, "b": 0}, r"class 1 \(b\) has no training image"),
    ({"train/a": 2, "train/b": 2, "val/c": 1}, "val: class 'c' is not a tr"),
    ({"train/a": 2, "train/b": 2, "val/a": 0}, "val: no image; allowed"),
    (
      {"train/a": 2, "train/b": 2, "val/a": 1, "validation/a": 1},
      "'val' and 'validation'; allowed: one",
    ),
  ],
)
def test_bad_folders_are_named(tmp_path, folders, message):
  for folder in folders:
    (tmp_path / folder).mkdir(parents=True)
  _folder(tmp_path, folders)
  with pytest.raises(ValueError, match=message):
    sources.load_image_folder(str(tmp_path))


def test_profile_that_leaves_no_validation_is_refused():
  with pytest.raises(ValueError, match="leaves no image over for validation"):
    sources.from_arrays(
      _images(4),
      np.array([0, 1, 0, 1]),
      profile="step",
      max_per_class=2,
      imbalance=1,
      validation_per_class=1,
    )


def test_folders_of_validation_and_test_win_over_holding_out(tmp_path):
  counts = {"train": 4, "val": 1, "test": 2}
  _folder(
    tmp_path, {f"{part}/{c}": n for part, n in counts.items() for c in "ab"}
  )
  dataset = sources.load_image_folder(
    str(tmp_path), validation_per_class=2, test_per_class=1
  )
  sizes = [
    len(split) for split in (dataset.train, dataset.validation, dataset.test)
  ]
  assert sizes == [8, 2, 4]


# TFDS


@pytest.fixture(scope="module")
def tfds():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return pytest.importorskip("tensorflow_datasets")


def _prepare_tfds(tfds, data_dir):
  """Stores a small data set with TFDS's own tools."""
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(8, 8, 3)),
      "label": tfds.features.ClassLabel(names=["plane", "car", "bird"]),
    }
  )
  images = _images(30, size=8)
  tfds.dataset_builders.store_as_tfds_dataset(
    name="tiny",
    version="1.0.0",
    features=features,
    split_datasets={
      split: [
        (i, {"image": image, "label": i % 3})
        for i, image in enumerate(images[:count])
      ]
      for split, count in (("train", 30), ("test", 6))
    },
    data_dir=str(data_dir),
    disable_shuffling=True,
  )
  return images


@pytest.mark.filterwarnings("ignore")  # TFDS's own deprecations.
def test_tfds_by_profile(tfds, tmp_path):
  images = _prepare_tfds(tfds, tmp_path)
  dataset = sources.load_tfds(
    "tiny", data_dir=str(tmp_path), imbalance=4, validation_per_class=2
  )
  assert (dataset.name, dataset.class_names) == (
    "tiny",
    ("plane", "car", "bird"),
  )
  np.testing.assert_array_equal(dataset.class_counts, [8, 4, 2])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [2])
  np.testing.assert_array_equal(dataset.test.images, images[:6])


@pytest.mark.filterwarnings("ignore")
def test_tfds_says_what_is_not_prepared(tfds, tmp_path):
  with pytest.raises(ValueError, match="'cifar10' is not prepared in .*downl"):
    sources.load_tfds("cifar10", data_dir=str(tmp_path), download=False)


@pytest.mark.filterwarnings("ignore")
def test_tfds_names_an_unknown_data_set(tfds, tmp_path):
  with pytest.raises(ValueError, match="TFDS data set 'nosuch' can't be had"):
    sources.load_tfds("nosuch", data_dir=str(tmp_path), download=False)
