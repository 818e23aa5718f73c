"""What a run tells its user: lines, progress, tables, TensorBoard events."""

import math
import pathlib
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from absl import logging

from blt_jax.data.lazy_tensorflow import tensorflow
from blt_jax.data.text import printable
from blt_jax.method.metrics import GROUPS
from blt_jax.system import processes

# Classes in a table, those at either end of a longer one, letters of a name.
_LISTED_CLASSES, _LISTED_ENDS, _NAME_WIDTH = 20, 5, 30

# How often progress is printed where no terminal redraws the line, seconds.
_LOG_INTERVAL = 30.0


def say(text: str) -> None:
  """Prints a line at once, if this is the first process."""
  if processes.is_first():
    print(text, flush=True)


def progress(
  steps: Iterable,
  title: str,
  *,
  total: int,
  initial: int = 0,
  unit: str = "step",
) -> Iterator:
  """Passes steps on while showing how many are done and the time left.

  Args:
    steps: what to iterate over.
    title: stands in front of the bar.
    total: number of steps.
    initial: how many of them are done.
    unit: what a step is called.

  Returns:
    Iterator over `steps`.
  """
  terminal = sys.stderr.isatty()
  interval = 0.2 if terminal else _LOG_INTERVAL
  return iter(
    tqdm.tqdm(
      steps,
      desc=title,
      total=total,
      initial=initial,
      unit=unit,
      leave=False,
      delay=0 if terminal else interval,
      mininterval=interval,
      miniters=1,
      disable=not processes.is_first(),
      dynamic_ncols=True,
    )
  )


class Clock:
  """Estimates the time left of a run from the epochs that it made."""

  def __init__(self, images_left: int):
    """Starts the clock with so many training images to go."""
    self._left = images_left
    self._seen = 0
    self._start = time.monotonic()

  def after(self, images: int) -> str:
    """Counts images as trained on; returns the time left as h:mm:ss or "-"."""
    self._seen += images
    self._left -= images
    if not self._seen:  # It went on with a validation.
      return "-"
    seconds = (time.monotonic() - self._start) * self._left / self._seen
    return duration(seconds)


def duration(seconds: float) -> str:
  """Seconds as h:mm:ss."""
  whole = round(seconds)
  return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def epoch_line(row: Mapping[str, Any], *, epochs: int, left: str) -> str:
  """One finished epoch in one line.

  Args:
    row: the epoch's row of metrics.csv.
    epochs: epochs of the stage.
    left: time left of the run.
  """
  validation = accuracies({group: row[f"val_{group}"] for group in GROUPS})
  line = (
    f"stage {row['stage']} epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  "
    f"loss {row['loss']:.3f}  val {validation}  "
    f"{row['images_per_second']:.0f} images/s"
  )
  if row["hallucinated_share"] > 0:
    line += f"  hallucinated {100 * row['hallucinated_share']:.1f} %"
    if row["mean_updates"] > 0 or row["reached_share"] > 0:
      line += (
        f" ({row['mean_updates']:.1f} updates, "
        f"{100 * row['reached_share']:.0f} % reached)"
      )
  return f"{line}  left {left}"


def accuracies(values: Mapping[str, float]) -> str:
  """Accuracies by shot group in a line: overall 43.1 many 45.0 ..."""
  return " ".join(f"{group} {_percent(values[group])}" for group in GROUPS)


def dataset_lines(
  name: str,
  class_counts,
  groups: Mapping[str, Any],
  *,
  validation: int,
  test: int,
) -> str:
  """What a data set holds: images a split, classes a shot group."""
  sizes = ", ".join(
    f"{group} {int(mask.sum())}" for group, mask in groups.items()
  )
  return (
    f"{name}: {int(class_counts.sum())} training images in "
    f"{len(class_counts)} classes, {int(class_counts.max())} ... "
    f"{int(class_counts.min())} a class ({sizes}); {validation} validation and "
    f"{test} test images"
  )


