"""Charts over the epochs: accuracy, hallucination and time."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from blt_jax.method.metrics import GROUPS
from blt_jax.report import chart, measures, style
from blt_jax.report.chart import Chart
from blt_jax.report.record import RunRecord

_MARKED = 30  # Most epochs that are marked one by one.
_NUMBERED = 12  # Most epochs with a number each.
_TIMES = {"computing": "slate", "waiting": "orange", "validation": "pale"}


def accuracy(run: RunRecord) -> Chart | None:
  """Validation accuracy of each group over the epochs of both stages."""
  if not run.rows:
    return None
  title = "Accuracy on validation images, %"
  figure, axes = chart.new_chart(title, height=3.4, width=chart.WIDE)
  ends = []
  for group in GROUPS[::-1]:
    values = measures.column(run.rows, f"val_{group}")
    if np.isnan(values).all():
      continue  # No class is of this group.
    look = {k: v for k, v in style.GROUP_STYLE[group].items() if k != "hatch"}
    width = 2.4 if group == "few" else 1.6
    _lines(axes, run, values, label=group, linewidth=width, **look)
    last = float(values[~np.isnan(values)][-1])
    ends.append((last, f"{group} {last:.1f}", look["color"]))
  chart.percent_axis(
    axes, [v for line in axes.lines for v in np.asarray(line.get_ydata())]
  )
  _number_epochs(axes, run, most=2 * _NUMBERED)
  _mark_best(axes, run)
  chart.end_labels(axes, ends)
  summary = ", ".join(text for _, text, _ in ends)
  return Chart(
    figure, title, f"After {len(run.rows)} epochs in percent: {summary}."
  )


def accuracy_of_runs(
  runs: Sequence[RunRecord], group: str, labels: Sequence[str]
) -> Chart:
  """Validation accuracy of one group over the epochs, a line for each run."""
  title = f"{group}: validation images, %"
  figure, axes = chart.new_chart(title)
  ends = []
  for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
    values = measures.column(run.rows, f"val_{group}")
    look = style.series_style(number)
    _lines(axes, run, values, label=label, **look)
    known = values[~np.isnan(values)]
    if len(known):
      ends.append((float(known[-1]), label, look["color"]))
  chart.percent_axis(
    axes, [v for line in axes.lines for v in np.asarray(line.get_ydata())]
  )
  _number_epochs(axes, max(runs, key=lambda run: len(run.rows)))
  chart.end_labels(axes, ends)
  summary = ", ".join(f"{label} {value:.1f}" for value, label, _ in ends)
  return Chart(
    figure, title, f"In the end: {summary or 'there are no such classes'}."
  )


def hallucinated_images(run: RunRecord) -> Chart | None:
  """Images hallucinated in each epoch; None for a run without any."""
  values = measures.column(run.rows, "hallucinated")
  if not measures.hallucinates(run):
    return None
  title = "Images hallucinated"
  figure, axes = chart.new_chart(title)
  chart.bars(
    axes,
    values,
    color=style.GROUP_STYLE["few"]["color"],
    apart=len(values) <= chart.MOST_BARS,
  )
  axes.yaxis.set_major_locator(
    MaxNLocator(4, integer=True, steps=[1, 2, 5, 10])
  )
  axes.set_ylim(bottom=0)
  _number_epochs(axes, run)
  return Chart(
    figure,
    title,
    f"{np.nansum(values):.0f} in all, at most {np.nanmax(values):.0f} in one "
    "epoch.",
  )


def updates(run: RunRecord) -> Chart | None:
  """Mean number of updates of an image, and how many reached their goal."""
  if not measures.hallucinates(run):
    return None
  made = measures.column(run.rows, "hallucinated") > 0
  number, reached = (
    np.where(made, measures.column(run.rows, name), math.nan)
    for name in ("mean_updates", "reached_share")
  )
  title = "Updates of an image"
  figure, axes = chart.new_chart(title)
  most = max(run.config.perturb.max_steps, 1)
  color = style.GROUP_STYLE["few"]["color"]
  axes.axhline(most, color=style.SOFT, linewidth=1, linestyle=(0, (5, 4)))
  _lines(axes, run, number, label="updates", color=color)
  _lines(
    axes,
    run,
    reached * most,
    label="share that reached its goal",
    color=style.INK,
    linestyle=(0, (2, 2)),
    linewidth=1.2,
  )
  axes.set_ylim(0, 1.04 * most)
  axes.yaxis.set_major_locator(
    MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
  )
  _number_epochs(axes, run)
  last = np.flatnonzero(made)[-1]
  chart.end_labels(
    axes,
    [
      (float(most), f"limit {most}", style.SOFT),
      (number[last], f"{number[last]:.1f}", color),
      (reached[last] * most, f"{100 * reached[last]:.0f} % reached", style.INK),
    ],
  )
  return Chart(
    figure,
    title,
    f"{np.nanmean(number):.1f} updates on average over the epochs, of at most "
    f"{most}; in the last epoch {100 * reached[last]:.0f} % of the images "
    "reached the confidence aimed at.",
  )


def time(run: RunRecord) -> Chart | None:
  """Seconds of every epoch, by what they were spent on."""
  if not run.rows:
    return None
  title = "Seconds of an epoch"
  figure, axes = chart.new_chart(title)
  parts = {n: np.nan_to_num(v) for n, v in measures.times(run).items()}
  below = np.zeros(len(run.rows))
  for name, values in parts.items():
    chart.bars(
      axes,
      values,
      below=below,
      color=style.PALETTE[_TIMES[name]][0],
      label={"waiting": "waiting for images"}.get(name, name),
      apart=len(values) <= chart.MOST_BARS,
    )
    below = below + values
  limit = _time_limit(below, measures.stage_starts(run.rows))
  axes.set_ylim(0, 1.05 * limit)
  axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
  _number_epochs(axes, run)
  for place in np.flatnonzero(below > 1.05 * limit):
    axes.annotate(
      f"↑ {below[place]:.0f} s",
      (place + 0.55, limit),
      va="top",
      fontsize=9,
      color=style.INK,
    )
  axes.legend(
    loc="upper left",
    bbox_to_anchor=(-0.03, -0.2),
    ncols=3,
    fontsize=9,
    handlelength=1,
    columnspacing=1,
    borderpad=0,
  )
  sums = ", ".join(f"{name} {v.sum():.1f} s" for name, v in parts.items())
  return Chart(figure, title, f"All epochs: {sums}.")


def _lines(axes: Axes, run: RunRecord, values: np.ndarray, **look) -> None:
  """A line that stops where a stage ends, with marks if they are few."""
  if len(values) > _MARKED:
    look["marker"] = ""
  bounds = [*measures.stage_starts(run.rows), len(values)]
  for start, end in itertools.pairwise(bounds):
    axes.plot(np.arange(start, end), values[start:end], clip_on=False, **look)


def _number_epochs(
  axes: Axes, run: RunRecord, *, most: int = _NUMBERED
) -> None:
  """Numbers the epochs of each stage along x and tells where stages begin.

  There are about `most` numbers.
  """
  rows = run.rows
  starts = measures.stage_starts(rows)
  epochs = measures.column(rows, "epoch").astype(int)
  step = chart.round_step(len(rows), most)
  places = [
    place
    for start, end in itertools.pairwise([*starts, len(rows)])
    for place in range(start, end)
    if place == start
    or (
      epochs[place] % step == 0
      and place - start >= 0.5 * step
      and (end == len(rows) or end - place >= 0.5 * step)
    )
  ]
  axes.set_xticks(places, [str(epochs[place]) for place in places])
  axes.set_xlim(-0.5, max(len(rows), 2) - 0.5)
  axes.set_xlabel("epoch", loc="right", fontsize=9, color=style.SOFT)
  stages = measures.column(rows, "stage").astype(int)
  for start in starts:
    if start:
      axes.axvline(start - 0.5, color=style.SOFT, linewidth=0.8, linestyle=":")
    share = start / max(len(rows), 2)
    chart.note(axes, f"stage {stages[start]}", share + 0.01, align="left")


def _mark_best(axes: Axes, run: RunRecord) -> None:
  """A line at the best epoch of the last stage."""
  best = measures.best_epoch(run)
  if best is not None:
    axes.axvline(best, color=style.INK, linewidth=0.8, alpha=0.5)
    axes.annotate(
      "best",
      (best, axes.get_ylim()[0]),
      xytext=(-3, 4),
      textcoords="offset points",
      ha="right",
      fontsize=9,
      color=style.SOFT,
    )


def _time_limit(total: np.ndarray, starts: Sequence[int]) -> float:
  """Where the axis of seconds ends.

  Epochs that begin a stage compile programs; they are cut off where they would
  hide the others.
  """
  others = np.delete(total, starts)
  if len(others) and total.max() > 3 * others.max() > 0:
    return 1.5 * float(others.max())
  return float(total.max()) or 1.0
