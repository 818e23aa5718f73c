"""splits.csv: what a run writes is what the next run reads."""

import os

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.sources import SplitOptions
from blt_jax.data.sources.splits_csv import splits_csv

OPTIONS = SplitOptions(validation_per_class=5, test_per_class=5)


def _folders(root, names, count=9):
  for name in names:
    folder = os.path.join(os.fsencode(root), os.fsencode(name))
    os.makedirs(folder)
    for i in range(count):
      open(os.path.join(folder, b"%d.jpg" % i), "wb").close()


def _again(root, content, tmp_path):
  table = tmp_path / "splits.csv"
  table.write_bytes(content)
  return sources.load_image_table(str(root), str(table), options=OPTIONS)


def _assert_same(first, second):
  assert second.class_names == first.class_names
  for part, split in first.splits.items():
    other = second.splits[part]
    assert other.paths.tolist() == split.paths.tolist()
    np.testing.assert_array_equal(other.labels, split.labels)
  assert (second.test is second.validation) == (first.test is first.validation)


@pytest.mark.parametrize(
  "names, header",
  [
    (("cat", 'dog, "Rex"', "Öhre"), "path,label,split,group"),
    (("0", "1", "2"), "path,label,split,group"),
    (("1", "10", "2"), "path,label,split,group,class_number"),
    (("1.0", "2.0"), "path,label,split,group,class_number"),
    ((" a", "b  c", "nan"), "path,label,split,group,class_number"),
  ],
)
def test_folders_come_back_with_their_order_of_classes(tmp_path, names, header):
  root = tmp_path / "images"
  _folders(root, names)
  dataset = sources.load_image_folder(str(root), options=OPTIONS)
  content = splits_csv(dataset, str(root))
  assert content.decode().partition("\n")[0] == header
  again = _again(root, content, tmp_path)
  _assert_same(dataset, again)
  assert splits_csv(again, str(root)) == content


def test_odd_names_of_files_come_back(tmp_path):
  root = tmp_path / "images"
  _folders(root, ("a", "b"))
  names = (
    b" x.jpg",
    b'y,"\n\r.jpg',
    b"z\\1.jpg",
    b"\xff.jpg",
    b"nan",
    b"-.jpg",
  )
  for name in names:
    open(os.path.join(os.fsencode(root), b"a", name), "wb").close()
  dataset = sources.load_image_folder(str(root), options=OPTIONS)
  again = _again(root, splits_csv(dataset, str(root)), tmp_path)
  _assert_same(dataset, again)


def test_lists_whose_validation_is_the_test_come_back(tmp_path):
  root = tmp_path / "images"
  _folders(root, ("wolf", "bear"))
  lines = [
    f"{n}/{i}.jpg {c}\n"
    for c, n in enumerate(("wolf", "bear"))
    for i in range(9)
  ]
  (root / "train.txt").write_text("".join(lines))
  dataset = sources.load_image_lists(
    str(root),
    str(root / "train.txt"),
    options=SplitOptions(validation_per_class=2),
  )
  again = _again(root, splits_csv(dataset, str(root)), tmp_path)
  _assert_same(dataset, again)
  assert again.class_names == ("wolf", "bear")


def test_groups_come_back(tmp_path):
  root = tmp_path / "images"
  _folders(root, ("a", "b"), count=20)
  rows = [
    f"{'ab'[i % 2]}/{i // 2}.jpg,{'zy'[i % 2]},p{i % 8}" for i in range(40)
  ]
  (root / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
  dataset = sources.load_image_table("", str(root / "t.csv"), options=OPTIONS)
  again = _again(root, splits_csv(dataset, str(root)), tmp_path)
  _assert_same(dataset, again)
  for part, split in dataset.splits.items():
    assert again.splits[part].groups.tolist() == split.groups.tolist()


def test_paths_out_of_the_root_are_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  split = Split(np.array([0]), paths=["in/1.jpg"])
  other = Split(np.array([0]), paths=["out/2.jpg"])
  dataset = Dataset("x", ("a",), split, other, other)
  rows = splits_csv(dataset, str(tmp_path / "in")).decode().splitlines()
  assert rows[1:] == ["1.jpg,a,train,", f"{tmp_path}/out/2.jpg,a,validation,"]
  rows = splits_csv(dataset, "").decode().splitlines()
  assert rows[1:] == ["in/1.jpg,a,train,", "out/2.jpg,a,validation,"]


def test_arrays_have_no_table():
  assert splits_csv(sources.load_digits_lt(), "") is None
