"""The figures of a measurement."""

import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.gpu.setup import IN_WORDS
from blt_jax.report import style

Rows = list[dict[str, Any]]
_GROUPS = ("many", "medium", "few", "overall")


def write(
  folder: pathlib.Path, part: str, measured: dict[str, Rows]
) -> list[pathlib.Path]:
  """Draws the figure of a part, if it has one, as PNG; returns the files."""
  if part not in _DRAW:
    return []
  name, draw = _DRAW[part]
  figure = draw(measured[part], measured)
  if figure is None:
    return []
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"{name}.png"
  style.write(figure, path, "png")
  return [path]


def _ratios(rows: Rows, _: dict[str, Rows]) -> Figure | None:
  """BLT / plain beside its limit, a line a network and arithmetic."""
  rows = [row for row in rows if "ratio" in row]
  if not rows:
    return None
  figure, axes = style.new_figure(6.4, 1.2 + 0.45 * len(rows))
  plot, places = axes[0, 0], np.arange(len(rows))
  names = {"ratio": "measured", "limit": "what the arithmetic allows"}
  for number, (name, label) in enumerate(names.items()):
    look = style.series_style(number) | {"linestyle": "none", "markersize": 8}
    plot.plot([row[name] for row in rows], places, label=label, **look)
  plot.set_yticks(places, [_label(row) for row in rows])
  plot.set_ylim(len(rows) - 0.5, -0.5)
  plot.set_xlim(1, None)
  plot.set_xlabel("BLT / plain")
  style.legend(figure, plot.get_legend_handles_labels()[0])
  return figure


def _label(row: dict[str, Any]) -> str:
  return f"{row['backbone']}\n{IN_WORDS[row['arithmetic']]}"


def _ascents(rows: Rows, _: dict[str, Rows]) -> Figure:
  """Milliseconds of an ascent by its batches and by its narrowest width."""
  figure, axes = style.new_figure(6.4, 2.8, columns=len(rows), sharey=True)
  for plot, row in zip(axes[0], rows, strict=True):
    programs = row["programs"]
    _bars(plot, programs)
    named = "batches in an ascent" if "every" in row else "narrowest width"
    plot.set_xlabel(named)
  axes[0, 0].set_ylabel("ms a batch")
  return figure


def _bars(plot: Any, programs: dict[str, Any]) -> None:
  """Medians with quartiles as whiskers, milliseconds."""
  places = np.arange(len(programs))
  medians = np.array([1e3 * each["seconds"] for each in programs.values()])
  ends = 1e3 * np.array([each["quartiles"] for each in programs.values()]).T
  whiskers = np.abs(ends - medians)
  color = style.series_style(0)["color"]
  plot.bar(places, medians, 0.7, yerr=whiskers, color=color, ecolor=style.INK)
  plot.set_xticks(places, [name.replace(", ", "\n") for name in programs])
  plot.grid(visible=False, axis="x")


def _feeding(rows: Rows, _: dict[str, Rows]) -> Figure | None:
  """Milliseconds of a step by how it is fed."""
  for row in rows:
    if "bytes" not in row:
      figure, axes = style.new_figure(6.4, 2.8)
      _bars(axes[0, 0], row["programs"])
      axes[0, 0].set_ylabel("ms a step")
      axes[0, 0].set_xlabel("where crops are resized")
      return figure
  return None


def _speeds(rows: Rows, measured: dict[str, Rows]) -> Figure | None:
  """Images a second, ours beside PyTorch's."""
  from benchmarks.gpu import page

  pairs = [(row, page.beside(row, measured)) for row in rows]
  pairs = [pair for pair in pairs if pair[1]]
  if not pairs:
    return None
  figure, axes = style.new_figure(6.4, 1.2 + 0.55 * len(pairs))
  plot, places = axes[0, 0], np.arange(len(pairs))
  speeds = {
    "ours": [ours for _, ours in pairs],
    "PyTorch, its best": [row["images_per_second"] for row, _ in pairs],
  }
  for number, (name, values) in enumerate(speeds.items()):
    color = style.series_style(number)["color"]
    shift = 0.4 * number - 0.2
    plot.barh(places + shift, values, 0.38, color=color, label=name)
  plot.set_yticks(places, [_label(row) for row, _ in pairs])
  plot.invert_yaxis()
  plot.set_xlabel("images/s of a plain step without augmentation")
  plot.grid(visible=False, axis="y")
  style.legend(figure, plot.get_legend_handles_labels()[0])
  return figure


def _accuracy(rows: Rows, _: dict[str, Rows]) -> Figure:
  """Top-1 by shot group, method and arithmetic; whiskers: deviations."""
  figure, axes = style.new_figure(6.4, 3.2)
  plot, places = axes[0, 0], np.arange(len(_GROUPS))
  series = [
    (method, arithmetic)
    for arithmetic in dict.fromkeys(row["arithmetic"] for row in rows)
    for method in ("neither", "blt")
  ]
  width = 0.8 / len(series)
  for number, (method, arithmetic) in enumerate(series):
    runs = [r[method]["test"] for r in rows if r["arithmetic"] == arithmetic]
    values = [[run[group] for run in runs] for group in _GROUPS]
    plot.bar(
      places + (number - (len(series) - 1) / 2) * width,
      [statistics.mean(each) for each in values],
      0.9 * width,
      yerr=[statistics.pstdev(each) for each in values],
      color=style.series_style(number)["color"],
      ecolor=style.INK,
      label=f"{method}, {IN_WORDS[arithmetic]}",
    )
  plot.set_xticks(places, _GROUPS)
  plot.set_ylabel("top-1 accuracy (percent)")
  plot.grid(visible=False, axis="x")
  style.legend(figure, plot.get_legend_handles_labels()[0], columns=2)
  return figure


def _scaling(rows: Rows, _: dict[str, Rows]) -> Figure:
  """Images a second by the number of devices, and the first times them."""
  figure, axes = style.new_figure(4.4, 3.2)
  plot, devices = axes[0, 0], [row["devices"] for row in rows]
  images = np.array([row["batch"] * row["devices"] for row in rows])
  for number, kind in enumerate(("plain", "BLT")):
    seconds = np.array([row[kind]["seconds"] for row in rows])
    look = style.series_style(number)
    plot.plot(devices, images / seconds, **look, label=kind)
    ideal = images[0] / seconds[0] / devices[0] * np.array(devices)
    plot.plot(devices, ideal, color=look["color"], lw=0.8, ls=":")
  plot.set_xticks(devices)
  plot.set_xlabel("devices, as many images on each")
  plot.set_ylabel("images/s (dotted: in proportion)")
  plot.set_ylim(0, None)
  style.legend(figure, plot.get_legend_handles_labels()[0])
  return figure


_DRAW: dict[
  str, tuple[str, Callable[[Rows, dict[str, Rows]], Figure | None]]
] = {
  "a": ("steps", _ratios),
  "b": ("ascent", _ascents),
  "d": ("feeding", _feeding),
  "e": ("networks", _ratios),
  "f": ("pytorch", _speeds),
  "g": ("accuracy", _accuracy),
  "h": ("devices", _scaling),
}
