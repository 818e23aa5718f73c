"""By how much runs differ from the first one on the same test images."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from blt_jax.method import metrics
from blt_jax.report import chart, style
from blt_jax.report.chart import Chart
from blt_jax.report.measures import TAIL_FIRST
from blt_jax.report.record import TESTED, RunRecord


@dataclasses.dataclass(frozen=True)
class Difference:
  """A run against the first one.

  Attributes:
    name: of the run.
    number: its place among the runs, from 0.
    points: group -> (difference, low, high) in percentage points, positive
      where the run is better; empty where there is none.
    reason: why there is none, "" where there is.
  """

  name: str
  number: int
  points: Mapping[str, tuple[float, float, float]]
  reason: str = ""


def differences(
  runs: Sequence[RunRecord], names: Sequence[str]
) -> list[Difference]:
  """Every run against the first, on test images at the best epochs.

  Raises:
    ValueError: when a file of a run is damaged.
  """
  first = runs[0]
  known = first.predictions(TESTED)
  found = []
  for number, (run, name) in enumerate(zip(runs, names, strict=True)):
    if not number:
      continue
    reason = _not_comparable(first, run)
    if reason or known is None:
      found.append(Difference(name, number, {}, reason))
      continue
    other = run.predictions(TESTED)
    assert other is not None
    dataset = first.config.dataset
    points = metrics.paired_differences(
      other.correct,
      known.correct,
      known.label,
      first.class_counts,
      many_above=dataset.many_above,
      few_up_to=dataset.few_up_to,
    )
    found.append(Difference(name, number, points))
  return found


def _not_comparable(first: RunRecord, run: RunRecord) -> str:
  """Why runs are not compared image by image, "" where they can be."""
  one, two = first.predictions(TESTED), run.predictions(TESTED)
  if one is None or two is None:
    return "the predictions for its test images or for A's are not recorded"
  if run.class_names != first.class_names:
    return "its classes are others"
  if not np.array_equal(one.row, two.row):
    if len(one) != len(two):
      return f"it has {len(two):,} test images, not the {len(one):,} of A"
    return "it has other test images than A, or could not read some"
  if not np.array_equal(one.label, two.label):
    number = int(np.sum(one.label != two.label))
    return f"{number:,} of its test images have other labels than A's"
  paths, others = first.tested_paths, run.tested_paths
  if paths and others and paths != others:
    return "its test images are other files than A's"
  return ""


def draw(found: Sequence[Difference], first: str) -> Chart | None:
  """Differences and their intervals, by group; None where there are none.

  Args:
    found: of the runs.
    first: name of the run that they differ from.
  """
  known = [each for each in found if each.points]
  groups = [
    group
    for group in TAIL_FIRST
    if known and math.isfinite(known[0].points[group][0])
  ]
  if not groups:
    return None
  title = f"Points above or below {first} on the same test images"
  step = len(known) + 0.8  # Rows of a group, and the gap to the next one.
  height = 1.0 + 0.2 * step * len(groups)
  figure, axes = chart.new_chart(title, height=height)
  axes.grid(visible=False, axis="y")
  axes.grid(visible=True, axis="x")
  axes.axvline(0, color=style.INK, linewidth=1)
  for place, each in enumerate(known):
    look = {**style.series_style(each.number), "linestyle": "none"}
    rows = step * np.arange(len(groups)) + place
    points = np.array([each.points[group] for group in groups])
    middle, low, high = points.T
    errors = np.abs([middle - low, high - middle])
    axes.errorbar(middle, rows, xerr=errors, label=each.name, **look)
    for row, end in zip(rows, high, strict=True):
      axes.annotate(
        each.name,
        (end, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        fontweight="bold",
        color=look["color"],
        annotation_clip=False,
      )
  middles = step * np.arange(len(groups)) + (len(known) - 1) / 2
  axes.set_yticks(middles, groups)
  axes.set_ylim(step * len(groups) - 0.8, -0.8)
  axes.xaxis.set_major_formatter(
    lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"
  )
  axes.set_xlabel("points", loc="right", fontsize=9, color=style.SOFT)
  summary = "; ".join(
    f"{each.name} "
    + ", ".join(f"{group} {each.points[group][0]:+.1f}" for group in groups)
    for each in known
  )
  return Chart(figure, title, f"{summary}.")
