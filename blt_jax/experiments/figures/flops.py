"""Accuracy against the FLOPs of a forward pass (main paper)."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blt_jax.experiments import flops as counted
from blt_jax.experiments.figures import parts
from blt_jax.models import BACKBONES, create_model
from blt_jax.report import style
from blt_jax.report.record import RunRecord

_GROUPS = ("overall", "few")
_MARKERS = "osD^vPX*"
_PAPER_SIZE, _PAPER_CLASSES = 224, 1000  # ImageNet-LT.


@dataclasses.dataclass(frozen=True)
class _Point:
  """A setting: its method, its backbone, GFLOPs and (mean, deviation)."""

  method: str
  backbone: str
  gigaflops: float
  accuracies: dict[str, tuple[float, float]]


@parts.figure_of
def flops(results: parts.Results, paper: parts.Paper) -> Figure:
  """Accuracy, overall and few, against FLOPs of a forward pass of an image.

  Raises:
    ValueError: if a run is not finished.
  """
  rows = [_our_points(results)]
  published = _paper_points(results, paper)
  if published:
    rows.append(published)
  groups = [
    group
    for group in _GROUPS
    if any(np.isfinite(point.accuracies[group][0]) for point in rows[0])
  ]
  figure, axes = style.new_figure(
    8.4, 0.9 + 2.6 * len(rows), rows=len(rows), columns=len(groups)
  )
  points = [point for row in rows for point in row]
  methods = list(dict.fromkeys(point.method for point in points))
  backbones = list(dict.fromkeys(point.backbone for point in points))
  record = next(iter(results.values()))[0]
  size = record.config.dataset.image_size
  titles = (f"{record.config.dataset.name}, {size} px", "paper, 224 px")
  for row, these in enumerate(rows):
    for column, group in enumerate(groups):
      _draw(axes[row, column], these, group, methods, backbones)
      axes[row, column].set_title(f"{titles[row]}: {group}")
  figure.legend(handles=_handles(methods, backbones), loc="outside right upper")
  paper_text = " The paper: ImageNet-LT." if published else ""
  style.caption(
    figure,
    f"{parts.provenance(results)}"
    f"{parts.deviation_remark(results, 'whiskers')}. {parts.TESTED}. "
    "FLOPs of the compiled forward pass of one image, a multiply-add counted "
    "as two." + paper_text,
  )
  return figure


@functools.cache
def gigaflops(
  backbone: str,
  num_classes: int,
  image_size: int,
  *,
  classifier: str = "squashing_cosine",
  hidden: int = 512,
) -> float:
  """GFLOPs of a forward pass of one image; remembered, as it compiles."""
  model = create_model(
    backbone, num_classes, classifier=classifier, hidden=hidden
  )
  return counted.forward(model, image_size) / counted.GIGA


def _our_points(results: parts.Results) -> list[_Point]:
  return [
    _Point(
      method=records[0].config.method,
      backbone=records[0].config.model.backbone,
      accuracies={g: parts.accuracies(records, g) for g in _GROUPS},
      gigaflops=_record_gigaflops(records[0]),
    )
    for records in results.values()
  ]


def _record_gigaflops(record: RunRecord) -> float:
  model = record.config.model
  counts = parts.needed(record.class_counts, record, "class counts")
  return gigaflops(
    model.backbone,
    len(counts),
    record.config.dataset.image_size,
    classifier=model.classifier,
    hidden=model.hidden,
  )


def _paper_points(results: parts.Results, paper: parts.Paper) -> list[_Point]:
  """The paper's settings whose backbone is none of our stand-ins."""
  points = []
  for label, records in results.items():
    named = [n for n in BACKBONES if re.search(rf"\b{re.escape(n)}\b", label)]
    backbone = named[0] if named else records[0].config.model.backbone
    if label not in paper or backbone.startswith("small_"):
      continue
    values = paper[label]
    points.append(
      _Point(
        method=records[0].config.method,
        backbone=backbone,
        gigaflops=gigaflops(backbone, _PAPER_CLASSES, _PAPER_SIZE),
        accuracies={g: (values.get(g, np.nan), 0.0) for g in _GROUPS},
      )
    )
  return points


def _draw(
  axes: Axes,
  points: Sequence[_Point],
  group: str,
  methods: Sequence[str],
  backbones: Sequence[str],
) -> None:
  """Points, and a line from method to method of the same backbone."""
  flops = [point.gigaflops for point in points]
  unit, factor = ("GFLOPs", 1.0) if max(flops) >= 0.2 else ("MFLOPs", 1e3)
  for backbone in backbones:
    same = [point for point in points if point.backbone == backbone]
    axes.plot(
      [point.gigaflops * factor for point in same],
      [point.accuracies[group][0] for point in same],
      color=style.RULE,
      linewidth=1.0,
      zorder=1,
    )
  for point in points:
    mean, deviation = point.accuracies[group]
    axes.errorbar(
      point.gigaflops * factor,
      mean,
      yerr=deviation if deviation else None,
      capsize=2,
      **_look(point.method, point.backbone, methods, backbones),
    )
  lowest, highest = min(flops) * factor, max(flops) * factor
  axes.set_xscale("log")
  axes.set_xlim(lowest / 1.8, highest * 1.8)
  axes.margins(y=0.12)
  parts.log_ticks(axes.xaxis)
  axes.set_xlabel(f"{unit} an image")
  axes.set_ylabel("top-1 accuracy (percent)")


def _look(
  method: str,
  backbone: str,
  methods: Sequence[str],
  backbones: Sequence[str],
) -> dict[str, Any]:
  """The backbone's marker in the method's colour, hollow for the first."""
  color = style.series_style(methods.index(method))["color"]
  return {
    "marker": _MARKERS[backbones.index(backbone) % len(_MARKERS)],
    "color": color,
    "markerfacecolor": "white" if method == methods[0] else color,
    "markersize": 7,
    "linestyle": "none",
  }


def _heading(text: str) -> Line2D:
  """A line of a legend without anything drawn."""
  return Line2D([], [], linestyle="none", label=f"{text}:")


def _handles(methods: Sequence[str], backbones: Sequence[str]) -> list[Line2D]:
  handles = [
    Line2D([], [], **_look(method, backbones[0], methods, backbones))
    for method in methods
  ]
  for handle, method in zip(handles, methods, strict=True):
    handle.set(marker="o", label=method)
  handles = [_heading("method"), *handles, _heading("backbone")]
  for number, backbone in enumerate(backbones):
    handles.append(
      Line2D(
        [],
        [],
        color=parts.GREY,
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=7,
        linestyle="none",
        label=backbone,
      )
    )
  return handles
