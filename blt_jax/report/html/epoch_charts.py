"""Charts over the epochs: accuracy, hallucination and time."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from blt_jax.method.metrics import GROUPS
from blt_jax.report import facts
from blt_jax.report.html import svg
from blt_jax.report.html.markup import Markup
from blt_jax.report.record import RunRecord
from blt_jax.workdir.progress import EpochRow

# Marks of the groups, as in style.GROUP_STYLE.
_SHAPES = {
  "overall": "circle",
  "many": "square",
  "medium": "triangle",
  "few": "diamond",
}
# With more epochs than this their points are not marked.
_MOST_MARKS = 30


@dataclasses.dataclass(frozen=True)
class Epochs:
  """Where epochs stand on an axis: one after the other, over the stages.

  Attributes:
    axis: from 0 to the number of epochs.
    places: float64 [rows], the middle of each epoch.
    starts: positions of each stage's first epoch.
  """

  axis: svg.Axis
  places: np.ndarray
  starts: list[int]


def epochs_of(rows: Sequence[EpochRow], *, width: int) -> Epochs:
  """The axis of a run's epochs, for a chart of so many pixels.

  Args:
    rows: of metrics.csv, at least one.
    width: of the chart.
  """
  starts = facts.stage_starts(rows)
  step = _tick_step(len(rows), wanted=width // 34)
  ticks: list[tuple[float, str]] = []
  for start, end in itertools.pairwise([*starts, len(rows)]):
    for i in range(start, end):
      epoch = rows[i].epoch
      if i == start or (epoch % step == 0 and end - i >= 0.7 * step):
        ticks.append((i + 0.5, str(epoch)))
  axis = svg.Axis(0.0, float(len(rows)), ticks, "epoch")
  return Epochs(axis, np.arange(len(rows)) + 0.5, starts)


def _tick_step(epochs: int, *, wanted: int) -> int:
  """Epochs from one label to the next: 1, 2, 5, 10, 20 or more of them."""
  for power in itertools.count():
    for factor in (1, 2, 5):
      step = factor * 10**power
      if epochs / step <= wanted:
        return step
  raise AssertionError


def mark_stages(plot: svg.Plot, rows: Sequence[EpochRow]) -> None:
  """Lines where a stage begins, with their names at the top."""
  starts = facts.stage_starts(rows)
  for start in starts:
    if start:
      plot.vertical(start, class_="boundary")
    plot.text(
      f"stage {rows[start].stage}",
      plot.at_x(start) + 5,
      plot.top - 8,
      anchor="start",
      class_="note",
    )


def accuracy_over_epochs(run: RunRecord, width: int) -> Markup:
  """Validation accuracy of every group after each epoch of both stages."""
  epochs = epochs_of(run.rows, width=width)
  plot = svg.Plot(
    epochs.axis,
    svg.percent_axis("validation top-1, %", _accuracies([run], GROUPS)),
    width=width,
    height=340 if width == svg.WIDE else 300,
    right=98,
  )
  mark_stages(plot, run.rows)
  ends = []
  for group in GROUPS[::-1]:
    values = facts.column(run.rows, f"val_{group}")
    _line_by_stage(plot, epochs, values, group)
    if not np.isnan(values).all():
      last = values[~np.isnan(values)][-1]
      ends.append((last, f"{group} {last:.1f}", group))
  best = facts.best_row(run)
  if best is not None:
    place = [row is best for row in run.rows].index(True) + 0.5
    plot.vertical(place, class_="best")
    plot.text("best", plot.at_x(place), plot.bottom - 6, class_="note halo")
  plot.end_labels(ends)
  summary = ", ".join(label for _, label, _ in ends[::-1])
  return plot.render(
    "Accuracy by group over epochs",
    f"Validation top-1 after {len(run.rows)} epochs in percent: {summary}.",
  )


def _accuracies(runs: Sequence[RunRecord], groups: Sequence[str]) -> np.ndarray:
  """All that a chart of accuracies shows."""
  return np.concatenate(
    [facts.column(run.rows, f"val_{g}") for run in runs for g in groups]
  )


def _line_by_stage(
  plot: svg.Plot, epochs: Epochs, values: np.ndarray, group: str
) -> None:
  """A line that stops where a stage ends, with marks if they are few."""
  for start, end in itertools.pairwise([*epochs.starts, len(values)]):
    part = slice(start, end)
    plot.line(epochs.places[part], values[part], class_=group)
  if len(values) <= _MOST_MARKS:
    plot.marks(epochs.places, values, shape=_SHAPES[group], class_=group)


def group_of_runs(
  runs: Sequence[RunRecord], group: str, labels: Sequence[str]
) -> Markup:
  """Validation accuracy of one group over epochs, a line a run."""
  longest = max(runs, key=lambda run: len(run.rows))
  epochs = epochs_of(longest.rows, width=svg.PANEL)
  plot = svg.Plot(
    epochs.axis,
    svg.percent_axis(
      f"{group}: validation top-1, %", _accuracies(runs, [group])
    ),
    width=svg.PANEL,
    height=260,
    right=24,
  )
  mark_stages(plot, longest.rows)
  ends = []
  for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
    values = facts.column(run.rows, f"val_{group}")
    places = np.arange(len(values)) + 0.5
    bounds = [*facts.stage_starts(run.rows), len(values)]
    for start, end in itertools.pairwise(bounds):
      part = slice(start, end)
      plot.line(places[part], values[part], class_=svg.run_class(i))
    if len(values) <= _MOST_MARKS:
      shape = svg.RUN_SHAPES[i % len(svg.RUN_SHAPES)]
      plot.marks(places, values, shape=shape, class_=svg.run_class(i))
    known = values[~np.isnan(values)]
    if len(known):
      ends.append((known[-1], label, svg.run_class(i)))
  plot.end_labels(ends)
  summary = ", ".join(f"{label} {value:.1f}" for value, label, _ in ends)
  return plot.render(
    f"Accuracy of {group} over epochs, run by run",
    f"Validation top-1 in the end, percent: {summary or 'no such classes'}.",
  )


def hallucinated_images(run: RunRecord, width: int) -> Markup:
  """Images hallucinated in each epoch."""
  epochs, values = epochs_of(run.rows, width=width), facts.hallucinated(run)
  axis = svg.count_axis(float(np.nanmax(values)), "images hallucinated")
  plot = svg.Plot(epochs.axis, axis, width=width, height=240)
  mark_stages(plot, run.rows)
  for place, value, row in zip(epochs.places, values, run.rows, strict=True):
    title = f"epoch {row.epoch}: {value:.0f} images"
    plot.bar(place, 0, value, class_="few", title=title)
  return plot.render(
    "Images hallucinated in each epoch",
    f"{np.nansum(values):.0f} in all, at most {np.nanmax(values):.0f} in one.",
  )


def updates(run: RunRecord, width: int) -> Markup:
  """Mean number of updates of an image, and how many reached their goal."""
  epochs, made = epochs_of(run.rows, width=width), facts.hallucinated(run) > 0
  most = max(run.config.perturb.max_steps, 1)
  values = np.where(made, facts.column(run.rows, "mean_updates"), math.nan)
  reached = np.where(made, facts.column(run.rows, "reached_share"), math.nan)
  axis = svg.count_axis(float(most), "updates an image", wanted=5)
  plot = svg.Plot(epochs.axis, axis, width=width, height=240, right=94)
  mark_stages(plot, run.rows)
  plot.horizontal(most, class_="limit")
  plot.line(epochs.places, values, class_="few solid")
  plot.line(epochs.places, reached * axis.high, class_="overall dashed")
  ends = []
  if made.any():
    last = np.flatnonzero(made)[-1]
    ends = [
      (values[last], f"{values[last]:.1f}", "few"),
      (
        reached[last] * axis.high,
        f"{100 * reached[last]:.0f} % reached",
        "overall",
      ),
    ]
  below = plot.at_y(most) + 14
  plot.text("limit", plot.right, below, anchor="end", class_="note halo")
  plot.end_labels(ends)
  mean = np.nanmean(values) if made.any() else 0.0
  return plot.render(
    "Updates of a hallucinated image, and the share that reached its goal",
    f"{mean:.1f} updates an image on average over the epochs.",
  )


def time_of_epochs(run: RunRecord, width: int) -> Markup:
  """Seconds of every epoch, by what they were spent on."""
  epochs, parts = epochs_of(run.rows, width=width), facts.times(run)
  known = {name: np.nan_to_num(values) for name, values in parts.items()}
  total = np.sum(list(known.values()), axis=0)
  limit = _time_limit(total, epochs.starts)
  axis = svg.count_axis(limit, "seconds")
  plot = svg.Plot(epochs.axis, axis, width=width, height=240)
  mark_stages(plot, run.rows)
  below = np.zeros(len(total))
  for name, values in known.items():
    for place, low, value in zip(epochs.places, below, values, strict=True):
      title = f"{name}: {value:.2f} s"
      ends = np.minimum([low, low + value], axis.high)
      plot.bar(place, *ends, class_=f"time-{name}", title=title)
    below = below + values
  for place, value in zip(epochs.places, total, strict=True):
    if value > axis.high:
      above = plot.top - 8
      text = f"↑ {value:.0f} s"
      plot.text(
        text, plot.at_x(place) + 46, above, class_="note", anchor="start"
      )
  return plot.render(
    "Seconds of each epoch",
    ", ".join(f"{n} {values.sum():.1f} s" for n, values in known.items()) + ".",
  )


def _time_limit(total: np.ndarray, starts: Sequence[int]) -> float:
  """Where the axis of seconds may end.

  Epochs that begin a stage compile programs: they are cut off where they would
  hide the others.
  """
  others = np.delete(total, starts)
  if len(others) and total.max() > 3 * others.max():
    return 1.5 * float(others.max())
  return float(total.max())
