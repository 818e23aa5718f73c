"""A run that is killed and goes on; `benchmarks.kills` does so thirty times."""

import functools
import os
import random
import shutil

import numpy as np
import pytest

from benchmarks import kills, run_differences
from benchmarks.kill_places import PLACES, Target

TARGETS = (
  Target("step", stage=1, visit=3, delay=0.002),
  Target("checkpoint", stage=1, delay=0.01),
  Target("validation", stage=1),
  Target("between the stages"),
  Target("step", stage=2, visit=2),
)


@pytest.fixture(scope="module")
def victims(tmp_path_factory):
  """(a run never interrupted, one killed at TARGETS, those kills)."""
  if "BLT_LONG_TESTS" not in os.environ:
    pytest.skip("takes two minutes; set BLT_LONG_TESTS=1")
  folder = tmp_path_factory.mktemp("victims")
  # One device; how fast the programs are plays no part here.
  environment = {
    **os.environ,
    "XLA_FLAGS": "--xla_backend_optimization_level=1",
  }
  arguments = kills.arguments_of(1, 2)
  reference = kills.Victim(folder / "reference", arguments, environment)
  assert reference.go_on() is None
  killed = kills.Victim(
    folder / "killed", (*arguments, kills.OFTEN), environment
  )
  hit, missed = kills.kill_and_finish(killed, TARGETS)
  assert not missed
  return reference, killed, hit


def test_kills_hit_a_step_a_checkpoint_a_validation_and_between(victims):
  assert [(kill.place, kill.stage) for kill in victims[2]] == [
    ("step", 1),
    ("checkpoint", 1),
    ("validation", 1),
    ("between the stages", 2),
    ("step", 2),
  ]


def test_killed_run_ends_with_the_same_bits(victims):
  reference, killed, _ = victims
  assert killed.printed.count("continuing ") >= 2
  assert not run_differences.differences(
    reference.workdir, killed.workdir, printed=killed.printed
  )


def _changed(workdir, name):
  path = workdir / name
  path.write_text(path.read_text().replace("2", "3"))


def _twice(workdir):
  (path,) = workdir.glob("events.out.tfevents.*")
  shutil.copyfile(path, path.with_name(path.name + ".2"))


def _leave(workdir, name):
  (workdir / name).mkdir()


@pytest.mark.parametrize(
  "spoil, found",
  [
    (functools.partial(_leave, name="midway"), "midway is left over"),
    (functools.partial(_changed, name="results.json"), "results.json differs"),
    (
      functools.partial(_changed, name="metrics.csv"),
      "metrics.csv differs in row 1",
    ),
    (_twice, "TensorBoard's loss at step 6 is there 2 times"),
  ],
)
def test_a_difference_is_found(victims, tmp_path, spoil, found):
  reference, other = victims[0].workdir, tmp_path / "other"
  shutil.copytree(reference, other)
  spoil(other)
  assert found in run_differences.differences(reference, other, printed="")


def test_an_array_with_another_bit_is_found(victims, monkeypatch):
  last = {"params": np.ones(3, np.float32)}
  # As numbers the two are the same.
  other = {"params": np.zeros(3, np.float32)}, {"params": -np.zeros(3, "f4")}
  for pair, expected in (
    ((last, last), []),
    (other, ["['params'] of the last checkpoint differs"]),
  ):
    given = iter(pair)
    monkeypatch.setattr(
      run_differences, "last_checkpoint", lambda _, given=given: next(given)
    )
    workdir = victims[0].workdir
    found = run_differences.differences(workdir, workdir, printed="")
    assert found == expected


def test_a_line_printed_twice_is_found(victims):
  reference = victims[0]
  assert run_differences.differences(
    reference.workdir, reference.workdir, printed=2 * reference.printed
  ) == [
    f"stage {stage} epoch {number} is printed 2 times"
    for stage, number in ((1, 1), (2, 1), (2, 2))
  ]


def test_targets_are_every_place_of_both_stages():
  drawn = kills.draw_targets(30, 20.0, random.Random(0))
  assert {target.place for target in drawn} == {*PLACES.values(), kills.ANY}
  steps = [target.stage for target in drawn if target.place == "step"]
  assert sorted(steps) == [1, 2]
  assert drawn == kills.draw_targets(30, 20.0, random.Random(0))


def test_table_counts_the_kills_of_a_place():
  hits = [("step", 1), ("step", 2), ("step", 2), ("test", 0)]
  rows = kills.table([kills.Kill(TARGETS[0], *hit) for hit in hits])
  assert "| step | 1 | 2 | 0 |" in rows
  assert "| all | 1 | 2 | 1 |" in rows
