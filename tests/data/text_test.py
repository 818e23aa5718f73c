"""Names and errors as text."""

import errno
import os

import pytest

from blt_jax.data import text


def test_names_are_printable():
  assert text.printable("a\nb\udce9é") == "a?b?é"


def test_names_are_valid_unicode():
  assert text.as_text("Ähre \udce9") == "Ähre \\xe9"


@pytest.mark.parametrize(
  "error, expected",
  [
    (OSError(errno.EACCES, os.strerror(errno.EACCES), "x.png"), "Permission"),
    (ValueError("two\n  lines"), "two lines"),
    (MemoryError(), "MemoryError"),
  ],
)
def test_reasons_name_no_file_and_are_one_line(error, expected):
  reason = text.reason(error)
  assert reason.startswith(expected)
  assert "x.png" not in reason


def test_blanks_and_joiners_of_scripts_are_kept():
  assert text.printable("a\u00a0b\u3000c\u202e") == "a b c?"
  assert text.printable("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize(
  "name, width, short",
  [
    ("Staffordshire bullterrier", 17, "Stafford…lterrier"),
    ("大熊猫和小熊猫的照片", 12, "大熊猫…照片"),
    (5 * "👩\u200d👩\u200d👧", 6, "👩\u200d👩\u200d👧…👩\u200d👩\u200d👧"),
    (9 * "e\u0301", 5, "éé…éé"),
    ("short", 5, "short"),
  ],
)
def test_long_names_are_cut_between_whole_letters(name, width, short):
  assert text.shortened(name, width) == short
  assert text.columns(short) <= width


@pytest.mark.parametrize(
  "names, short",
  [
    (["first is short", "b"], ["first…short", "b"]),
    # What differs, as whole words if they fit.
    (
      [f"Rosaceae {n} of a family of roses" for n in ("red", "rose")],
      ["Rosa…red…ses", "Ros…rose…ses"],
    ),
    (
      ["狗的名字很长1很长很长", "狗的名字很长2很长很长"],
      ["狗的…1…很长", "狗的…2…很长"],
    ),
    # Nothing of 12 columns tells these apart.
    (
      [
        "a" * 20 + "b" * i + "a" * 9 + "b" * (20 - i) + "a" * 20 for i in (7, 8)
      ],
      ["aaaaa…aaaa…0", "aaaaa…aaaa…1"],
    ),
  ],
)
def test_names_that_are_cut_still_differ(names, short):
  found = text.shortened_apart(names, 12)
  assert all(text.columns(name) <= 12 for name in found)
  assert len(set(found)) == len(names)
  assert found == short
