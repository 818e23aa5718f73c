"""The check of a data set: what it finds, what it prints, its exit code."""

import collections
import csv
import io
import pathlib
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.checks import facts as check_facts
from blt_jax.data.checks import findings
from blt_jax.data.checks import lines as check_report
from blt_jax.data.checks.scan import scan
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.longtail import exponential_counts, shot_groups
from blt_jax.data.reading.decode import Decoding
from blt_jax.training.check_data import check_data
from configs import cifar10_lt, image_list

ROOT = pathlib.Path(__file__).resolve().parents[3]
LIMITS = {"many_above": 100, "few_up_to": 20}


def picture(seed, size=(40, 30)):
  """A smooth RGB image, another one for every seed."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
  return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path):
  """Twelve good JPEG files of two classes, listed in three splits."""
  folder = tmp_path / "images"
  folder.mkdir()
  for part, numbers in (
    ("train", range(6)),
    ("val", range(6, 9)),
    ("test", range(9, 12)),
  ):
    for number in numbers:
      picture(number).save(folder / f"{number}.jpg")
    lines = [f"{number}.jpg {number % 2}\n" for number in numbers]
    (folder / f"{part}.txt").write_text("".join(lines))
  return folder


def config_of(root):
  config = image_list.get_config()
  config.dataset.root = str(root)
  config.dataset.train_list = "train.txt"
  config.dataset.validation_list = "val.txt"
  config.dataset.test_list = "test.txt"
  config.dataset.image_size = 16
  config.dataset.resize_size = 16
  return config


def truncate(path):
  path.write_bytes(path.read_bytes()[:-60])


def list_more(root, part, line):
  with open(root / f"{part}.txt", "a") as file:
    file.write(line + "\n")


def dataset_of(paths, labels=None):
  """A data set whose training split is the files, each in memory elsewhere."""
  labels = np.zeros(len(paths), int) if labels is None else labels
  other = Split(np.zeros(1), np.zeros((1, 64, 64, 3), np.uint8))
  train = Split(labels, paths=[str(path) for path in paths])
  return Dataset("some", ("cat", "dog"), train, other, other)


def report_of(dataset, scanned, *, image_size=16, **options):
  return findings.Report(
    dataset,
    scanned,
    shot_groups(dataset.class_counts, **LIMITS),
    findings.find(scanned, image_size),
    **options,
  )


def findings_of(dataset, image_size=16, **options):
  """Title -> number of images."""
  scanned = scan(dataset, num_threads=2, **options)
  report = report_of(dataset, scanned, image_size=image_size)
  return {f.title: len(f.images) for f in report.findings}


def test_clean_lists_count_right(root, capsys):
  assert check_data(config_of(root)) == 0
  lines = capsys.readouterr().out.splitlines()
  assert "image_list: 12 images read and decoded in" in lines[0]
  assert [line.split() for line in lines[2:5]] == [
    ["train", "6", "0", "2"],
    ["validation", "3", "0", "2"],
    ["test", "3", "0", "2"],
  ]
  assert "classes: 2 (many 0, medium 0, few 2)" in lines
  assert "formats: JPEG RGB 12" in lines
  assert any("width 40 / 40 / 40, height 30 / 30 / 30" in x for x in lines)
  assert "nothing is wrong" in lines
  assert lines[lines.index("nothing is wrong") + 1] == "what to do first:"
  assert "Measure on more images" in lines[-1]
  assert len(lines) <= 40


def test_truncated_file_is_wrong_and_named(root, capsys):
  truncate(root / "7.jpg")
  assert check_data(config_of(root)) == 1
  output = capsys.readouterr().out
  assert f"validation {root / '7.jpg'} (1): damaged: image file is" in output
  assert "error: unreadable images: 1" in output


def test_size_that_is_left_open_is_the_one_training_picks(root, capsys):
  config = config_of(root)
  config.dataset.image_size = config.dataset.resize_size = 0
  picture(0, size=(40, 20)).save(root / "0.jpg")
  assert check_data(config) == 0
  # 11 images of 40 x 30 pixels and a flat one: training would see 32.
  note = "note: images with a side of less than 32 pixels: 12, as "
  assert note in capsys.readouterr().out


def test_size_that_is_left_open_needs_no_image_that_can_be_read(root, capsys):
  config = config_of(root)
  config.dataset.image_size = config.dataset.resize_size = 0
  for number in range(12):
    (root / f"{number}.jpg").write_bytes(b"this is no image")
  assert check_data(config) == 1
  assert "error: unreadable images: 12" in capsys.readouterr().out


def test_at_most_twenty_files_are_listed(root, capsys):
  for number in range(100, 125):
    (root / f"{number}.jpg").write_bytes(b"this is no image")
    list_more(root, "train", f"{number}.jpg 0")
  assert check_data(config_of(root)) == 1
  lines = capsys.readouterr().out.splitlines()
  assert sum("not an image that can be read" in line for line in lines) == 20
  assert "  ... and 5 more" in lines


def test_file_that_vanishes_is_wrong_with_the_reason(tmp_path):
  dataset = dataset_of([tmp_path / "gone.jpg"])
  errors = scan(dataset, num_threads=1).errors
  assert errors == {0: "No such file or directory"}


def test_pixel_limit_is_wrong(root):
  dataset = dataset_of([root / "0.jpg"])
  assert not scan(dataset, decoding=Decoding(max_pixels=1200)).errors
  errors = scan(dataset, decoding=Decoding(max_pixels=1199)).errors
  assert errors == {0: "1200 pixels; expected 1199 or fewer"}


def test_pixel_limit_is_the_configuration_s(root):
  config = config_of(root)
  config.dataset.max_pixels = 1199
  assert check_data(config) == 1


def test_copy_under_another_name_in_another_split_is_wrong(root, capsys):
  (root / "copy.jpg").write_bytes((root / "2.jpg").read_bytes())
  list_more(root, "test", "copy.jpg 0")
  assert check_data(config_of(root)) == 1
  output = capsys.readouterr().out
  line = f"test {root / 'copy.jpg'} (0) = train {root / '2.jpg'} (0)"
  assert line in output
  assert "error: images that are in another split as well: 1" in output


def test_file_listed_in_two_splits_is_wrong(root):
  list_more(root, "val", "3.jpg 1")
  with pytest.raises(ValueError, match=r"3\.jpg' is in two splits"):
    check_data(config_of(root))


def test_validation_that_is_the_test_split_is_allowed(root, capsys):
  config = config_of(root)
  config.dataset.test_list = ""
  assert check_data(config) == 0
  output = capsys.readouterr().out
  assert "9 images read" in output
  assert "validation = test" in output
  assert "The validation images are the test images, too" in output


def test_copies_inside_a_split_are_noted_by_label(root, capsys):
  for name, label in (("same", 1), ("other", 0)):
    (root / f"{name}.jpg").write_bytes((root / "1.jpg").read_bytes())
    list_more(root, "train", f"{name}.jpg {label}")
  assert check_data(config_of(root)) == 0
  output = capsys.readouterr().out
  assert "note: images that are twice in their class and split: 1" in output
  assert "warning: training images that are in another class as" in output
  pair = f"train {root / 'other.jpg'} (0) = train {root / '1.jpg'} (1)"
  assert pair in output
  assert "\nno errors, 1 warning\n" in output
  assert "nothing is wrong" not in output


def test_first_of_content_is_the_first_of_every_copy():
  images = np.arange(5, dtype=np.uint8)[[3, 1, 3, 2, 1, 3]]
  images = np.broadcast_to(images[:, None, None, None], (6, 2, 2, 3))
  other = Split(np.zeros(1), np.full((1, 2, 2, 3), 9, np.uint8))
  dataset = Dataset("some", ("a",), Split(np.zeros(6), images), other, other)
  first = findings.first_of_content(scan(dataset))
  np.testing.assert_array_equal(first, [0, 1, 0, 3, 1, 0, 6])


def png_of_16_bit_colour():
  """A 16-bit RGB image of 20 x 20 pixels, which Pillow can't write."""

  def chunk(name, data):
    check_sum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check_sum

  header = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
  rows = zlib.compress(bytes(20 * (1 + 20 * 6)))
  parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_odd_modes_are_noted(tmp_path):
  picture(0).convert("L").save(tmp_path / "grey.jpg")
  picture(1).convert("CMYK").save(tmp_path / "cmyk.jpg")
  picture(2).convert("P").save(tmp_path / "palette.png", transparency=b"\0")
  picture(3).convert("RGBA").save(tmp_path / "alpha.png")
  deep = np.arange(1200, dtype=np.uint16).reshape(30, 40)
  Image.fromarray(deep).save(tmp_path / "deep.png")
  (tmp_path / "deep_colour.png").write_bytes(png_of_16_bit_colour())
  picture(4).save(tmp_path / "plain.png")
  found = findings_of(
    dataset_of(sorted(tmp_path.iterdir())),
    decoding=Decoding(grey_range=(0, 65535)),
  )
  assert found == {
    "JPEG L images": 1,
    "JPEG CMYK images": 1,
    "PNG P images": 1,
    "PNG RGBA images": 1,
    "PNG I;16 16 bit images": 1,
    "PNG RGB 16 bit images": 1,
  }