def class_table(
  class_names: Sequence[str],
  counts: Mapping[str, np.ndarray],
  groups: Mapping[str, np.ndarray],
) -> str:
  """The classes by size: all of up to 20, else the 5 largest and 5 smallest.

  Args:
    class_names: [C].
    counts: images of each class, int [C], by the name of the split, "training"
      first.
    groups: shot group -> bool [C].
  """
  order = np.argsort(-counts["training"], kind="stable").tolist()
  left_out = len(order) - 2 * _LISTED_ENDS
  shown = order
  if len(order) > _LISTED_CLASSES:
    shown = order[:_LISTED_ENDS] + order[-_LISTED_ENDS:]
  names = {c: _shortened(printable(class_names[c])) for c in shown}
  width = max(len("class"), *map(_columns, names.values()))
  lines = [f"{'class':<{width}}" + "".join(f"{part:>12}" for part in counts)]
  lines[0] += "  group"
  for place, c in enumerate(shown):
    if len(shown) < len(order) and place == _LISTED_ENDS:
      lines.append(f"... {left_out} classes between these ...")
    (group,) = (group for group, mask in groups.items() if mask[c])
    images = "".join(f"{int(n[c]):>12}" for n in counts.values())
    padding = " " * (width - _columns(names[c]))
    lines.append(f"{names[c]}{padding}{images}  {group}")
  return "\n".join(lines)


def _columns(text: str) -> int:
  """How many columns of a terminal a text takes: Chinese letters two each."""
  return sum(
    2 if unicodedata.east_asian_width(letter) in "WF" else 1
    for letter in unicodedata.normalize("NFC", text)
  )


def _shortened(name: str) -> str:
  """A name that fits into a line."""
  if len(name) <= _NAME_WIDTH:
    return name
  return f"{name[: _NAME_WIDTH - 3]}..."


def results_table(results: Mapping[str, Any]) -> str:
  """The final table: top-1 by shot group of the best and the last epoch."""
  lines = [
    f"{results['method']} on {results['dataset']}, seed {results['seed']}: "
    "top-1 in percent, mean of per-class accuracies",
    f"{'':>28}" + "".join(f"{group:>9}" for group in GROUPS),
  ]
  for which in ("best", "last"):
    for split in ("validation", "test"):
      name = f"{which} epoch ({results[which]['epoch']}) {split}"
      values = (results[which][split][group] for group in GROUPS)
      lines.append(f"{name:>28}" + "".join(f"{_percent(v):>9}" for v in values))
  return "\n".join(lines)


class Events:
  """TensorBoard events of a run; left out, and said so, without TensorFlow.

  What a process that ended at any moment has written is not written again.
  """

  def __init__(self, workdir: pathlib.Path):
    """Opens an event file in the work directory."""
    self._writer = None
    self._there: set[tuple[int, str]] = set()
    if not processes.is_first():
      return
    try:
      tensorflow()  # Hides the GPUs from it, before clu imports it.
      from clu import metric_writers
    except ImportError:
      say("no TensorBoard events: they need TensorFlow, clu and tensorboard")
      return
    logging.set_verbosity(logging.WARNING)
    for path in workdir.glob("events.out.tfevents.*"):
      self._there |= _scalars_in(path)
    self._writer = metric_writers.SummaryWriter(str(workdir))

  def __enter__(self) -> "Events":
    return self

  def __exit__(self, *exception) -> None:
    if self._writer:
      self._writer.close()

  def write(self, row: Mapping[str, Any]) -> None:
    """Writes the numbers of an epoch's row at its step, each one once."""
    if not self._writer:
      return
    step = row["step"]
    scalars = {
      name: value
      for name, value in row.items()
      if name not in ("stage", "epoch", "step")
      and math.isfinite(value)
      and (step, name) not in self._there
    }
    if scalars:
      self._writer.write_scalars(step, scalars)
      self._writer.flush()


def _scalars_in(path: pathlib.Path) -> set[tuple[int, str]]:
  """(step, name) of every value in an event file, up to where it is damaged."""
  from tensorboard.backend.event_processing import event_file_loader

  loader = event_file_loader.EventFileLoader(str(path))
  return {
    (event.step, value.tag)
    for event in loader.Load()
    for value in event.summary.value
  }


def _percent(value: float | None) -> str:
  if value is None or not math.isfinite(value):
    return "-"
  return f"{value:.1f}"
