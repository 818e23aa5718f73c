"""Whether a long run stays as it is: memory, open files, threads, step time.

    .venv/bin/python -m benchmarks.soak --epochs=500 --output=DIR

trains the digits with main.py, validation and checkpoints as always, and looks
at the process from outside each second: resident memory, open files and threads
(Linux's /proc). Straight lines through what it saw after a warm-up say how much
each of them grows in an epoch. It prints them as a table and writes
DIR/soak.csv and DIR/soak.png; DIR/run is the run. The exit code is 1 when
memory, files or threads grow.

Python collects all its garbage for the first time after some 130 epochs of two
stages, which gives memory back; the warm-up is longer than that.
"""

import argparse
import csv
import dataclasses
import math
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# Epochs of stage 1; the rest is stage 2, which has more to do.
_STAGE1 = 35

# Growth of memory beyond its standard error that is a leak, kB an epoch. What
# TensorStore 0.1.86 leaves behind at each save stays below: Orbax asks it for
# every array's specification, and `KvStore.Spec.to_json` keeps its texts.
_MOST_MEMORY = 100.0

# Growth of counts over the fitted epochs, beyond two standard errors.
_MOST_COUNT = 1.0

COUNTS = ("open files", "threads")
UNITS = {
  "memory": "kB",
  "open files": "1",
  "threads": "1",
  "steps of an epoch": "s",
  "epoch": "s",
}

Series = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Line:
  """A straight line through points.

  Attributes:
    mean: of the values.
    slope: growth an epoch.
    error: standard error of the slope.
    epochs: from the first point to the last one.
  """

  mean: float
  slope: float
  error: float
  epochs: float


def fit(epochs: np.ndarray, values: np.ndarray) -> Line:
  """The line of least squares.

  Args:
    epochs: [n], n > 2, not all the same.
    values: [n].
  """
  centred = epochs - epochs.mean()
  spread = centred @ centred
  slope = centred @ values / spread
  residuals = values - values.mean() - slope * centred
  error = math.sqrt(residuals @ residuals / (len(epochs) - 2) / spread)
  return Line(float(values.mean()), float(slope), error, float(np.ptp(epochs)))


def growing(lines: Mapping[str, Line]) -> list[str]:
  """What grows, of memory and the counts, in words."""
  found = []
  memory = lines["memory"]
  if memory.slope - memory.error > _MOST_MEMORY:
    found.append(
      f"memory grows by {memory.slope:.1f} kB an epoch, more than "
      f"{_MOST_MEMORY:g}"
    )
  for name in COUNTS:
    line = lines[name]
    growth = (line.slope - 2 * line.error) * line.epochs
    if growth > _MOST_COUNT:
      found.append(
        f"{name}: {growth:.1f} more at the end, allowed {_MOST_COUNT:g}"
      )
  return found


def table(lines: Mapping[str, Line]) -> str:
  """The lines as a table."""
  rows = [
    "| | mean | slope an epoch | standard error | over the fit, % |",
    "|---|---|---|---|---|",
  ]
  for name, line in lines.items():
    share = 100 * line.slope * line.epochs / line.mean
    rows.append(
      f"| {name}, {UNITS[name]} | {line.mean:.6g} | {line.slope:+.3g} | "
      f"{line.error:.2g} | {share:+.2f} |"
    )
  return "\n".join(rows)


def after_warmup(series: Series, warmup: int) -> dict[str, Line]:
  """The line of each series, from epoch `warmup` on."""
  return {
    name: fit(epochs[epochs >= warmup], values[epochs >= warmup])
    for name, (epochs, values) in series.items()
  }


def sample(process: subprocess.Popen) -> Iterator[tuple[float, ...]]:
  """(time, memory in kB, open files, threads) each second, until it ends."""
  folder = pathlib.Path(f"/proc/{process.pid}")
  while process.poll() is None:
    try:
      status = dict(
        line.split(":", 1)
        for line in (folder / "status").read_text().splitlines()
      )
      opened = len(list((folder / "fd").iterdir()))
    except OSError:  # It has just ended.
      break
    if "VmRSS" in status:  # Not that of a process that is ending.
      memory = float(status["VmRSS"].split()[0])
      yield time.time(), memory, float(opened), float(status["Threads"])
    time.sleep(1)


