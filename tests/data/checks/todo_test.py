"""Torn groups, ranges of values, and what to do first."""

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.checks import findings, lines, todo
from blt_jax.data.checks.scan import scan
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.reading.decode import Decoding

NOISE = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)


def dataset_of(train, test, names=("cat", "dog")):
  return Dataset("some", names, train, test, test)


def report_of(dataset, *, advice=(), **options):
  scanned = scan(dataset, **options)
  found = findings.find(scanned, 1)
  return findings.Report(dataset, scanned, {}, found, advice=advice)


def test_groups_in_two_splits_are_reported():
  train = Split([0, 0, 1], NOISE[:3], groups=["a", "b", ""])
  test = Split([0, 1, 1, 1], NOISE[3:7], groups=["b", "c", "", "b"])
  (found,) = report_of(dataset_of(train, test)).findings
  assert (found.name, found.severity) == ("torn group", "warning")
  assert "(1 of 3 groups)" in found.title
  assert found.images.tolist() == [3, 6]
  assert found.others.tolist() == [1, 1]


def test_groups_that_are_whole_are_no_finding():
  train = Split([0, 1], NOISE[:2], groups=["a", "a"])
  test = Split([0, 1], NOISE[2:4], groups=["b", ""])
  assert report_of(dataset_of(train, test)).findings == ()


def test_ranges_of_deep_grey_are_shown(tmp_path):
  paths = []
  for n, high in enumerate((4095, 900)):
    values = np.linspace(10, high, 1600).reshape(40, 40).astype(np.uint16)
    paths.append(str(tmp_path / f"{n}.png"))
    Image.fromarray(values).save(paths[-1])
  other = Split([0], NOISE[:1])
  dataset = dataset_of(Split([0, 1], paths=paths), other)
  decoding = Decoding(grey_range=(0, 4095))
  text = lines.text(report_of(dataset, decoding=decoding))
  assert "values of 2 PNG I;16 16 bit images: 10 to 4095, 12 bits" in text


def test_nan_and_infinity_are_a_warning(tmp_path):
  paths = []
  for value in (0, np.nan, -np.inf):
    values = NOISE[0, ..., 0] / np.float32(255)
    values[3, 3] = value
    paths.append(str(tmp_path / f"{value}.tif"))
    Image.fromarray(values).save(paths[-1])
  dataset = dataset_of(Split([0, 1, 1], paths=paths), Split([0], NOISE[1:2]))
  report = report_of(dataset, decoding=Decoding(grey_range=(0, 1)))
  (found,) = [f for f in report.findings if f.name == "not finite"]
  assert (found.severity, found.images.tolist()) == ("warning", [1, 2])
  text = lines.text(report)
  assert "values of 3 TIFF F images: 0 to 1" in text
  assert (
    "save 2 images again without NaN and infinity (such as "
    f"{todo._short(paths[1])})" in text
  )


def test_three_things_are_named_the_most_useful_first():
  twice = NOISE[[0, 1, 2, 2, 3, 3]]
  train = Split([0, 0, 0, 0, 0, 0], twice, groups=["", "a", "", "", "", ""])
  test = Split([0, 0], NOISE[[0, 4]], groups=["", "a"])
  report = report_of(dataset_of(train, test), advice=["some advice"])
  deeds = todo.first_things(report, "findings.csv")
  assert deeds == [
    "add training images of 1 class without any, or remove it: dog",
    "remove 1 copy of images of another split from validation = test (such as "
    "image 0; rows 'leak' of findings.csv)",
    "split anew by groups with --config.dataset.split=none: another split has "
    "the groups of 1 image of "
    "validation = test (such as image 1; rows 'torn group' of findings.csv)",
  ]
  assert lines.text(report, "findings.csv").endswith(f"  3. {deeds[2]}")


@pytest.mark.parametrize("names", [("cat",), ("cat", "dog")])
def test_advice_comes_before_copies_in_the_same_split(names):
  split = Split([0, 0, len(names) - 1], NOISE[[0, 0, 1]])
  report = report_of(
    dataset_of(split, Split([0], NOISE[4:5]), names), advice=["some advice"]
  )
  assert todo.first_things(report, "") == [
    "some advice",
    "remove 1 image, now twice in the same class and split (such as image 1)",
  ]


def test_nothing_to_do_is_no_heading():
  data = dataset_of(Split([0, 1], NOISE[:2]), Split([0], NOISE[2:3]))
  assert lines.text(report_of(data)).endswith("nothing is wrong")
