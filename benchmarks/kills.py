"""Whether a run that is killed again and again ends as one that never was.

    .venv/bin/python -m benchmarks.kills --kills=12 --output=DIR

trains the digits in small (8 pixels, 2 + 3 epochs) once without interruption,
then again and again with a checkpoint every few steps, and kills each of these
runs (SIGKILL) several times, at moments drawn at random. The same command goes
on each time, after the last kill to the end. Every finished run must be the
first one in every bit; the exit code is 1 when one is not. DIR, which must be
new, holds all the runs and what they printed.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = pathlib.Path(__file__).resolve().parents[1]

# One device, so that runs have the same number of steps on any machine.
SMALL = (
  "--config=configs/digits_lt.py:batch=64,seed=3",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.num_devices=1",
)
_EPOCHS = ("--config.stage1.epochs=2", "--config.stage2.epochs=3")
# A checkpoint within an epoch every 0.1 s, which is some steps.
OFTEN = "--config.checkpoint.every_minutes=0.002"
_KILLS_OF_A_RUN = 4
# When to kill, seconds after the start; the imports take the first seconds.
_MOMENTS = (3.0, 25.0)

# Fields of metrics.csv and results.json, and tags of TensorBoard, that are not
# the same twice.
TIMINGS = {"seconds", "data_wait_share"}
TIMINGS |= {"validation_seconds", "images_per_second"}
# Files that show timings; they only have to be there.
_SHOWN = (".html", ".png", ".svg")
_EVENTS = "events.out.tfevents."


def train(
  workdir: pathlib.Path,
  arguments: Sequence[str],
  kill_when: Callable[[], bool] = lambda: False,
) -> bool:
  """Runs main.py until it ends or `kill_when`; returns whether it ended.

  What it prints is added to printed.txt beside the work directory.

  Raises:
    RuntimeError: when it ended with an error.
  """
  workdir.parent.mkdir(parents=True, exist_ok=True)
  command = [sys.executable, "main.py", *arguments, f"--workdir={workdir}"]
  with (workdir.parent / "printed.txt").open("a") as printed:
    process = subprocess.Popen(
      command, cwd=ROOT, stdout=printed, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
      if kill_when():
        process.kill()
        process.wait()
      time.sleep(0.01)
  if process.returncode not in (0, -signal.SIGKILL):
    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}.")
  return process.returncode == 0


def differences(reference: pathlib.Path, other: pathlib.Path) -> list[str]:
  """What differs between two finished runs, timings apart.

  A file, an array or a value that only one of them has counts as well.
  """
  found = []
  for where, read in (
    ("", _files),
    (" of the last checkpoint", _last_checkpoint),
    (" of TensorBoard", _events),
    (" in print", _printed),
  ):
    there, here = read(reference), read(other)
    found += [
      f"{name}{where} differs"
      for name in sorted(there.keys() | here.keys())
      if there.get(name) != here.get(name)
    ]
  return found


def _files(workdir: pathlib.Path) -> dict[str, Any]:
  """Every file but those of checkpoints and events, by its name."""
  paths = (path for path in workdir.rglob("*") if path.is_file())
  found = {str(path.relative_to(workdir)): _content(path) for path in paths}
  return {
    name: content
    for name, content in found.items()
    if not name.startswith(("checkpoints/", _EVENTS))
  }


def _content(path: pathlib.Path) -> Any:
  """What has to be the same in a file."""
  if path.suffix in _SHOWN or path.name == "config.json":
    return "there"
  if path.suffix == ".csv":
    with path.open(newline="") as file:
      return [_untimed(row) for row in csv.DictReader(file)]
  if path.suffix == ".json":
    return _untimed(json.loads(path.read_text()))
  return path.read_bytes()


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in row.items() if name not in TIMINGS}


def _last_checkpoint(workdir: pathlib.Path) -> dict[str, Any]:
  """Type, shape and bytes of every array of the newest checkpoint."""
  folder = (workdir / "checkpoints").absolute()
  last = max(int(path.name) for path in folder.iterdir())
  with ocp.CheckpointManager(folder, item_names=("state",)) as manager:
    restored = manager.restore(
      last, args=ocp.args.Composite(state=ocp.args.StandardRestore())
    )
  leaves = jax.tree_util.tree_leaves_with_path(restored["state"])
  arrays = {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in leaves}
  return {
    name: (str(array.dtype), array.shape, array.tobytes())
    for name, array in arrays.items()
  }


def _events(workdir: pathlib.Path) -> dict[str, list[Any]]:
  """The values of every tag at every step in all event files of a run."""
  # Imported here: they take long.
  from tensorboard.backend.event_processing import event_file_loader
  from tensorboard.util import tensor_util

  found = collections.defaultdict(list)
  for path in sorted(workdir.glob(_EVENTS + "*")):
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        number = tensor_util.make_ndarray(value.tensor).tobytes()
        name = f"{value.tag} at step {event.step}"
        found[name].append("a time" if value.tag in TIMINGS else number)
  return dict(found)


def _printed(workdir: pathlib.Path) -> dict[str, int]:
  """Epochs whose line was printed more than once.

  A kill between the checkpoint of an epoch and its line leaves the line out.
  """
  printed = (workdir.parent / "printed.txt").read_text()
  lines = re.findall(r"^(stage \d+ epoch +\d+)/", printed, flags=re.MULTILINE)
  counts = collections.Counter(lines)
  return {line: count for line, count in counts.items() if count > 1}


def _killed(
  reference: pathlib.Path, workdir: pathlib.Path, rng: random.Random, most: int
) -> tuple[int, list[str]]:
  """(kills of a run, at most so many, its differences from another)."""
  for hits in range(most + 1):
    end = time.monotonic() + rng.uniform(*_MOMENTS)

    def is_time(hits: int = hits, end: float = end) -> bool:
      return hits < most and time.monotonic() > end

    if train(workdir, (*SMALL, *_EPOCHS, OFTEN), is_time):
      return hits, differences(reference, workdir)
  raise AssertionError("not reached: the last one is not killed")


def main() -> int:
  """Kills as often as it is told; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=12)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  options = parser.parse_args()
  if options.output.exists():
    parser.error(f"--output: {options.output} exists; expected a new folder")
  folder = options.output.absolute()
  # A cache of its own: killed processes may leave damaged files in it.
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
  reference = folder / "reference" / "run"
  train(reference, (*SMALL, *_EPOCHS))
  rng, killed, number, found = random.Random(0), 0, 0, 0
  while killed < options.kills:
    number += 1
    most = min(_KILLS_OF_A_RUN, options.kills - killed)
    hits, different = _killed(
      reference, folder / f"run{number}" / "run", rng, most
    )
    killed, found = killed + hits, found + len(different)
    print(f"run{number}: {hits} kills: {different or 'the same'}", flush=True)
  print(f"{killed} kills in {number} runs, {found} differences")
  return 1 if found else 0


if __name__ == "__main__":
  sys.exit(main())