def test_name_orientation_and_size_are_noted(tmp_path):
  picture(0).save(tmp_path / "png.jpg", format="PNG")
  exif = Image.Exif()
  exif[0x0112] = 6
  picture(1).save(tmp_path / "turned.jpg", exif=exif)
  exif[0x0112] = 1
  picture(2).save(tmp_path / "upright.jpg", exif=exif)
  picture(3, (85, 20)).save(tmp_path / "wide.jpg")
  paths = [tmp_path / n for n in ("png", "turned", "upright", "wide")]
  dataset = dataset_of([path.with_suffix(".jpg") for path in paths])
  assert findings_of(dataset, image_size=30) == {
    "files of another format than their name says": 1,
    "images whose EXIF data ask for another orientation": 1,
    "images with a side of less than 30 pixels": 1,
    "images with a side over 4 times the other": 1,
  }


def test_class_without_training_images_is_wrong(root):
  dataset = dataset_of([root / "0.jpg"])
  report = report_of(dataset, scan(dataset))
  assert report.errors == 1
  assert "class 1 (dog)" in check_report.text(report)


def test_scan_is_the_same_for_any_number_of_threads(root):
  truncate(root / "5.jpg")
  dataset = dataset_of([root / f"{n % 12}.jpg" for n in range(300)])
  scans = [scan(dataset, num_threads=n) for n in (1, 5)]
  np.testing.assert_array_equal(scans[0].rows, scans[1].rows)
  assert scans[0].errors == scans[1].errors
  assert list(scans[0].errors) == list(range(5, 300, 12))


