"""Accuracy by shot group and setting, ours beside the paper's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from blt_jax.config import differing
from blt_jax.experiments.figures import parts
from blt_jax.report import style

# What one field of the configuration means as an axis.
_FIELDS = {
  "model.alpha": "alpha, scale of the classifier",
  "model.beta": "beta, squashing constant of the classifier",
  "stage2.gamma": "gamma of the balanced sampler",
  "perturb.p": "p, share of tail draws hallucinated for",
  "perturb.confidence": "confidence to be reached (range: drawn from it)",
}
_IGNORED = ("seed", "num_devices", "dataset.root", "stage1.reuse")


@parts.figure_of
def accuracy(results: parts.Results, paper: parts.Paper) -> Figure:
  """Test accuracy of each setting by group; the paper's as marks.

  Labels such as "base rate, batch 64" give a row of axes for each first part.

  Raises:
    ValueError: if a run is not finished.
  """
  groups = parts.known_groups(results)
  panels = parts.split_labels(list(results))
  longest = max(len(ticks) for ticks in panels.values())
  figure, axes = style.new_figure(
    min(13.0, max(5.5, 1.0 + 1.0 * longest)),
    1.2 + 2.8 * len(panels),
    rows=len(panels),
    sharey=True,
  )
  for row, (panel, ticks) in enumerate(panels.items()):
    _group_bars(axes[row, 0], results, paper, list(ticks), groups)
    _name_axis(axes[row, 0], list(ticks.values()), results)
    axes[row, 0].set_title(panel)
  if axes[0, 0].get_ylim()[1] > 85:
    axes[0, 0].set_ylim(0, 103)  # Whiskers may end above 100.
  handles: list[Patch | Line2D] = [
    Patch(**_face(group), label=group) for group in groups
  ]
  if any(label in paper for label in results):
    handles.append(Line2D([], [], **_MARK, label="paper"))
  style.legend(figure, handles)
  _accuracy_caption(figure, results, paper)
  return figure


def _group_bars(
  axes: Axes,
  results: parts.Results,
  paper: parts.Paper,
  labels: Sequence[str],
  groups: Sequence[str],
) -> None:
  """Bars of each setting side by side, the paper's marks on them."""
  bar = 0.8 / len(groups)
  for number, group in enumerate(groups):
    places = np.arange(len(labels)) + bar * (number - (len(groups) - 1) / 2)
    mean, deviation = _series(results, labels, group)
    axes.bar(
      places,
      np.nan_to_num(mean),
      bar,
      yerr=_whiskers(results, deviation),
      error_kw=_whisker_look(group),
      **_face(group),
    )
    axes.plot(places, _published(paper, labels, group), **_MARK)
  axes.set_ylabel("top-1 accuracy (percent)")


def _series(
  results: parts.Results, labels: Sequence[str], group: str
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each setting's accuracy: float [settings]."""
  pairs = [parts.accuracies(results[label], group) for label in labels]
  mean, deviation = np.array(pairs, np.float64).T
  return mean, deviation


def _published(
  paper: parts.Paper, labels: Sequence[str], group: str
) -> np.ndarray:
  """The paper's accuracy of each setting, NaN where it has none."""
  return np.array(
    [paper.get(label, {}).get(group, math.nan) for label in labels], np.float64
  )


def _whiskers(
  results: parts.Results, deviation: np.ndarray
) -> np.ndarray | None:
  """The deviation, where there is more than one seed."""
  several = any(len(records) > 1 for records in results.values())
  return np.nan_to_num(deviation) if several else None


def _face(group: str) -> dict[str, Any]:
  look = style.GROUP_STYLE[group]
  return {
    "facecolor": look["color"],
    "hatch": look["hatch"],
    "edgecolor": "white",
  }


def _whisker_look(group: str) -> dict[str, Any]:
  """Black, but grey where the bar is black itself."""
  color = parts.GREY if group == "overall" else style.INK
  return {**parts.WHISKERS, "ecolor": color}


_MARK: dict[str, Any] = {
  "marker": "D",
  "markersize": 4.5,
  "markerfacecolor": "white",
  "markeredgecolor": style.INK,
  "linestyle": "none",
}


def _name_axis(
  axes: Axes, ticks: Sequence[str], results: parts.Results
) -> None:
  """Ticks and name of x: "batch" with 64, 32 for "batch 64", "batch 32"."""
  first_words = {tick.partition(" ")[0] for tick in ticks}
  if len(first_words) == 1 and all(" " in tick for tick in ticks):
    (name,) = first_words
    ticks = [tick.partition(" ")[2] for tick in ticks]
    name = {"batch": "batch size (images)"}.get(name, name)
  else:
    name = _varied_field(results)
  parts.name_ticks(axes, ticks, width=13)
  axes.set_xlabel(name)


def _varied_field(results: parts.Results) -> str:
  """The one field in which the settings differ, in words; "" for several."""
  configs = (records[0].config for records in results.values())
  fields = [name for name in differing(*configs) if name not in _IGNORED]
  if len(fields) != 1:
    return ""
  return _FIELDS.get(fields[0], fields[0])


def _accuracy_caption(
  figure: Figure, results: parts.Results, paper: parts.Paper
) -> None:
  seeds = parts.deviation_remark(results, "whiskers")
  ours = f"{parts.provenance(results)}{seeds}. {parts.TESTED}."
  theirs = " The paper's numbers are those of its own data set and network."
  published = any(label in paper for label in results)
  style.caption(figure, ours + (theirs if published else ""))
