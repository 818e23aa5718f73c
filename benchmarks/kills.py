"""Whether a run that is killed again and again ends as one that never was.

    .venv/bin/python -m benchmarks.kills --kills=30 --seed=0 --output=DIR

trains the digits in small (8 pixels, 3 + 4 epochs) once without interruption,
and then other runs of the same configuration that write checkpoints all the
time, and that SIGKILL ends at moments drawn at random: in a step, a checkpoint,
a validation, between the stages, ... The same command goes on each time, some
kills later to the end. The finished runs must be that first one in every bit
(`run_differences.py`); the exit code is 1 when one is not. DIR, which must be
new, holds all the runs and what they printed; DIR/kills.csv is a list of kills.

A thread within the program (`kill_places.py`) ends it in the place that was
drawn. "any moment" is a kill from outside, after a time that was drawn.
"""

import argparse
import collections
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.kill_places import ANY, BETWEEN, PLACES, REST, Target

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Those that both stages have.
_OF_STAGES = (
  "compiling",
  "reading",
  "step",
  "checkpoint",
  "checkpoint in an epoch",
  "validation",
  "confusion",
  "metrics.csv",
  "events",
)
_ONCE = (REST, "reading a checkpoint", "json", BETWEEN)
_LAST = ("test", "report")

# Mean of the delay after a program came to a place, seconds.
_SHORT_DELAY = 0.0005
_DELAY = {
  "compiling": 0.1,
  "step": 0.004,
  "checkpoint": 0.02,
  "checkpoint in an epoch": 0.02,
  "validation": 0.01,
  BETWEEN: 0.1,
  "test": 0.2,
  "report": 0.2,
  REST: 0.2,
}

# Kills that a run gets, and runs that a place is tried in.
_KILLS_OF_A_RUN = 6
_ATTEMPTS = 2

SMALL = (
  "--config=configs/digits_lt.py:batch=64,seed=3",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
)


@dataclasses.dataclass(frozen=True)
class Kill:
  """A kill: what was aimed at, and where it hit."""

  target: Target
  place: str
  stage: int


class Victim:
  """A run that is killed, or not, and goes on with the same command."""

  def __init__(
    self,
    folder: pathlib.Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
  ):
    """A run in `folder`/run, with these arguments of main.py."""
    folder.mkdir(parents=True)
    self.workdir = folder / "run"
    self._folder = folder
    self._arguments = (*arguments, f"--workdir={self.workdir}")
    self._environment = environment

  @property
  def printed(self) -> str:
    """All that it printed, in all its parts."""
    return (self._folder / "printed.txt").read_text()

  def go_on(self, target: Target | None = None) -> Kill | None:
    """Runs it until it is killed; None if it ended before that.

    Raises:
      RuntimeError: when it ended otherwise.
    """
    inside, after = "", None
    if target and target.place == ANY:
      after = target.delay
    elif target:
      inside = json.dumps(dataclasses.asdict(target))
    place = self._folder / "place.txt"
    place.write_text("0 ")
    program = ["main.py"]
    if target:
      program = ["-m", "benchmarks.kill_places", inside, str(place)]
    command = [sys.executable, *program, *self._arguments]
    with (
      (self._folder / "printed.txt").open("a") as output,
      (self._folder / "errors.txt").open("a") as errors,
    ):
      process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=self._environment,
        stdout=output,
        stderr=errors,
      )
      try:
        process.wait(timeout=after)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.returncode == 0:
      return None
    if target is None or process.returncode != -signal.SIGKILL:
      raise RuntimeError(
        f"{' '.join(command)} ended with {process.returncode}: "
        + (self._folder / "errors.txt").read_text()[-2000:]
      )
    stage, _, name = place.read_text().partition(" ")
    return Kill(target, name.strip() or "imports", int(stage))


# Checkpoints from within an epoch every 0.1 s, which is some steps.
OFTEN = "--config.checkpoint.every_minutes=0.002"


def arguments_of(stage1: int, stage2: int) -> tuple[str, ...]:
  """Arguments of main.py for a small run of so many epochs."""
  return (
    *SMALL,
    f"--config.stage1.epochs={stage1}",
    f"--config.stage2.epochs={stage2}",
  )


def order(target: Target, rng: random.Random) -> float:
  """What the targets of a run are sorted by: when a run comes there."""
  if target.place in (ANY, REST):
    return rng.uniform(0, 3)
  if target.place == "reading a checkpoint":
    return rng.uniform(1.5, 3)
  if target.place == "json":  # config.json or results.json.
    return rng.choice((0, 5))
  return _phase(target.place, target.stage)


def _phase(place: str, stage: int) -> int:
  """How far a run is that is there, as far as that can be said."""
  if place in _LAST:
    return 4 + _LAST.index(place)
  if place == BETWEEN:
    return 2
  return (0, 1, 3)[stage]


def draw_targets(
  count: int, seconds: float, rng: random.Random
) -> list[Target]:
  """Targets in random order: every place in every stage, and any moments.

  Args:
    count: how many.
    seconds: what a run takes.
    rng: draws the order, the visits and the delays.
  """
  kinds = [(place, stage) for place in _OF_STAGES for stage in (1, 2)]
  kinds += [(place, 0) for place in (*_ONCE, *_LAST)] + [(ANY, 0)] * 6
  drawn: list[tuple[str, int]] = []
  while len(drawn) < count:
    drawn += rng.sample(kinds, len(kinds))
  return [draw_target(*kind, seconds, rng) for kind in drawn[:count]]


