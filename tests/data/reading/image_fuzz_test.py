"""Damaged images never crash, hang or spoil a batch: see image_fuzz.py.

BLT_FUZZ_CASES sets how many damaged images the test reads; more and other ones
come from `python -m tests.image_fuzz --cases=20000 --seed=1`.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import image_fuzz

ROOT = pathlib.Path(__file__).resolve().parents[3]
CASES = int(os.environ.get("BLT_FUZZ_CASES", "120"))


def fuzz(*arguments: str, cases: int) -> dict[str, int]:
  """What the program counted; fails if it crashed, hung or found something."""
  finished = subprocess.run(
    [sys.executable, "-m", "tests.image_fuzz", f"--cases={cases}", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120 + cases,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr[-3000:]
  return json.loads(finished.stdout.splitlines()[-1])


def test_batches_of_damaged_images_are_whole(shared):
  archive = shared / "data/imagenet_samples.tar"
  photographs = [f"--images={archive}"] if archive.exists() else []
  found = fuzz(*photographs, cases=CASES)
  assert found["cases"] >= CASES
  # Some damage shows and some does not.
  assert found["cases"] / 4 < found["unreadable"] < found["cases"]
  assert found["replaced"] > 0
  assert found["grown_mb"] < 400


def test_a_crash_fails(tmp_path):
  """The tests above would notice: here the program crashes on purpose."""
  (tmp_path / "sitecustomize.py").write_text(
    "import os\nos.kill(os.getpid(), 11)\n"
  )
  path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("PYTHONPATH", path)
    with pytest.raises(AssertionError):
      fuzz(cases=1)


def test_every_image_is_damaged_in_a_way_of_its_own():
  good = image_fuzz.good_images()
  rng = np.random.default_rng(0)
  for data in good.values():
    damaged = {image_fuzz.damage(rng, data) for _ in range(50)}
    assert len(damaged - {data}) > 40
