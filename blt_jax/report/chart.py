"""What the charts of a run have in common.

A chart is as wide as a column of the page, so that its text has about the same
size on a phone, where it fills the screen, and beside another on a desk. A wide
one fills the page; on a phone it scrolls.
"""

import dataclasses
import functools
import io
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blt_jax.report import style

MOST_BARS = 100  # More values than this are drawn as one shape with steps.

WIDE = 8.8  # Inches.

_WIDTH, _FONT = 4.4, 10.0  # Inches, points.


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawing, and what it shows in words.

  Attributes:
    figure: the drawing, in the light colours.
    title: as it stands above it.
    description: what it shows in numbers, for those who do not see it.
    photos: whether its images are photos, which stay as they are in the dark.
  """

  figure: Figure
  title: str
  description: str
  photos: bool = False

  @functools.cached_property
  def svg(self) -> bytes:
    """The drawing as SVG, for a file and for the page."""
    file = io.BytesIO()
    style.write(self.figure, file, "svg")
    return file.getvalue()


def new_chart(
  title: str, *, height: float = 2.7, width: float = _WIDTH
) -> tuple[Figure, Axes]:
  """An empty chart: light horizontal lines, room for a note above the data."""
  figure, axes = style.new_figure(width, height)
  _prepare(figure, axes[:, 0], title)
  return figure, axes[0, 0]


def stacked_chart(
  title: str, *, height: float = 3.9
) -> tuple[Figure, np.ndarray]:
  """A chart and a lower one below it, over the same x: Axes [2]."""
  figure, axes = style.new_figure(
    _WIDTH, height, rows=2, sharex=True, height_ratios=[3, 1]
  )
  _prepare(figure, axes[:, 0], title)
  return figure, axes[:, 0]


def _prepare(figure: Figure, plots: Iterable[Axes], title: str) -> None:
  # Beside the names of an axis, however long, there is no room for it.
  figure.suptitle(title, x=0.01, ha="left", fontsize=_FONT, fontweight="bold")
  for plot in plots:
    plot.spines[:].set_visible(False)
    plot.tick_params(length=0, labelsize=_FONT)
    plot.grid(visible=False, axis="x")


def percent_axis(axes: Axes, values: Iterable[float] = (100.0,)) -> None:
  """Lets y end at 100 percent, or at 75 or 50 where no value is larger."""
  largest = max((v for v in values if math.isfinite(v)), default=0.0)
  high = next(end for end in (50, 75, 100) if end >= min(largest, 100.0))
  axes.set_yticks(range(0, high + 1, 25))
  axes.set_ylim(-0.02 * high, 1.02 * high)


def bars(
  axes: Axes,
  values: np.ndarray,
  *,
  first: int = 0,
  below: np.ndarray | float = 0.0,
  color: str,
  label: str = "",
  apart: bool = True,
) -> None:
  """Bars at whole numbers from `first` on, or one shape of their steps.

  Args:
    axes: where they are drawn.
    values: float [n], heights; NaN is drawn as nothing.
    first: place of the first one.
    below: where the bars begin, float [n] or one for all.
    color: of all of them.
    label: in the legend.
    apart: whether there is room for bars with gaps between them.
  """
  heights = np.nan_to_num(values)
  if apart:
    places = np.arange(first, first + len(heights))
    axes.bar(places, heights, 0.82, bottom=below, color=color, label=label)
    return
  base = np.broadcast_to(below, heights.shape)
  # Corners only, however many neighbours are equal.
  change = np.flatnonzero(np.diff(heights) + 1e9 * (np.diff(base) != 0)) + 1
  starts = np.concatenate([[0], change])
  axes.stairs(
    (base + heights)[starts],
    np.append(starts, len(heights)) + first - 0.5,
    baseline=base[starts] if np.ndim(below) else float(below),
    fill=True,
    color=color,
    label=label,
    linewidth=0,
  )


def note(
  axes: Axes,
  text: str,
  x: float,
  *,
  color: str = style.SOFT,
  align: str = "center",
) -> None:
  """Writes a word above the data, at a share of the width."""
  axes.annotate(
    text,
    (x, 1.0),
    xycoords="axes fraction",
    xytext=(0, 4),
    textcoords="offset points",
    ha=align,
    fontsize=_FONT - 1,
    color=color,
    annotation_clip=False,
  )


def end_labels(axes: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
  """Writes names right of the lines' ends, moved apart where they would touch.

  Args:
    axes: with their final limits of y.
    labels: (value of y, text, colour) each; NaN ones are left out.
  """
  known = sorted(label for label in labels if math.isfinite(label[0]))
  low, high = axes.get_ylim()
  height = axes.bbox.height / axes.figure.dpi
  places = spread_apart(
    [(value - low) / (high - low) for value, _, _ in known],
    gap=1.25 * _FONT / 72 / height,
  )
  for place, (_, text, color) in zip(places, known, strict=True):
    axes.annotate(
      text,
      (1.0, place),
      xycoords="axes fraction",
      xytext=(4, 0),
      textcoords="offset points",
      va="center",
      fontsize=_FONT,
      fontweight="bold",
      color=color,
      annotation_clip=False,
    )


def names_above(
  axes: Axes, names: Sequence[tuple[float, str, str]], *, plot: float
) -> None:
  """Writes names above parts of the data, moved apart as they need.

  Args:
    axes: where they are written.
    names: (share of the width, text, colour) each, from left to right.
    plot: width of the axes, inches, about.
  """
  longest = max((len(text) for _, text, _ in names), default=0)
  width = longest * 0.62 * (_FONT - 1) / 72 / plot
  places = spread_apart(
    [place for place, _, _ in names], gap=width, margin=width / 2
  )
  for place, (_, text, color) in zip(places, names, strict=True):
    note(axes, text, place, color=color)


def round_step(number: int, most: int) -> int:
  """1, 2, 5, 10, 20, 50, ...: the first that makes at most `most` steps."""
  return next(
    factor * 10**power
    for power in itertools.count()
    for factor in (1, 2, 5)
    if number <= most * factor * 10**power
  )


def spread_apart(
  places: Sequence[float], *, gap: float, margin: float = 0.0
) -> np.ndarray:
  """Moves rising places apart until neighbours have a distance.

  Args:
    places: shares of a length, rising.
    gap: least distance of two neighbours.
    margin: what is left free at both ends if there is room.

  Returns:
    float64 [n], rising; as near to `places` as that allows.
  """
  steps = gap * np.arange(len(places))
  moved = np.maximum(np.asarray(places, np.float64), margin)
  moved = np.maximum.accumulate(moved - steps) + steps
  return np.minimum(moved, 1.0 - margin - steps[::-1])
