"""A run that is killed and goes on; `benchmarks.kills` does so more often."""

import functools
import os
import shutil

import pytest

from benchmarks import kills
from tests import program_cache

EPOCHS = ("--config.stage1.epochs=1", "--config.stage2.epochs=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """(a run never interrupted, one that was killed three times)."""
  if "BLT_LONG_TESTS" not in os.environ:
    pytest.skip("takes two minutes; set BLT_LONG_TESTS=1")
  folder = tmp_path_factory.mktemp("runs")
  # One device; how fast the programs are plays no part here.
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", program_cache.FLAGS)
    arguments = (*kills.SMALL, *EPOCHS)
    reference, killed = folder / "reference" / "run", folder / "killed" / "run"
    assert kills.train(reference, arguments)
    often = (*arguments, kills.OFTEN)
    rows = functools.partial(_rows, killed / "metrics.csv")
    for kill_when in (
      lambda: (killed / "midway").exists(),
      lambda: rows() == 1,
      lambda: rows() == 2 and (killed / "midway").exists(),
    ):
      assert not kills.train(killed, often, kill_when)
    assert kills.train(killed, often)
  return reference, killed


def _rows(path):
  return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def test_killed_run_ends_with_the_same_bits(runs):
  reference, killed = runs
  printed = (killed.parent / "printed.txt").read_text()
  assert printed.count("continuing ") >= 2
  assert kills.differences(reference, killed) == []


def _changed(workdir, name):
  path = workdir / name
  path.write_text(path.read_text().replace("2", "3"))


def _events_twice(workdir):
  (path,) = workdir.glob("events.out.tfevents.*")
  shutil.copyfile(path, path.with_name(path.name + ".2"))


def _leave(workdir, name):
  (workdir / name).mkdir()
  (workdir / name / "metadata").touch()


def _say_twice(workdir):
  path = workdir.parent / "printed.txt"
  path.write_text(2 * path.read_text())


@pytest.mark.parametrize(
  "spoil, found",
  [
    (functools.partial(_leave, name="midway"), "midway/metadata differs"),
    (functools.partial(_changed, name="results.json"), "results.json differs"),
    (functools.partial(_changed, name="metrics.csv"), "metrics.csv differs"),
    (_events_twice, "loss at step 6 of TensorBoard differs"),
    (_say_twice, "stage 1 epoch 1 in print differs"),
  ],
)
def test_a_difference_is_found(runs, tmp_path, spoil, found):
  reference, other = runs[0], tmp_path / "other" / "run"
  shutil.copytree(reference.parent, other.parent)
  spoil(other)
  differences = kills.differences(reference, other)
  assert any(each.startswith(found) for each in differences), differences


def test_an_array_with_another_bit_is_found(runs, monkeypatch):
  given = iter(({"params": b"\0"}, {"params": b"\1"}))
  monkeypatch.setattr(kills, "_last_checkpoint", lambda _: next(given))
  assert kills.differences(runs[0], runs[0]) == [
    "params of the last checkpoint differs"
  ]