class RecordSplit:
  """A split of encoded images in memory, read like a record file."""

  def __init__(self, contents):
    self.images = self.paths = None
    self.labels = np.zeros(len(contents), np.int32)
    self.records = self
    self._contents = contents

  def __len__(self):
    return len(self.labels)

  def read(self, indices):
    return [self._contents[i] for i in indices]

  def name(self, index):
    return f"record {index}"


def test_records_are_read_and_named(root):
  good = (root / "0.jpg").read_bytes()
  split = RecordSplit([good, (root / "1.jpg").read_bytes(), good[:-60]])
  dataset = Dataset("some", ("cat",), split, split, split)
  found = scan(dataset)
  assert list(found.errors) == [2, 5]  # Also in validation, which is test.
  assert found.image_name(5) == "record 2"
  np.testing.assert_array_equal(found.rows["width"], np.full(6, 40))


def cifar10(train_counts):
  """A data set of that many black pixels a class, named cifar10."""
  names = tuple(str(c) for c in range(10))

  def split(counts):
    labels = np.repeat(np.arange(10), counts)
    return Split(labels, np.zeros((len(labels), 1, 1, 3), np.uint8))

  test = split(np.full(10, 1000))
  return Dataset("cifar10", names, split(train_counts), test, test)


def compare(dataset, **settings):
  groups = shot_groups(dataset.class_counts)
  config = cifar10_lt.get_config().dataset
  config.update(settings)
  return check_facts.compare(dataset, groups, config)


def test_facts_of_cifar10_are_those_of_its_profile():
  facts, note = compare(cifar10(exponential_counts(5000, 100, 10)))
  assert not note
  assert all(fact.holds for fact in facts)
  assert [f.found for f in facts if f.name in ("train", "many")] == [12406, 8]


def test_facts_that_do_not_hold_are_wrong():
  dataset = cifar10(exponential_counts(4999, 100, 10))
  facts, _ = compare(dataset)
  broken = {fact.name for fact in facts if not fact.holds}
  assert broken == {"train", "largest", "smallest"}
  report = report_of(dataset, scan(dataset), image_size=1, facts=facts)
  assert report.errors >= 3
  assert "12406  WRONG" in check_report.text(report)


