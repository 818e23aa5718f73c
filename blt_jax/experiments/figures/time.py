"""Time an image, a batch and an epoch (supplement, Table 6)."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blt_jax.experiments import time_table
from blt_jax.experiments.figures import parts
from blt_jax.report import style
from blt_jax.report.record import RunRecord

_TITLES = {
  "image": "time an image",
  "batch": "time a batch",
  "epoch": "time an epoch",
}
_HATCHES = ("", "//", "xx", "..")


@parts.figure_of
def time(results: parts.Results, paper: parts.Paper) -> Figure:
  """Training time by setting; above the bars its ratio to plain training.

  Args:
    results: the runs of each setting; the first without perturbation is what
      the others are compared with.
    paper: the paper's seconds: {label: {"image", "batch_256", "epoch"}}.

  Returns:
    A figure with three axes: an image, a batch and an epoch.

  Raises:
    ValueError: if a run has no settled epoch of stage 2, or no setting is
      without perturbation, or none with it.
  """
  _, base = parts.with_and_without(results)
  seconds = {
    label: [_times(record) for record in records]
    for label, records in results.items()
  }
  figure, axes = style.new_figure(7.8, 3.6, columns=3)
  for column, (unit, title) in enumerate(_TITLES.items()):
    values = {
      label: np.array([s[unit] for s in runs])
      for label, runs in seconds.items()
    }
    _bars(axes[0, column], values, base, _paper_ratios(paper, unit, base))
    axes[0, column].set_title(title)
  style.caption(
    figure,
    f"{parts.provenance(results)}"
    f"{parts.deviation_remark(results, 'whiskers')}. Median "
    "training time over the settled epochs of stage 2, without validation; "
    "time an image is by real images. Ratios are to "
    f"{base}.",
  )
  return figure


def _times(record: RunRecord) -> dict[str, float]:
  """The times of the table, all of them known."""
  times = time_table.times_of(record)
  known = None if math.isnan(times["epoch"]) else times
  return parts.needed(known, record, "settled epochs of stage 2")


def _bars(
  axes: Axes,
  values: dict[str, np.ndarray],
  base: str,
  published: dict[str, float],
) -> None:
  """A bar a setting, with its ratio to the base and the paper's ratio."""
  unit, factor = _unit(max(float(v.mean()) for v in values.values()))
  reference = float(values[base].mean())
  for place, (label, seconds) in enumerate(values.items()):
    mean, deviation = parts.spread(seconds * factor)
    several = len(seconds) > 1
    axes.bar(
      place,
      mean,
      0.65,
      yerr=deviation if several else None,
      facecolor=style.series_style(place)["color"],
      hatch=_HATCHES[place % len(_HATCHES)],
      edgecolor="white",
      error_kw=parts.WHISKERS,
    )
    text = f"{mean:.3g}"
    if label != base:
      text += f"\n× {mean / factor / reference:.2f}"
    if label in published:
      text += f"\npaper: × {published[label]:.2f}"
    axes.annotate(
      text,
      (place, mean + float(deviation)),
      xytext=(0, 3),
      textcoords="offset points",
      ha="center",
      va="bottom",
      fontsize=8,
    )
  axes.set_ylabel(unit)
  axes.margins(y=0.3)
  axes.set_ylim(bottom=0)
  parts.name_ticks(axes, list(values), width=12)


def _unit(seconds: float) -> tuple[str, float]:
  """A unit in which the largest value reads well, and its number a second."""
  if seconds < 1e-3:
    return "microseconds", 1e6
  if seconds < 1:
    return "milliseconds", 1e3
  if seconds < 600:
    return "seconds", 1.0
  return "minutes", 1 / 60


def _paper_ratios(paper: parts.Paper, unit: str, base: str) -> dict[str, float]:
  """The paper's ratios to the base, for the settings that it has."""

  def seconds(label: str) -> float | None:
    found = [
      value
      for key, value in paper.get(label, {}).items()
      if key.partition("_")[0] == unit and isinstance(value, int | float)
    ]
    return float(found[0]) if found else None

  reference = seconds(base)
  if not reference:
    return {}
  ratios = {label: seconds(label) for label in paper if label != base}
  return {k: value / reference for k, value in ratios.items() if value}
