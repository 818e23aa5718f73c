"""Finding files: where they are looked up, and how often."""

import os
import types

import pytest

from blt_jax.data.sources import file_lookup


def _touch(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()


def _find(root, paths, flat_folders=()):
  finder = file_lookup.FileFinder(str(root), flat_folders)
  found = finder.find(paths, place=lambda i: f"list:{i + 1}")
  return [os.path.relpath(path, root) for path in found]


def test_flat_folders_hold_what_has_no_class_folder(tmp_path):
  _touch(tmp_path, "train/cat/1.jpg", "val_256/2.jpg", "val/3.jpg")
  paths = ["train/cat/1.jpg", "val/cat/2.jpg", "val/dog/3.jpg"]
  assert _find(tmp_path, paths, ("val_256", "val")) == [
    "train/cat/1.jpg",
    "val_256/2.jpg",
    "val/3.jpg",
  ]


def test_class_folders_win_over_flat_ones(tmp_path):
  _touch(tmp_path, "val/cat/1.jpg", "val_256/1.jpg")
  assert _find(tmp_path, ["val/cat/1.jpg"], ("val_256",)) == ["val/cat/1.jpg"]


@pytest.mark.parametrize("path", ["train/cat/1.jpg", "train/1.jpg", "1.jpg"])
def test_flat_folders_of_another_split_are_not_looked_in(tmp_path, path):
  _touch(tmp_path, "val_256/1.jpg")
  with pytest.raises(ValueError, match="list:1: no file .*1 of the 1 files"):
    _find(tmp_path, [path], ("val_256",))


@pytest.fixture
def read(tmp_path, monkeypatch):
  """The folders read so far; no file may be asked for."""
  read, scandir = [], os.scandir

  def scan(folder):
    read.append(os.path.relpath(folder, tmp_path))
    return scandir(folder)

  monkeypatch.setattr(os, "scandir", scan)
  monkeypatch.setattr(os.path, "isfile", lambda path: pytest.fail(path))
  return read


def test_every_folder_is_read_once(tmp_path, read):
  paths = [f"{c}/{i}.jpg" for i in range(20) for c in "ab"]
  _touch(tmp_path, *paths)
  assert _find(tmp_path, paths) == paths
  assert sorted(read) == ["a", "b"]


def test_remembered_folders_are_not_read_again(tmp_path, read):
  paths = [f"{c}/{i}.jpg" for i in range(10) for c in "ab"]
  _touch(tmp_path, *paths)
  finder = file_lookup.FileFinder(str(tmp_path))
  for part in (paths[:7], paths[5:]):
    found = finder.find(part, place=str)
    assert [os.path.relpath(path, tmp_path) for path in found] == part
  assert sorted(read) == ["a", "b"]


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
  _touch(tmp_path, "a/0.jpg", "a/2.jpg")
  with pytest.raises(
    ValueError, match=r"list:2: no file .*a/1\.jpg'; .*2 of the 4 files"
  ):
    _find(tmp_path, [f"a/{i}.jpg" for i in range(4)])


@pytest.mark.parametrize("folder", ["plain", "r\udce9"])
@pytest.mark.parametrize("name", ["a.jpg", "\udce9.jpg"])
def test_names_need_not_be_utf_8(tmp_path, folder, name):
  _touch(tmp_path / folder, name)
  finder = file_lookup.FileFinder(str(tmp_path / folder))
  assert finder.find([name], place=str).tolist() == [
    str(tmp_path / folder / name)
  ]


def test_one_file_has_one_identity_and_others_have_their_own(tmp_path):
  _touch(tmp_path, "a.jpg", "b.jpg")
  (tmp_path / "hard.jpg").hardlink_to(tmp_path / "a.jpg")
  (tmp_path / "soft.jpg").symlink_to("a.jpg")
  (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
  names = [
    file_lookup.identity(str(tmp_path / f"{name}.jpg"))
    for name in ("a", "hard", "soft", "b", "gone")
  ]
  assert names[0] == names[1] == names[2]
  assert len(set(names)) == 3


def test_files_that_share_a_number_alone_are_not_one(tmp_path, monkeypatch):
  (tmp_path / "a.jpg").write_bytes(b"1")
  (tmp_path / "b.jpg").write_bytes(b"22")

  def unnumbered(path):  # As on file systems that number none of their files.
    found = os.stat(path)
    return types.SimpleNamespace(
      st_dev=0, st_ino=0, st_size=found.st_size, st_mtime_ns=0
    )

  monkeypatch.setattr(file_lookup, "os", types.SimpleNamespace(stat=unnumbered))
  first, second = (
    file_lookup.identity(str(tmp_path / name)) for name in ("a.jpg", "b.jpg")
  )
  assert first != second
