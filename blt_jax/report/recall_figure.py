"""Recall of every class against its training images."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, NullLocator

from blt_jax.data.text import columns
from blt_jax.report import chart, measures, style
from blt_jax.report.chart import Chart
from blt_jax.report.record import TESTED, RunRecord

_ALL_NAMED = 12  # Up to so many classes, every one is named.
_OUTLIERS = 6  # Most classes of more that are named.
_LINE_FROM = 30  # More classes than this have a line of neighbours' means.

# Inches of the plot, of a letter and beside a dot, about, to place names.
_PLOT, _LETTER, _TEXT_HEIGHT, _GAP = (3.7, 2.3), 0.079, 0.14, 0.06


def class_accuracies(run: RunRecord) -> Chart | None:
  """Recall on test images at the best epoch, training images on a log axis.

  A class is a dot; up to 16 at the same place share one with their area. Many
  classes have a line through the means of neighbouring ones.
  """
  recalls = run.class_accuracies(TESTED)
  if recalls is None or not len(run.class_counts):
    return None
  title = "Recall of each class by its training images, %"
  figure, axes = chart.new_chart(title, height=3.2)
  sizes = np.maximum(run.class_counts, 0.5)  # 0 has no place on a log axis.
  _size_axis(axes, sizes)
  for group in measures.SHOT_GROUPS:
    chosen = run.groups[group] & ~np.isnan(recalls)
    _dots(axes, sizes[chosen], recalls[chosen], group, total=len(recalls))
  chart.percent_axis(axes)
  axes.set_ylim(-3, 103)
  expected = _means_of_neighbours(axes, sizes, recalls)
  _name_groups(axes, run)
  _name_classes(axes, run, recalls, expected)
  return Chart(figure, title, _description(run, recalls))


def _description(run: RunRecord, recalls: np.ndarray) -> str:
  means = ", ".join(
    f"{group} {np.nanmean(recalls[mask]):.1f}"
    for group, mask in run.groups.items()
    if not np.isnan(recalls[mask]).all()
  )
  unknown = int(np.isnan(recalls).sum())
  unit = "class has" if unknown == 1 else "classes have"
  lacking = f" {unknown} {unit} no test images." if unknown else ""
  return f"Means of the groups in percent: {means}.{lacking}"


def _dots(
  axes: Axes, sizes: np.ndarray, recalls: np.ndarray, group: str, *, total: int
) -> None:
  """Draws a group's classes; those at the same place as one larger dot."""
  places, number = np.unique(
    np.stack([sizes, np.round(recalls, 1)]), axis=1, return_counts=True
  )
  width = 5.0 if total <= 60 else 3.8 if total <= 300 else 2.8  # Points.
  alike = np.minimum(number, 16)
  for many in np.unique(alike):
    # Thousands of dots as one line of pieces without a length, whose round ends
    # are the dots: a small part of the letters that as many circles need.
    ends = np.repeat(places[:, alike == many].T, 2, axis=0)
    ends[1::2] *= 1 + 1e-6  # Matplotlib draws no piece of length 0.
    path = Path(ends, [Path.MOVETO, Path.LINETO] * (len(ends) // 2))
    path.should_simplify = False
    dots = PathPatch(
      path,
      fill=False,
      edgecolor=style.GROUP_STYLE[group]["color"],
      linewidth=width * np.sqrt(many),
      capstyle="round",
      snap=False,  # Else both ends of a piece may become one, too.
      alpha=1.0 if total <= 60 else 0.6,
      label=group,
      clip_on=False,
    )
    axes.add_patch(dots)


def _size_axis(axes: Axes, sizes: np.ndarray) -> None:
  """Training images on a log scale, with round numbers."""
  low, high = float(sizes.min()), float(sizes.max())
  margin = max(high / low, 2.0) ** 0.05
  axes.set_xscale("log")
  axes.set_xlim(low / margin, high * margin)
  steps = (1,) if high > 100 * low else (1, 2, 5)
  ticks = [s * 10**power for power in range(8) for s in steps]
  inside = [t for t in ticks if low / margin <= t <= high * margin]
  if not inside:
    inside = [round(high)]
  zero = [0.5] if low < 1 else []
  axes.xaxis.set_major_locator(FixedLocator([*zero, *inside]))
  axes.xaxis.set_minor_locator(NullLocator())
  axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else "0")
  axes.set_xlabel("training images", loc="right", fontsize=9, color=style.SOFT)


def _means_of_neighbours(
  axes: Axes, sizes: np.ndarray, recalls: np.ndarray
) -> np.ndarray:
  """What recall a class of each size has, float [C]; drawn for many classes."""
  order = measures.by_size(sizes)[::-1]
  bins = measures.binned(recalls[order], max(1, min(15, len(order) // 8)))
  parts = np.split(np.log(sizes[order]), bins.edges[1:-1].astype(int))
  places = np.exp([part.mean() for part in parts])
  known = ~np.isnan(bins.mean)
  if not known.any():
    return np.full(len(sizes), np.nan)
  if len(order) > _LINE_FROM:
    axes.plot(
      places[known],
      bins.mean[known],
      color=style.INK,
      linewidth=1.6,
      label="mean of neighbours",
    )
  return np.interp(np.log(sizes), np.log(places[known]), bins.mean[known])


def _name_groups(axes: Axes, run: RunRecord) -> None:
  """Lines at the limits of the groups, and their names above."""
  low, high = np.log(axes.get_xlim())
  limits = (run.config.dataset.few_up_to, run.config.dataset.many_above)
  for limit in limits:
    if low < np.log(max(limit, 1) + 0.5) < high:
      axes.axvline(limit + 0.5, color=style.SOFT, linewidth=0.8, linestyle=":")
  bounds = np.clip(
    (np.log(np.maximum(limits, 1) + 0.5) - low) / (high - low), 0, 1
  )
  edges = [0.0, *bounds.tolist(), 1.0]
  names = [
    (
      (edges[place] + edges[place + 1]) / 2,
      f"{group} · {run.groups[group].sum():,}",
      style.GROUP_STYLE[group]["color"],
    )
    for place, group in enumerate(("few", "medium", "many"))
    if run.groups[group].any()
  ]
  chart.names_above(axes, names, plot=_PLOT[0])


def _name_classes(
  axes: Axes, run: RunRecord, recalls: np.ndarray, expected: np.ndarray
) -> None:
  """Names beside the dots of few classes, or of outliers, where they fit."""
  known = np.flatnonzero(~np.isnan(recalls))
  away = np.abs(recalls - expected)
  chosen = known[np.argsort(-away[known], kind="stable")]
  if len(known) > _ALL_NAMED:
    spread = float(np.sqrt(np.mean(away[known] ** 2)))
    chosen = chosen[away[chosen] > 2 * spread][:_OUTLIERS]
  low, high = np.log(axes.get_xlim())
  across = (np.log(np.maximum(run.class_counts, 0.5)) - low) / (high - low)
  dots = np.stack([across, recalls / 106 + 3 / 106], axis=1) * _PLOT
  names = style.short_names([run.class_names[c] for c in chosen], 18)
  boxes: list[np.ndarray] = []
  for c, name in zip(chosen, names, strict=True):
    others = np.delete(dots, c, axis=0)
    for side, box in _boxes(dots[c], columns(name) * _LETTER):
      if _is_free(box, others, boxes):
        boxes.append(box)
        _write(axes, name, (run.class_counts[c], recalls[c]), side)
        break


def _boxes(
  dot: np.ndarray, width: float
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
  """Where a name may stand beside, above and below a dot.

  Yields:
    (direction from the dot: -1, 0 or 1 in x and y; left, bottom, right and top
    in inches).
  """
  size = np.array([width, _TEXT_HEIGHT])
  for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
    middle = dot + np.array(direction) * (size / 2 + _GAP)
    yield direction, np.concatenate([middle - size / 2, middle + size / 2])


def _is_free(
  box: np.ndarray, dots: np.ndarray, boxes: Sequence[np.ndarray]
) -> bool:
  """Whether a name is inside the plot and hides no dot and no other name."""
  left, bottom, right, top = box
  if (
    left < -0.05 or right > _PLOT[0] or bottom < -0.05 or top > _PLOT[1] + 0.05
  ):
    return False
  inside = (dots > box[:2] - 0.03).all(axis=1)
  if np.any(inside & (dots < box[2:] + 0.03).all(axis=1)):
    return False
  return not any(
    left < b[2] and b[0] < right and bottom < b[3] and b[1] < top for b in boxes
  )


def _write(
  axes: Axes,
  name: str,
  dot: tuple[float, float],
  direction: tuple[int, int],
) -> None:
  x, y = direction
  axes.annotate(
    name,
    (max(dot[0], 0.5), dot[1]),
    xytext=(72 * _GAP * x, 72 * _GAP * y),
    textcoords="offset points",
    ha=("center", "left", "right")[x],
    va=("center", "bottom", "top")[y],
    fontsize=9,
    color=style.INK,
  )
