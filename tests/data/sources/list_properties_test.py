"""Image lists of any names, and any text or bytes as an image list."""

import posixpath
import re
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from blt_jax.data.sources import image_lists
from blt_jax.data.sources.file_lookup import leaves_root, plain_path

drawn = settings(
  deadline=None, derandomize=True, database=None, max_examples=100
)


def parse(text: bytes):
  """(paths, labels) of a list."""
  with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    file.write(text)
    file.flush()
    listed = image_lists.read_list(file.name, 0)
    return listed.paths.tolist(), listed.labels.tolist()


def parse_or_message(text: bytes):
  """What `parse` gives, and what it says if it refuses the text."""
  try:
    return parse(text), ""
  except ValueError as error:
    return None, str(error)


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")
names = st.one_of(st.text("ab./ ~é\t", min_size=1), st.text(letters)).filter(
  lambda name: (
    name
    and name == name.strip()
    and not leaves_root(name)
    and not name.startswith("\ufeff")
  )
)


@given(paths=st.lists(names, min_size=1, max_size=8), data=st.data())
@drawn
def test_names_of_lists_come_back_in_plain_spelling(paths, data):
  label = st.integers(0, len(paths) - 1)
  labels = [data.draw(label) for _ in paths]
  end = data.draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
  pairs = zip(paths, labels, strict=True)
  text = "".join(f"{path} {label}{end}" for path, label in pairs)
  assert parse(text.encode()) == (list(map(plain_path, paths)), labels)


@given(names)
@drawn
def test_plain_spelling_is_that_of_the_standard_library(path):
  assert plain_path(path) == posixpath.normpath(path)


@given(
  st.one_of(
    st.text("a./ 019-\n\r\t\ufeff٣"),
    st.lists(st.from_regex(r"[a./ ]{1,6} [0-2]", fullmatch=True)).map(
      "\n".join
    ),
    st.text(st.characters(exclude_categories=["Cs"])),
  )
)
@drawn
def test_any_text_is_a_list_or_names_its_line(text):
  listed, message = parse_or_message(text.encode())
  if listed is None:
    assert re.match(r"\S+\.txt(:\d+: .+|: no line)", message, re.DOTALL)
  else:
    paths, labels = listed
    assert len(paths) == len(labels) > 0
    assert not any(map(leaves_root, paths))
    assert 0 <= min(labels) <= max(labels) < len(labels)


@given(st.binary())
@drawn
def test_any_bytes_are_a_list_or_a_value_error(data):
  listed, message = parse_or_message(data)
  assert listed or ".txt" in message
