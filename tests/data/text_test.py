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
