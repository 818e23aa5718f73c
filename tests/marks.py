"""Marks of tests."""

import os

import pytest


def long_test(reason: str) -> pytest.MarkDecorator:
  """Skips a test that takes long unless BLT_LONG_TESTS is set."""
  return pytest.mark.skipif(
    "BLT_LONG_TESTS" not in os.environ,
    reason=f"{reason}; set BLT_LONG_TESTS=1",
  )