def series_of(workdir: pathlib.Path, samples: Sequence[tuple]) -> Series:
  """(epochs, values) by name: of the samples, and of each epoch's seconds.

  When an epoch's validation ended is the time of its confusion matrix.
  """
  files = sorted((workdir / "confusion").glob("stage*.npz"))
  ends = np.array([path.stat().st_mtime for path in files])
  points = np.array(samples)
  # Before the first epoch, and after the last one, the run does other things.
  inside = (points[:, 0] >= ends[0]) & (points[:, 0] <= ends[-1])
  times, *columns = points[inside].T
  at = np.interp(times, ends, np.arange(1.0, len(ends) + 1))
  series = {
    name: (at, column)
    for name, column in zip(("memory", *COUNTS), columns, strict=True)
  }
  with (workdir / "metrics.csv").open() as file:
    seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
  numbers = np.arange(1.0, len(ends) + 1)
  series["steps of an epoch"] = (numbers, np.array(seconds))
  series["epoch"] = (numbers[1:], np.diff(ends))
  return series


def write(folder: pathlib.Path, series: Series, lines: Mapping[str, Line]):
  """Writes soak.csv, a point a row, and soak.png."""
  with (folder / "soak.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("quantity", "unit", "epoch", "value"))
    for name, (epochs, values) in series.items():
      for epoch, value in zip(epochs, values, strict=True):
        writer.writerow((name, UNITS[name], f"{epoch:.2f}", f"{value:.6g}"))
  _draw(folder / "soak.png", series, lines)


def _draw(path: pathlib.Path, series: Series, lines: Mapping[str, Line]):
  # Imported here: nothing else needs it.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 2 * len(series)), layout="constrained")
  FigureCanvasAgg(figure)
  panels = figure.subplots(len(series), sharex=True)
  for panel, (name, (epochs, values)) in zip(
    panels, series.items(), strict=True
  ):
    line, unit = lines[name], UNITS[name]
    panel.plot(epochs, values, ".", markersize=3, color="0.6")
    ends = np.array([epochs[-1] - line.epochs, epochs[-1]])
    heights = line.mean + line.slope * (ends - ends.mean())
    panel.plot(ends, heights, color="tab:blue")
    panel.set_ylabel(name if unit == "1" else f"{name}, {unit}")
    panel.set_title(
      f"{line.slope:+.3g} ± {line.error:.2g} an epoch", loc="right", fontsize=9
    )
    # Compiling takes much longer than all that comes after it.
    low, high = values[epochs >= ends[0]].min(), values[epochs >= ends[0]].max()
    room = 0.2 * (high - low) or 1.0
    panel.set_ylim(low - room, high + room)
  panels[-1].set_xlabel("epoch, of both stages")
  figure.savefig(path, dpi=100)


def main() -> int:
  """Trains, looks on and reports; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--epochs", type=int, default=500, help="of both stages")
  parser.add_argument("--warmup", type=int, default=150, help="epochs left out")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  options = parser.parse_args()
  if options.epochs < max(options.warmup, _STAGE1) + 10:
    parser.error(f"--epochs: expected 10 more than --warmup and {_STAGE1}")
  workdir = options.output / "run"
  if workdir.exists():
    parser.error(f"--output: {workdir} exists; expected a new run")
  options.output.mkdir(parents=True, exist_ok=True)
  command = [
    *(sys.executable, "main.py", "--config=configs/digits_lt.py"),
    f"--config.stage1.epochs={_STAGE1}",
    f"--config.stage2.epochs={options.epochs - _STAGE1}",
    f"--workdir={workdir}",
  ]
  start = time.monotonic()
  process = subprocess.Popen(command)
  try:
    samples = list(sample(process))
  finally:
    process.terminate()
    process.wait()
  if process.returncode:
    print(f"the run ended with {process.returncode}", file=sys.stderr)
    return 1
  series = series_of(workdir, samples)
  lines = after_warmup(series, options.warmup)
  write(options.output, series, lines)
  print(
    f"{options.epochs} epochs in {time.monotonic() - start:.0f} s, "
    f"{len(samples)} samples; lines from epoch {options.warmup} on"
  )
  print(table(lines))
  problems = growing(lines)
  for problem in problems:
    print(problem)
  return 1 if problems else 0


if __name__ == "__main__":
  sys.exit(main())