def draw_target(
  place: str, stage: int, seconds: float, rng: random.Random
) -> Target:
  """A random moment in a place."""
  if place == ANY:
    return Target(ANY, delay=rng.uniform(0, seconds))
  visit = rng.choice((1, 1, 2, 3)) if place in _OF_STAGES else 1
  mean = _DELAY.get(place, _SHORT_DELAY)
  return Target(place, stage, visit, rng.expovariate(1 / mean))


def kill_and_finish(
  victim: Victim, targets: Sequence[Target]
) -> tuple[list[Kill], list[Target]]:
  """Kills a run at each of the targets in turn, then lets it finish.

  Targets that the run has left behind are passed over.

  Returns:
    (the kills, the targets that the run passed by without being killed).
  """
  kills: list[Kill] = []
  phase = 0
  for target in targets:
    aimed = _phase(target.place, target.stage)
    if 0 < aimed < phase:
      continue
    kill = victim.go_on(target)
    if kill is None:
      return kills, [target]
    kills.append(kill)
    phase = max(phase, _phase(kill.place, kill.stage))
    print(f"{victim.workdir.parent.name}: {describe(kill)}", flush=True)
  victim.go_on()
  return kills, []


def describe(kill: Kill) -> str:
  """A kill in words."""
  where = f"stage {kill.stage} {kill.place}" if kill.stage else kill.place
  aim = " (any moment)" if kill.target.place == ANY else ""
  return f"killed: {where}{aim}"


def table(kills: Sequence[Kill]) -> str:
  """How many kills hit which place of which stage."""
  counts = collections.Counter((kill.place, kill.stage) for kill in kills)
  rows = [
    "| place | stage 1 | stage 2 | outside |",
    "|---|---|---|---|",
  ]
  for place in dict.fromkeys(["imports", *PLACES.values()]):
    cells = [counts[place, stage] for stage in (1, 2, 0)]
    if any(cells):
      rows.append(f"| {place} | " + " | ".join(map(str, cells)) + " |")
  sums = [sum(kill.stage == stage for kill in kills) for stage in (1, 2, 0)]
  return "\n".join([*rows, "| all | " + " | ".join(map(str, sums)) + " |"])


def kill_runs(
  make: Callable[[str], Victim],
  reference: Victim,
  targets: Sequence[Target],
  *,
  redraw: Callable[[str, int], Target],
  rng: random.Random,
) -> tuple[list[Kill], list[str]]:
  """Kills runs until there were as many kills as targets, and compares them.

  Args:
    make: a new run with a name.
    reference: a finished run.
    targets: what passes by without a kill is drawn anew.
    redraw: a target for a place and a stage.
    rng: for the order.

  Returns:
    (the kills, the differences).
  """
  # Imported here: the program that is killed needs it not.
  from benchmarks.run_differences import differences

  pending, misses = list(targets), collections.Counter[tuple[str, int]]()
  kills: list[Kill] = []
  found: list[str] = []
  for number in itertools.count(1):
    if not pending:
      return kills, found
    victim = make(f"run{number}")
    batch = pending[:_KILLS_OF_A_RUN]
    hits, missed = kill_and_finish(
      victim, sorted(batch, key=lambda target: order(target, rng))
    )
    kills += hits
    for target in [hit.target for hit in hits] + missed:
      pending.remove(target)
    for target in missed:
      kind = target.place, target.stage
      misses[kind] += 1
      again = kind if misses[kind] < _ATTEMPTS else (ANY, 0)
      pending.append(redraw(*again))
    different = differences(
      reference.workdir, victim.workdir, printed=victim.printed
    )
    found += [f"run{number}: {one}" for one in different]
    print(f"run{number}: {different or 'the same in every bit'}", flush=True)
  raise AssertionError("not reached")


def main() -> int:
  """Kills as often as it is told; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=30)
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  options = parser.parse_args()
  if options.output.exists():
    parser.error(f"--output: {options.output} exists; expected a new folder")
  folder, start = options.output.absolute(), time.monotonic()
  # A cache of its own: killed processes leave damaged files in it.
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
  }
  arguments = arguments_of(3, 4)
  reference = Victim(folder / "reference", arguments, environment)
  reference.go_on()
  # Like those to come, this one finds the programs compiled.
  warm = time.monotonic()
  Victim(folder / "warm", arguments, environment).go_on()
  seconds = time.monotonic() - warm
  print(f"a run that is not killed takes {seconds:.0f} s", flush=True)
  rng = random.Random(options.seed)
  targets = draw_targets(options.kills, seconds, rng)
  kills, found = kill_runs(
    lambda name: Victim(folder / name, (*arguments, OFTEN), environment),
    reference,
    targets,
    redraw=lambda place, stage: draw_target(place, stage, seconds, rng),
    rng=rng,
  )
  _write(folder / "kills.csv", kills)
  runs = len(list(folder.glob("run*")))
  print(table(kills))
  print(
    f"{len(kills)} kills in {runs} runs, {len(found)} differences, "
    f"{time.monotonic() - start:.0f} s"
  )
  return 1 if found else 0


def _write(path: pathlib.Path, kills: Sequence[Kill]) -> None:
  with path.open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("aim", "visit", "delay", "place", "stage"))
    for kill in kills:
      aim = kill.target
      delay = f"{aim.delay:.4f}"
      writer.writerow((aim.place, aim.visit, delay, kill.place, kill.stage))


if __name__ == "__main__":
  sys.exit(main())
