"""Charts over the classes in the order of their sizes."""

import math
from collections.abc import Sequence

import numpy as np

from blt_jax.method import metrics
from blt_jax.report import facts
from blt_jax.report.html import svg
from blt_jax.report.html.markup import Markup
from blt_jax.report.record import RunRecord

# With more classes than this they are drawn together, neighbours at a time.
MOST_BARS = 150


def class_counts(run: RunRecord, width: int) -> Markup:
  """Training images of every class on a log scale, the largest first."""
  counts = run.class_counts[facts.by_size(run.class_counts)]
  plot = _class_plot(
    run, svg.log_axis(float(counts.max()), "training images"), width
  )
  for limit in (run.config.dataset.many_above, run.config.dataset.few_up_to):
    if 1 < limit < counts.max():
      plot.horizontal(limit, class_="limit")
      plot.text(
        str(limit),
        plot.right - 2,
        plot.at_y(limit) - 4,
        anchor="end",
        class_="note halo",
      )
  names = _names_by_size(run)
  for group, first, last in _extents(run):
    if len(counts) <= MOST_BARS:
      for rank in range(first, last):
        title = f"{names[rank]}: {counts[rank]} training images ({group})"
        plot.bar(rank + 0.5, 1, counts[rank], class_=group, title=title)
    else:
      edges, levels = _steps(counts[first:last], first)
      plot.band(edges, np.ones(len(edges)), levels, class_=f"area {group}")
  _name_groups(plot, run)
  sizes = ", ".join(
    f"{group} {int(mask.sum())}" for group, mask in run.groups.items()
  )
  return plot.render(
    "Training images of each class, largest class first, log scale",
    f"{len(counts)} classes of {counts.max()} to {counts.min()} training "
    f"images; classes a group: {sizes}.",
  )


def class_accuracies(run: RunRecord, width: int, *, name: str) -> Markup:
  """Accuracy of every class in the order of the classes' sizes."""
  order = facts.by_size(run.class_counts)
  entries = run.entries(name)
  assert entries is not None
  totals = entries.totals()[order]
  values = metrics.class_accuracies(entries.correct()[order], totals)
  split = "test" if name.startswith("test") else "validation"
  bars = len(values) <= MOST_BARS
  axis = svg.percent_axis(f"{split} top-1, %", values if bars else (100.0,))
  plot = _class_plot(run, axis, width)
  names = _names_by_size(run)
  for group, first, last in _extents(run):
    if not bars:
      share = (last - first) / len(values)
      bins = facts.binned(values[first:last], max(1, round(60 * share)))
      _draw_bins(plot, bins, first, group, middle=bool(np.median(totals) >= 5))
      continue
    for rank in range(first, last):
      if math.isnan(values[rank]):
        continue
      title = f"{names[rank]} ({group}): {values[rank]:.1f} % of {totals[rank]}"
      plot.bar(rank + 0.5, 0, values[rank], class_=group, title=title)
  _name_groups(plot, run)
  means = ", ".join(
    f"{group} {np.nanmean(members):.1f}"
    for group, mask in run.groups.items()
    if (members := values[mask[order]]).size and not np.isnan(members).all()
  )
  return plot.render(
    "Accuracy of each class, largest class first",
    f"Means of the groups in percent: {means}.",
  )


