"""Methods by shot group, with intervals, and their differences to one."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blt_jax.experiments.outcomes import Estimate
from blt_jax.method import metrics
from blt_jax.report import style

Values = Mapping[str, Mapping[str, Estimate]]
"""{method: {group: accuracy or difference}}"""


def comparison(
  accuracies: Values, differences: Values, *, simplest: str, what: str
) -> Figure:
  """Accuracies above, differences to the simplest method below.

  Args:
    accuracies: of each method on the test images, percent.
    differences: of all methods but the simplest, points; may be empty.
    simplest: the method that the others are compared with.
    what: "seed" or "fold", what a small mark stands for.
  """
  first = next(iter(accuracies.values()))
  groups = [g for g in metrics.GROUPS if not math.isnan(first[g].mean)]
  parts = [accuracies, differences] if differences else [accuracies]
  heights = [0.9 + 0.32 * len(part) for part in parts]
  figure, axes = style.new_figure(
    1.6 + 2.4 * len(groups),
    sum(heights) + 0.6,
    rows=len(parts),
    columns=len(groups),
    sharey="row",
    gridspec_kw={"height_ratios": heights},
  )
  for row, part in enumerate(parts):
    for column, group in enumerate(groups):
      each = {name: values[group] for name, values in part.items()}
      _marks(axes[row, column], each, group)
    _name_rows(axes[row, 0], list(part))
  for axis, group in zip(axes[0], groups, strict=True):
    _widen(axis, most=100.5)
    axis.set_title(group)
    axis.set_xlabel("top-1 (percent)")
  if differences:
    for axis in axes[1]:
      axis.axvline(0, color=style.INK, linewidth=0.8)
      _widen(axis)
      axis.set_xlabel(f"points above {simplest}")
  style.caption(
    figure,
    "Test images, best epoch on validation. Large marks: mean; bars: 95 % "
    f"intervals; small marks: each {what}.",
  )
  return figure


def _marks(axes: Axes, values: Mapping[str, Estimate], group: str) -> None:
  """A row a method: its interval, its mean and its seeds or folds."""
  look = style.GROUP_STYLE[group]
  for row, each in enumerate(values.values()):
    axes.plot(
      [each.low, each.high], [row, row], color=look["color"], linewidth=1.4
    )
    axes.plot(
      each.each,
      np.full(len(each.each), row + 0.25),
      color=look["color"],
      marker="|",
      markersize=5,
      linestyle="none",
    )
    axes.plot(
      each.mean, row, color=look["color"], marker=look["marker"], markersize=6
    )
  axes.grid(visible=False, axis="y")


def _widen(axes: Axes, *, most: float = math.inf) -> None:
  """Shows two points at least, and no accuracy above 100."""
  low, high = axes.get_xlim()
  missing = max(0.0, 2.0 - (high - low)) / 2
  high = min(high + missing, most)
  axes.set_xlim(min(low - missing, high - 2.0), high)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
  """The methods from top to bottom; shared by all axes of a row."""
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.4, -0.6)