def test_other_settings_are_not_compared():
  facts, note = compare(cifar10(np.full(10, 9)), max_per_class=1000)
  assert not facts
  assert "config.dataset.max_per_class is 1000; expected 5000" in note


@pytest.mark.parametrize("name", ["ImageNet_LT", "Places_LT"])
def test_known_sizes_are_those_of_the_published_lists(name, shared):
  known = check_facts.KNOWN[name.lower()].numbers
  for part, key in (
    ("train", "train"),
    ("val", "validation"),
    ("test", "test"),
  ):
    file = shared / "data/splits" / f"{name}_{part}.txt"
    if file.exists():
      labels = [line.split()[-1] for line in file.read_text().splitlines()]
      assert len(labels) == known[key]
      assert len(set(labels)) == known["classes"]
      if part == "train":
        counts = np.array(list(collections.Counter(labels).values()))
        groups = shot_groups(counts)
        for group, mask in groups.items():
          assert np.sum(mask) == known[group]


def test_csv_holds_every_finding_and_class(root, tmp_path):
  truncate(root / "7.jpg")
  (root / "copy.jpg").write_bytes((root / "2.jpg").read_bytes())
  list_more(root, "test", "copy.jpg 0")
  output = tmp_path / "findings.csv"
  assert check_data(config_of(root), str(output)) == 1
  rows = list(csv.DictReader(io.StringIO(output.read_text())))
  errors = [row for row in rows if row["severity"] == "error"]
  assert list(rows[0]) == [
    "severity",
    "finding",
    "action",
    "split",
    "class",
    "path",
    "other path",
    "detail",
  ]
  assert [(row["finding"], row["path"]) for row in errors] == [
    ("unreadable", str(root / "7.jpg")),
    ("leak", str(root / "copy.jpg")),
  ]
  assert errors[0]["detail"].startswith("damaged")
  assert errors[1]["action"] == "remove it from this split"
  assert errors[1]["other path"] == str(root / "2.jpg")
  assert errors[1]["detail"].startswith("the other: train, class 0; JPEG RGB")
  counts = [row for row in rows if row["severity"] == "count"]
  assert [(row["class"], row["detail"]) for row in counts] == [
    ("0", "3"),
    ("1", "3"),
  ]


def test_output_that_cannot_be_written_stops_before_reading(root):
  with pytest.raises(ValueError, match="nowhere.*can.t be written"):
    check_data(config_of(root), str(root / "nowhere" / "findings.csv"))


def test_bad_field_stops_before_reading(root):
  config = config_of(root)
  config.dataset.profile = "steep"
  with pytest.raises(ValueError, match="dataset.profile is 'steep'"):
    check_data(config)


def test_real_images_are_clean(shared, tmp_path):
  archive = shared / "data/imagenet_samples.tar"
  if not archive.exists():
    pytest.skip("no imagenet_samples.tar")
  with tarfile.open(archive) as tar:
    members = [m for m in tar if m.isfile()][:40]
    tar.extractall(tmp_path, members, filter="data")
  found = scan(dataset_of([tmp_path / m.name for m in members]))
  assert not found.errors
  assert {kind.split()[0] for kind in found.kinds} == {"JPEG", "array"}
  assert np.median(found.rows["width"]) == 500


def test_known_data_set_is_compared(root, capsys):
  config = config_of(root)
  config.dataset.name = "imagenet_lt"
  config.dataset.validation_per_class = 0
  assert check_data(config) == 1
  assert "115846  WRONG" in capsys.readouterr().out


def test_bad_list_is_named(root):
  list_more(root, "test", "2.jpg two")
  with pytest.raises(ValueError, match=r"test\.txt:4: label is 'two'"):
    check_data(config_of(root))


def test_command_line_of_sound_lists_exits_with_0(root, command_lines):
  finished = command_lines.run(
    [
      "--mode=check_data",
      "--config=configs/image_list.py",
      f"--config.dataset.root={root}",
      "--config.dataset.train_list=train.txt",
      "--config.dataset.validation_list=val.txt",
      "--config.dataset.test_list=test.txt",
    ],
    ROOT,
  )
  assert (finished.code, finished.stderr) == (0, "")
  assert "\nnothing is wrong\nwhat to do first:\n  1. " in finished.stdout