def classes_of_runs(
  runs: Sequence[RunRecord], labels: Sequence[str], width: int, *, name: str
) -> Markup:
  """Accuracy of every class in runs on the same classes, side by side.

  Marks, or for many classes the mean of neighbouring ones as a line a run.
  """
  first = runs[0]
  order = facts.by_size(first.class_counts)
  axis = svg.percent_axis("test top-1, %")
  plot = _class_plot(first, axis, width, right=20)
  ends = []
  for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
    accuracies = run.class_accuracies(name)
    if accuracies is None:
      continue
    values, class_ = accuracies[order], svg.run_class(i)
    if len(values) > MOST_BARS:
      bins = facts.binned(values, 30)
      places, values = (bins.edges[:-1] + bins.edges[1:]) / 2, bins.mean
      plot.line(places, values, class_=class_)
    else:
      shift = 0.5 + 0.5 * ((i + 0.5) / len(runs) - 0.5)
      places = np.arange(len(values)) + shift
      shape = svg.RUN_SHAPES[i % len(svg.RUN_SHAPES)]
      plot.marks(places, values, shape=shape, class_=class_)
    known = values[~np.isnan(values)]
    if len(known):
      ends.append((known[-1], label, class_))
  plot.end_labels(ends)
  _name_groups(plot, first)
  means = ", ".join(
    f"{label} {np.nanmean(accuracies):.1f}"
    for run, label in zip(runs, labels, strict=True)
    if (accuracies := run.class_accuracies(name)) is not None
  )
  return plot.render(
    "Accuracy of each class, largest class first, run by run",
    f"Means over the classes in percent: {means}.",
  )


def _draw_bins(
  plot: svg.Plot, bins: facts.Bins, first: int, group: str, *, middle: bool
) -> None:
  """Neighbouring classes together: their mean and, if wanted, middle half."""
  edges = np.repeat(bins.edges + first, 2)[1:-1]
  low, high, mean = (
    np.repeat(part, 2) for part in (bins.low, bins.high, bins.mean)
  )
  for i in range(0, len(edges) if middle else 0, 2):
    part = slice(i, i + 2)
    plot.band(edges[part], low[part], high[part], class_=f"half {group}")
  plot.line(edges, mean, class_=f"{group} solid")


def _class_plot(
  run: RunRecord, y: svg.Axis, width: int, *, right: float = 0.0
) -> svg.Plot:
  """An empty plot over the classes by size."""
  number = len(run.class_counts)
  room = (width - 60) / number
  names = [_short(name) for name in _names_by_size(run)]
  if room >= 7.5 * max(len(name) for name in names) + 4:
    ticks = [(rank + 0.5, name) for rank, name in enumerate(names)]
    title = "class, by its number of training images"
  else:
    axis = svg.count_axis(number, "", wanted=6 if width == svg.WIDE else 4)
    ticks = [tick for tick in axis.ticks if tick[0] <= number]
    title = "rank of the class by its number of training images"
  if width != svg.WIDE:
    title = title.replace("its number of training images", "size")
  return svg.Plot(
    svg.Axis(0.0, float(number), ticks, title),
    y,
    width=width,
    height=250,
    right=right,
  )


def _names_by_size(run: RunRecord) -> list[str]:
  return [run.class_names[c] for c in facts.by_size(run.class_counts)]


def _short(name: str) -> str:
  return name if len(name) <= 14 else f"{name[:13]}…"


def _extents(run: RunRecord) -> list[tuple[str, int, int]]:
  """(group, first rank, last rank + 1) of every group that has classes."""
  extents, first = [], 0
  for group in facts.SHOT_GROUPS:
    members = int(run.groups[group].sum())
    if members:
      extents.append((group, first, first + members))
    first += members
  return extents


def _steps(values: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
  """A staircase: its corners only, however many classes there are."""
  change = np.flatnonzero(np.diff(values)) + 1
  edges = np.concatenate([[0], change, [len(values)]])
  levels = values[edges[:-1]]
  return np.repeat(edges, 2)[1:-1] + first, np.repeat(levels, 2)


def _name_groups(plot: svg.Plot, run: RunRecord) -> None:
  """The groups' names above their classes, lines between them."""
  extents = _extents(run)
  wide = plot.width == svg.WIDE
  for group, first, last in extents:
    if first:
      plot.vertical(first, class_="boundary")
    start, end = plot.at_x(first), plot.at_x(last)
    content = f"{group} · {last - first:,}"
    if end - start < 7 * len(content):
      content = group
    if end - start >= 6.5 * len(content) or wide:
      plot.text(content, (start + end) / 2, plot.top - 8, class_="note")
