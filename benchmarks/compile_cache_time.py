"""How much sooner a run is under way when its programs are compiled already.

    .venv/bin/python -m benchmarks.compile_cache_time --rounds=3

trains the digits for some epochs, each time in a new process and a new work
directory: with an empty compilation cache, then again with what that run left
in it, and so on with another empty one. It prints the seconds of each stage's
first epoch and of the whole process, medians over the rounds with their range,
and the ratio empty / warm. No cache of the user's is touched.
"""

import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each kind.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Of each stage.")
_JSON = flags.DEFINE_string("json", None, "File for the numbers.")

KINDS = ("empty", "warm")
TIMES = ("stage 1", "stage 2", "process")

# As blt_jax.compile_cache has it: programs that take less are not kept.
_SHORTEST = "0.5"

Seconds = dict[str, float]


def main(_: list[str]) -> None:
  """Runs everything and prints the table."""
  runs: dict[str, list[Seconds]] = {kind: [] for kind in KINDS}
  for number in range(_ROUNDS.value):
    with tempfile.TemporaryDirectory() as folder:
      for kind in KINDS:
        print(f"round {number + 1}: {kind}", flush=True)
        runs[kind].append(_run(pathlib.Path(folder), kind))
  print(f"\n{table(runs)}")
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(runs, indent=2) + "\n")


def _run(folder: pathlib.Path, kind: str) -> Seconds:
  """Trains in a folder, whose cache both kinds share; returns its seconds."""
  workdir = folder / kind
  command = [
    *(sys.executable, "main.py", "--config=configs/digits_lt.py"),
    f"--config.stage1.epochs={_EPOCHS.value}",
    f"--config.stage2.epochs={_EPOCHS.value}",
    f"--workdir={workdir}",
  ]
  environment = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": _SHORTEST,
    "JAX_ENABLE_COMPILATION_CACHE": "1",
  }
  start = time.perf_counter()
  done = subprocess.run(
    command,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  seconds = time.perf_counter() - start
  if done.returncode:
    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
  return first_epochs(workdir / "metrics.csv") | {"process": seconds}


def first_epochs(metrics: pathlib.Path) -> Seconds:
  """Seconds of each stage's first epoch, "stage 1" and "stage 2".

  Args:
    metrics: metrics.csv of a run.
  """
  with metrics.open() as file:
    rows = list(csv.DictReader(file))
  seconds: Seconds = {}
  for row in rows:
    seconds.setdefault(f"stage {row['stage']}", float(row["seconds"]))
  return seconds


def table(runs: dict[str, list[Seconds]]) -> str:
  """Medians over the runs of a kind, their range and the ratio."""
  lines = ["| cache | " + " | ".join(f"{name}, s" for name in TIMES) + " |"]
  lines.append("|---" * (1 + len(TIMES)) + "|")
  medians = {}
  for kind, each in runs.items():
    cells = []
    for name in TIMES:
      values = [one[name] for one in each]
      medians[kind, name] = statistics.median(values)
      span = f"{min(values):.2f}-{max(values):.2f}"
      cells.append(f"{medians[kind, name]:.2f} ({span})")
    lines.append(f"| {kind} | " + " | ".join(cells) + " |")
  ratios = [medians["empty", n] / medians["warm", n] for n in TIMES]
  cells = [f"{ratio:.2f}" for ratio in ratios]
  return "\n".join([*lines, "| empty / warm | " + " | ".join(cells) + " |"])


if __name__ == "__main__":
  app.run(main)
