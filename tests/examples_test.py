"""The examples run as their readers run them, and do what they say."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import program_cache
from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINE = re.compile(r"(without|with) BLT: tail (.+) %, overall (.+) %")
# Training loops; the other one is a run of blt_jax.train.
LOOPS = [path for path in EXAMPLES if path.stem != "flax_linen"]


def run(example, folder):
  """What an example prints."""
  finished = subprocess.run(
    [sys.executable, str(example)],
    cwd=folder,
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
  return finished.stdout


@pytest.fixture(scope="module", params=LOOPS, ids=lambda path: path.stem)
def scores(request, tmp_path_factory):
  """{"without" or "with": (tail, overall)} as a loop prints them."""
  printed = run(request.param, tmp_path_factory.mktemp("loop"))
  found = LINE.findall(printed)
  assert len(found) == len(printed.splitlines()) == 2
  return {name: (float(tail), float(overall)) for name, tail, overall in found}


def test_there_is_one_for_each_kind_of_program():
  names = [path.stem for path in EXAMPLES]
  assert names == ["flax_linen", "flax_nnx", "plain_jax"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_fits_on_a_screen_or_two(example):
  assert len(example.read_text().splitlines()) <= 60


def test_learns_the_digits_with_and_without(scores):
  for tail, overall in (scores["without"], scores["with"]):
    assert 60 < tail <= 100
    assert 70 < overall <= 100


def test_tail_is_better_with_it(scores):
  # By 6 to 16 points with three seeds; other machines round otherwise.
  assert scores["with"][0] > scores["without"][0]


@long_test("trains for most of a minute; library_test.py has a shorter run")
def test_run_of_an_own_network_learns_the_digits(tmp_path):
  printed = run(ROOT / "examples" / "flax_linen.py", tmp_path)
  ((tail, overall),) = re.findall(
    r"^BLT: tail (.+) %, overall (.+) %$", printed, re.M
  )
  assert 60 < float(tail) <= 100
  assert 70 < float(overall) <= 100
  (epochs,) = re.findall(r"^tail after each epoch: (.+)$", printed, re.M)
  assert len(epochs.split()) == 13
  assert (tmp_path / "runs" / "own" / "report.html").stat().st_size
