"""Parsing lists: by the block and line by line, to the same result."""

import numpy as np
import pytest

from blt_jax.data.sources import image_lists

PLAIN = "".join(f"c{i % 7}/im {i}.jpg {i * i % 11}\n" for i in range(40))


@pytest.fixture(params=[1 << 22, 50])
def read(request, tmp_path, monkeypatch):
  """Parses a text in blocks of some size: (paths, labels, lines)."""
  monkeypatch.setattr(image_lists, "_BYTES_AT_ONCE", request.param)

  def read(text):
    (tmp_path / "list.txt").write_bytes(text.encode())
    listed = image_lists.read_list(str(tmp_path / "list.txt"), 0)
    return listed.paths.tolist(), listed.labels.tolist(), listed.lines.tolist()

  return read


def test_plain_lines(read, monkeypatch):
  monkeypatch.setattr(image_lists, "_parse_line", None)  # Not needed.
  paths, labels, lines = read(PLAIN)
  assert paths == [f"c{i % 7}/im {i}.jpg" for i in range(40)]
  assert labels == [i * i % 11 for i in range(40)]
  assert lines == list(range(1, 41))


@pytest.mark.parametrize(
  "change",
  [
    lambda text: text.rstrip(),
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\r"),
    lambda text: text.replace("\n", " \t\n"),
    lambda text: text.replace("jpg ", "jpg  "),
    lambda text: text.replace("\n", "\n\u2003"),
  ],
)
def test_other_forms_of_the_same_list(read, change):
  assert read(change(PLAIN)) == read(PLAIN)


def test_empty_lines_count(read):
  paths, labels, lines = read(PLAIN.replace("\n", "\n\n"))
  assert (paths, labels) == read(PLAIN)[:2]
  assert lines == list(range(1, 81, 2))


def test_letters_of_any_script(read):
  text = PLAIN.replace("c3", "Ähre ..a")
  paths, labels, _ = read(text)
  assert paths == [path.replace("c3", "Ähre ..a") for path in read(PLAIN)[0]]
  assert labels == read(PLAIN)[1]


def test_long_labels(read, tmp_path):
  (tmp_path / "list.txt").write_text("a 000000003\nb 3\nc 0\nd 1\n")
  listed = image_lists.read_list(str(tmp_path / "list.txt"), 4)
  np.testing.assert_array_equal(listed.labels, [3, 3, 0, 1])


@pytest.mark.parametrize(
  "line",
  ["x.jpg", "x.jpg 1234567890", "x.jpg 1a", "x.jpg ٣", " 1", "/x.jpg 1", "7"],
)
def test_bad_lines_are_named_by_number(read, line):
  with pytest.raises(ValueError, match=r"list\.txt:41: "):
    read(f"{PLAIN}{line}\n{PLAIN}")


def test_text_that_is_not_utf8_is_named(tmp_path):
  (tmp_path / "list.txt").write_bytes(b"a.jpg 0\n\xff.jpg 0\n")
  with pytest.raises(ValueError, match=r"list\.txt: can't be read as a text"):
    image_lists.read_list(str(tmp_path / "list.txt"), 0)
