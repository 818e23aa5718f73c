"""Charts over the classes in the order of their sizes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from blt_jax.data.text import columns
from blt_jax.report import chart, measures, style
from blt_jax.report.chart import MOST_BARS, Chart
from blt_jax.report.measures import SHOT_GROUPS
from blt_jax.report.record import TESTED, RunRecord
from blt_jax.workdir.records import Confusion

_NAMED = 12  # Most classes whose names stand at an axis.
_CELLS = 200  # Most cells a side of a confusion matrix that eyes tell apart.
_BINS = 60  # Parts of the classes where there are too many for a bar each.

# Ink that gets denser: the page turns it into light on dark.
_DENSITY = LinearSegmentedColormap.from_list(
  "density", [(*to_rgb(style.INK), a) for a in (0, 1)]
)


def class_counts(run: RunRecord) -> Chart | None:
  """Training images of each class on a log scale, the largest first."""
  if not len(run.class_counts):
    return None
  counts = np.sort(run.class_counts)[::-1]
  title = "Training images of each class"
  figure, axes = chart.new_chart(title)
  axes.set_yscale("log")
  largest = max(int(counts[0]), 2)
  for group, first, last in _extents(run):
    _group_bars(axes, group, counts[first:last], first, len(counts))
  axes.set_ylim(0.8, 1.3 * largest)
  axes.set_yticks([10**i for i in range(7) if 10**i <= 1.3 * largest])
  axes.minorticks_off()
  axes.yaxis.set_major_formatter("{x:,.0f}")
  limits = (run.config.dataset.many_above, run.config.dataset.few_up_to)
  for limit in [limit for limit in limits if 1 < limit < largest]:
    axes.axhline(limit, color=style.SOFT, linewidth=0.9, linestyle=(0, (5, 4)))
    chart_height = np.log(limit / 0.8) / np.log(1.3 * largest / 0.8)
    axes.annotate(
      f"{limit:,}",
      (1.0, chart_height),
      xycoords="axes fraction",
      xytext=(3, 0),
      textcoords="offset points",
      va="center",
      fontsize=9,
      color=style.SOFT,
      annotation_clip=False,
    )
  _name_classes(axes, run)
  _name_groups(axes, run)
  sizes = ", ".join(f"{g} {int(run.groups[g].sum())}" for g in SHOT_GROUPS)
  return Chart(
    figure,
    title,
    f"{len(counts)} classes of {counts[0]} to {counts[-1]} training images, "
    f"the largest first, log scale; classes of each group: {sizes}.",
  )


def accuracies_of_runs(
  runs: Sequence[RunRecord], labels: Sequence[str]
) -> Chart:
  """Recall on test images of each class in runs on the same classes.

  Each class is a mark. Many classes become a line for each run, through the
  means of neighbouring ones.
  """
  first = runs[0]
  order = measures.by_size(first.class_counts)
  title = "Recall of each class, %"
  figure, axes = chart.new_chart(title, height=3.1)
  ends, means = [], []
  for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
    accuracies = run.class_accuracies(TESTED)
    if accuracies is None:
      continue
    values, look = accuracies[order], style.series_style(i)
    places = np.arange(len(values)) + 0.5 * ((i + 0.5) / len(runs) - 0.5)
    if len(values) > MOST_BARS:
      bins = measures.binned(values, _BINS // 2)
      places, values = (bins.edges[:-1] + bins.edges[1:] - 1) / 2, bins.mean
      look["marker"] = ""
    else:
      look["linestyle"] = "none"
    axes.plot(places, values, label=label, clip_on=False, **look)
    known = values[~np.isnan(values)]
    if len(known):
      ends.append((float(known[-1]), label, look["color"]))
      means.append(f"{label} {np.nanmean(accuracies):.1f}")
  chart.percent_axis(axes)
  chart.end_labels(axes, ends)
  _name_classes(axes, first)
  _name_groups(axes, first)
  summary = ", ".join(means)
  return Chart(figure, title, f"Means over the classes in percent: {summary}.")


def confusion(run: RunRecord) -> Chart | None:
  """What test images are taken for at the best epoch, classes by size."""
  entries = run.entries(TESTED)
  if entries is None or not len(run.class_counts):
    return None
  order = measures.by_size(run.class_counts)
  shares, step = shares_by_size(entries, order)
  title = "What test images are taken for, %"
  figure, axes = chart.new_chart(title, height=4.0)
  end = len(shares) * step - 0.5
  image = axes.imshow(
    shares,
    cmap=_DENSITY,
    vmin=0,
    vmax=100,
    extent=(-0.5, end, end, -0.5),
    interpolation="none",  # Squares with sharp edges at any size.
  )
  bar = figure.colorbar(image, shrink=0.8, aspect=30, pad=0.02)
  bar.outline.set_visible(False)
  bar.ax.tick_params(length=0, labelsize=9)
  axes.grid(visible=False)
  axes.spines[:].set_visible(True)
  for group, first, last in _extents(run):
    look: Any = {"color": style.GROUP_STYLE[group]["color"], "linewidth": 1.4}
    square = [first - 0.5, last - 0.5, last - 0.5, first - 0.5, first - 0.5]
    axes.plot(square, [*square[1:], square[1]], label=group, **look)
  axes.set_ylim(len(order) - 0.5, -0.5)
  _name_classes(axes, run)
  if len(order) <= _NAMED:
    names = [name.get_text() for name in axes.get_xticklabels()]
    axes.set_yticks(axes.get_xticks(), names)
  else:
    _number_ranks(axes.yaxis, len(order))
  axes.set_xlabel("taken for")
  axes.set_ylabel("class, the largest first")
  named = len(order) <= _NAMED
  _name_groups(axes, run, lines=False, plot=2.2 if named else 3.0)
  flow = measures.group_flow(entries, run.groups)
  right = ", ".join(
    f"{group} {flow[group]['correct']:.1f}" for group, _, _ in _extents(run)
  )
  return Chart(
    figure,
    title,
    f"The share of each class's images that each class gets. Right: {right}.",
  )


def shares_by_size(
  entries: Confusion, order: np.ndarray
) -> tuple[np.ndarray, int]:
  """A confusion matrix in percent by `order`, int [C], neighbours together.

  Returns:
    (float64 [m, m], the mean over a row's classes of the share of their images
    that a column's classes get; how many classes a row stands for, which is 1
    up to 200 classes).
  """
  num_classes = len(order)
  step = -(-num_classes // _CELLS)
  rank = np.argsort(order) // step
  shares = np.zeros((-(-num_classes // step),) * 2)
  totals = entries.totals()[entries.true]
  place = rank[entries.true], rank[entries.predicted]
  np.add.at(shares, place, 100 * entries.count / totals)
  return shares / np.bincount(rank)[:, None], step


def _extents(run: RunRecord) -> Iterator[tuple[str, int, int]]:
  """(group, first rank, last rank + 1) of every group that has classes."""
  first = 0
  for group in SHOT_GROUPS:
    last = first + int(run.groups[group].sum())
    if last > first:
      yield group, first, last
    first = last


def _group_bars(
  axes: Axes, group: str, values: np.ndarray, first: int, total: int
) -> None:
  chart.bars(
    axes,
    values,
    first=first,
    color=style.GROUP_STYLE[group]["color"],
    label=group,
    apart=total <= MOST_BARS,
  )


def _name_classes(axes: Axes, run: RunRecord) -> None:
  """Names along x for few classes, ranks for many."""
  order = measures.by_size(run.class_counts)
  axes.set_xlim(-0.5, len(order) - 0.5)
  label: Any = {"loc": "right", "fontsize": 9, "color": style.SOFT}
  if len(order) > _NAMED:
    _number_ranks(axes.xaxis, len(order))
    axes.set_xlabel("rank of the class by size", **label)
    return
  names = style.short_names([run.class_names[c] for c in order], 12)
  level = max(map(columns, names)) * len(names) <= 4 * _NAMED
  turned: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
  axes.set_xticks(range(len(order)), names, **({} if level else turned))
  if not level and axes.get_aspect() == "auto":
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_figheight(figure.get_figheight() + 0.5)  # For the names.
  axes.set_xlabel("class, by size", **label)


def _number_ranks(axis: Axis, number: int) -> None:
  """Ticks at ranks: 1, and round numbers."""
  step = chart.round_step(number, 5)
  ranks = [1, *range(max(step, 2), number + 1, step)]
  if len(ranks) > 2 and ranks[1] < 0.5 * step:
    del ranks[1]
  axis.set_ticks([rank - 1 for rank in ranks], [f"{r:,}" for r in ranks])


def _name_groups(
  axes: Axes, run: RunRecord, *, lines: bool = True, plot: float = 3.6
) -> None:
  """The groups' names above their classes, lines between them.

  `plot` is the width of the axes, inches.
  """
  number = len(run.class_counts)
  names = []
  for group, first, last in _extents(run):
    if first and lines:
      axes.axvline(first - 0.5, color=style.SOFT, linewidth=0.8, linestyle=":")
    color = style.GROUP_STYLE[group]["color"]
    middle = (first + last) / 2 / number
    names.append((middle, f"{group} · {last - first:,}", color))
  chart.names_above(axes, names, plot=plot)
