"""Charts of what a network's confidence is worth."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from blt_jax.method import metrics
from blt_jax.report import chart, confidence, style
from blt_jax.report.chart import Chart
from blt_jax.report.record import TESTED, RunRecord

# Name -> colour and marker of confidences before and after calibration.
_LOOKS = {
  "before": ("orange", "o"),
  "after temperature scaling": ("blue", "s"),
}

_FEWEST = 10  # A line of precision begins where so many images are left.
_POINTS = 250  # Points of such a line.


def reliability(run: RunRecord) -> Chart | None:
  """Accuracy against confidence in 15 bins of the test images, and counts."""
  found = run.predictions(TESTED)
  if found is None:
    return None
  title = "Right answers by confidence, %"
  figure, (axes, below) = chart.stacked_chart(title)
  ends = np.array([0.0, 100.0])
  axes.plot(ends, ends, color=style.SOFT, linewidth=1, linestyle=(0, (5, 4)))
  confidences = (found.confidence, found.calibrated_confidence)
  errors = []
  for number, (name, values) in enumerate(
    zip(_LOOKS, confidences, strict=True)
  ):
    bins = metrics.reliability(values, found.correct)
    color, marker = _LOOKS[name]
    _reliability_line(axes, bins, name, style.PALETTE[color][0], marker)
    _bin_counts(below, bins.count, number, style.PALETTE[color][0])
    error = metrics.calibration_error(values, found.correct)
    errors.append(f"{name} {error:.3f}")
  axes.set_xlim(0, 100)
  axes.set_xticks(range(0, 101, 20))
  chart.percent_axis(axes)
  # A line of a cautious network runs through the upper corner, one of a network
  # that is too sure through the lower one.
  axes.legend(loc="best", fontsize=9, handlelength=2, borderpad=0.2)
  below.set_xlabel("confidence, %", loc="right", fontsize=9, color=style.SOFT)
  return Chart(
    figure,
    title,
    f"{len(found):,} test images in 15 bins; calibration error "
    f"{', '.join(errors)}.",
  )


def _reliability_line(
  axes: Axes, bins: metrics.Reliability, name: str, color: str, marker: str
) -> None:
  known = bins.count > 0
  axes.plot(
    100 * bins.confidence[known],
    100 * bins.accuracy[known],
    color=color,
    marker=marker,
    label=name,
    clip_on=False,
  )


def _bin_counts(
  axes: Axes, counts: np.ndarray, number: int, color: str
) -> None:
  """Images of every bin on a log scale, before and after side by side."""
  width = 100 / len(counts)
  starts = width * (np.arange(len(counts)) + 0.1 + 0.4 * number)
  known = counts > 0
  axes.bar(
    starts[known],
    counts[known] - 0.5,
    0.4 * width,
    bottom=0.5,
    align="edge",
    color=color,
  )
  axes.set_yscale("log")
  axes.set_ylim(0.5, max(2.0 * counts.max(), axes.get_ylim()[1]))
  axes.yaxis.set_major_locator(LogLocator(10, numticks=4))
  axes.yaxis.set_minor_locator(NullLocator())
  axes.yaxis.set_major_formatter("{x:,.0f}")
  chart.note(axes, "images", 0.0, align="left")


def coverage(run: RunRecord) -> Chart | None:
  """Precision against coverage on test images, by the group answered.

  Marks show where the thresholds chosen on validation lead to.
  """
  found = run.predictions(TESTED)
  if found is None:
    return None
  title = "Precision by the share of answers kept, %"
  figure, axes = chart.new_chart(title, height=3.9)
  lowest, ends, summary = 100.0, [], []
  for group, mask in list(confidence.answered(run, found).items())[::-1]:
    curve = metrics.coverage_curve(
      found.calibrated_confidence[mask], found.correct[mask]
    )
    kept, precision = _thinned(curve, int(mask.sum()))
    color = style.GROUP_STYLE[group]["color"]
    width = 2.4 if group == "few" else 1.6
    axes.plot(
      kept, precision, color=color, linewidth=width, label=group, clip_on=False
    )
    lowest = min(lowest, float(precision.min()))
    ends.append((float(precision[-1]), f"{group} {precision[-1]:.0f}", color))
    summary.append(f"{group} {precision[-1]:.1f}")
  lowest = min(lowest, *_mark_thresholds(axes, run))
  axes.set_xlim(0, 100)
  axes.set_xticks(range(0, 101, 20))
  low = max(y for y in (0, 25, 50, 75, 90) if y <= lowest)
  ticks = (0, 25, 50, 75, 90, 100) if low < 90 else (90, 95, 100)
  axes.set_yticks([y for y in ticks if y >= low])
  axes.set_ylim(low - 0.02 * (100 - low), 100 + 0.02 * (100 - low))
  axes.set_xlabel("answers kept, %", loc="right", fontsize=9, color=style.SOFT)
  chart.end_labels(axes, ends)
  return Chart(
    figure,
    title,
    f"Precision in percent where every answer is kept: {', '.join(summary)}.",
  )


def _thinned(
  curve: metrics.Coverage, images: int
) -> tuple[np.ndarray, np.ndarray]:
  """Coverage and precision in percent, rising, as many as can be seen."""
  kept = curve.coverage[::-1]
  first = int(np.searchsorted(kept, min(_FEWEST, images) / images - 1e-9))
  wanted = np.linspace(kept[first], 1.0, _POINTS) - 1e-9
  places = np.unique(np.searchsorted(kept, wanted))
  return 100 * kept[places], 100 * curve.precision[::-1][places]


def _mark_thresholds(axes: Axes, run: RunRecord) -> list[float]:
  """Marks what thresholds lead to; returns the precisions, in percent."""
  marked = [100.0]
  for found in confidence.thresholds(run):
    if found.coverage > 0:
      look = style.GROUP_STYLE[found.group]
      axes.plot(
        100 * found.coverage,
        100 * found.tested,
        color=look["color"],
        marker=look["marker"],
        markersize=6.5,
        markeredgecolor=style.PALETTE["card"][0],
        clip_on=False,
        zorder=3,
      )
      marked.append(100 * found.tested)
  return marked
