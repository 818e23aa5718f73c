"""The examples run as their readers run them, and do what they say."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import program_cache

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINE = re.compile(r"(without|with) BLT: tail (.+) %, overall (.+) %")


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
  return request.param


@pytest.fixture(scope="module")
def scores(example):
  """{"without" or "with": (tail, overall)} as the example prints them."""
  finished = subprocess.run(
    [sys.executable, str(example)],
    env={
      **os.environ,
      "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": program_cache.FLAGS,
    },
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  found = LINE.findall(finished.stdout)
  assert len(found) == len(finished.stdout.splitlines()) == 2
  return {name: (float(tail), float(overall)) for name, tail, overall in found}


def test_there_is_one_for_each_kind_of_program():
  names = [path.stem for path in EXAMPLES]
  assert names == ["flax_linen", "flax_nnx", "plain_jax"]


def test_fits_on_a_screen_or_two(example):
  assert len(example.read_text().splitlines()) <= 60


def test_learns_the_digits_with_and_without(scores):
  for tail, overall in (scores["without"], scores["with"]):
    assert 60 < tail <= 100
    assert 70 < overall <= 100


def test_tail_is_better_with_it(scores):
  # By 6 to 16 points with three seeds; other machines round otherwise.
  assert scores["with"][0] > scores["without"][0]
