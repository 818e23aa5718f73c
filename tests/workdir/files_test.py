import json

import numpy as np
import pytest

from blt_jax.workdir import files


def _names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_nan_becomes_null(tmp_path):
  files.write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5]})
  assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.5]}
  assert _names(tmp_path) == ["x.json"]


def test_arrays_come_back(tmp_path):
  for compress in (True, False):
    files.write_npz(
      tmp_path / "x.npz", {"a": np.arange(3), "b": 2}, compress=compress
    )
    with np.load(tmp_path / "x.npz") as content:
      assert content["a"].tolist() == [0, 1, 2]
      assert int(content["b"]) == 2
  assert _names(tmp_path) == ["x.npz"]


def test_old_file_stays_when_the_new_one_fails(tmp_path):
  path = tmp_path / "x.txt"
  files.write_text(path, "old")
  with (
    pytest.raises(FileNotFoundError),
    files.replacing(path) as unfinished,
  ):
    unfinished.with_name("missing").rename(unfinished)
  assert path.read_text() == "old"
  assert _names(tmp_path) == ["x.txt"]


def test_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
  path = tmp_path / "x.txt"
  files.write_text(path, "old\n")
  with files.replacing(path) as unfinished:
    unfinished.write_text("new\n")
    assert path.read_text() == "old\n"
  assert path.read_text() == "new\n"


def test_what_a_killed_process_left_is_removed(tmp_path):
  (tmp_path / "confusion").mkdir()
  for name in ("a.json.tmp", "confusion/b.npz.tmp", "kept.json"):
    (tmp_path / name).write_text("")
  files.remove_unfinished(tmp_path)
  assert _names(tmp_path) == ["confusion", "kept.json"]
  assert not _names(tmp_path / "confusion")


@pytest.mark.parametrize(
  "content, message", [("{", "is not JSON"), ("[]", "holds a list; expected")]
)
def test_file_that_holds_no_object_is_named(tmp_path, content, message):
  (tmp_path / "x.json").write_text(content)
  with pytest.raises(ValueError, match=rf"x\.json {message}"):
    files.read_object(tmp_path / "x.json")
  assert files.read_object(tmp_path / "y.json") is None


def test_text_with_bytes_of_a_file_name_is_written_as_utf8(tmp_path):
  files.write_text(tmp_path / "text", "写 caf\udce9\r\n")
  assert (tmp_path / "text").read_bytes().decode() == "写 caf\\xe9\r\n"
