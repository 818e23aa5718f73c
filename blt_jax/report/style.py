"""The look of figures and pages: colours, fonts, and how a figure is written.

Figures are drawn in the light colours. The page shows the same drawings and
takes the dark ones where the reader prefers them.
"""

import collections
import pathlib
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from blt_jax.data.text import printable, shortened_apart
from blt_jax.report import fonts

# Name -> (on a light page, on a dark page). Blue, orange, green, pink, amber
# and sky are Okabe and Ito's, which everybody can tell apart, a little darker
# on white and lighter on black so that they keep their contrast. No two light
# colours are the same: the page finds the name of a colour in a drawing by it.
PALETTE = {
  "paper": ("#fdfcfa", "#141619"),
  "card": ("#ffffff", "#1b1e22"),
  "ink": ("#1c1e21", "#e9e7e2"),
  "soft": ("#5c6066", "#a3a7ad"),
  "rule": ("#dedbd4", "#363a40"),
  "tint": ("#f3f1ec", "#23272c"),
  "mark": ("#fff3cf", "#3d3618"),
  "blue": ("#0068a8", "#6cb6ef"),
  "orange": ("#d55e00", "#ff8a3d"),
  "green": ("#008f68", "#35c79a"),
  "pink": ("#b5578e", "#e39ac5"),
  "amber": ("#c98500", "#f0b13c"),
  "sky": ("#3d9bd1", "#b7ddf6"),
  "slate": ("#56606b", "#8d98a5"),
  "pale": ("#8fc7ea", "#35688c"),
}
INK, SOFT, RULE = (PALETTE[name][0] for name in ("ink", "soft", "rule"))
GREY = "#808080"  # For what is not known; it lies between ink and white.

# The name of each group's colour, darker from many to few, and keyword
# arguments of matplotlib's lines and bars, for readers who see no colour.
GROUP_COLORS = {
  "overall": "ink",
  "many": "amber",
  "medium": "green",
  "few": "blue",
}
_GROUP_LOOK = {
  "overall": {"marker": "o", "linestyle": "-", "hatch": ""},
  "many": {"marker": "s", "linestyle": "--", "hatch": ".."},
  "medium": {"marker": "^", "linestyle": "-.", "hatch": "//"},
  "few": {"marker": "D", "linestyle": "-", "hatch": "xx"},
}
GROUP_STYLE = {
  group: {"color": PALETTE[GROUP_COLORS[group]][0], **look}
  for group, look in _GROUP_LOOK.items()
}

# Colours of runs and settings; markers and lines tell these apart as well.
SERIES_COLORS = ("blue", "orange", "green", "pink", "amber", "sky")
_MARKERS = "osD^vP"
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

_PARAMETERS: Any = {
  "font.family": fonts.OWN,
  "font.size": 9.0,
  "text.color": INK,
  "text.parse_math": False,  # A class may be called "$x$".
  "axes.titlesize": 10.0,
  "axes.titlelocation": "left",
  "axes.titleweight": "bold",
  "axes.edgecolor": SOFT,
  "axes.labelcolor": INK,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.axisbelow": True,
  "axes.grid": True,
  "xtick.color": SOFT,
  "ytick.color": SOFT,
  "grid.color": RULE,
  "grid.linewidth": 0.6,
  "legend.frameon": False,
  "legend.fontsize": 8.0,
  "lines.linewidth": 1.6,
  "lines.markersize": 4.5,
  "hatch.linewidth": 0.5,
  "savefig.dpi": 150,
  "svg.fonttype": "none",
  "svg.hashsalt": "blt_jax",
}


def look() -> AbstractContextManager:
  """A context in which new figures and axes have the look of the reports."""
  return matplotlib.rc_context(_PARAMETERS)


def series_style(number: int) -> dict[str, Any]:
  """Colour, marker and line of the n-th run or setting, from 0."""
  return {
    "color": PALETTE[SERIES_COLORS[number % len(SERIES_COLORS)]][0],
    "marker": _MARKERS[number % len(_MARKERS)],
    "linestyle": _LINES[number % len(_LINES)],
  }


def new_figure(
  width: float = 6.4,
  height: float = 4.0,
  *,
  rows: int = 1,
  columns: int = 1,
  **options: Any,
) -> tuple[Figure, np.ndarray]:
  """A figure with its axes, without pyplot and its global state.

  Args:
    width: inches.
    height: inches.
    rows: of axes.
    columns: of axes.
    **options: further arguments of `Figure.subplots`, such as sharey.

  Returns:
    (figure, axes [rows, columns], an array of objects).
  """
  with look():
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
  return figure, axes


def write(figure: Figure, file: Any, kind: str) -> None:
  """Writes a figure in one format, the same bytes every time.

  Args:
    figure: from `new_figure`.
    file: a path or an open binary file.
    kind: "png" (150 dpi) or "svg".
  """
  metadata = {"png": ["Software"], "svg": ["Date", "Creator"]}[kind]
  fonts.complete(figure)
  with look(), warnings.catch_warnings():
    # These warn of letters that no font has, of which `fonts.missing` tells. A
    # PNG shows boxes then; in an SVG the reader's own fonts draw the names.
    warnings.filterwarnings("ignore", "Glyph .* missing from")
    warnings.filterwarnings("ignore", "Matplotlib currently does not support")
    figure.savefig(file, format=kind, metadata=dict.fromkeys(metadata))


def save(figure: Figure, path: str | pathlib.Path) -> list[pathlib.Path]:
  """Writes a figure as PNG (150 dpi) and SVG."""
  stem = pathlib.Path(path)
  stem.parent.mkdir(parents=True, exist_ok=True)
  files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
  for file in files:
    write(figure, file, file.suffix[1:])
  return files


def short_names(names: Sequence[str], width: int) -> list[str]:
  """Class names for tight places: the first synonym, cut where they are alike.

  Args:
    names: [n], different ones stay different.
    width: columns, of which Chinese letters take two.

  Returns:
    [n] texts of at most `width` columns.
  """
  first = [name.split(",")[0].strip() or name for name in names]
  common = collections.Counter(dict(zip(names, first, strict=True)).values())
  chosen = [
    whole if common[short] > 1 else short
    for whole, short in zip(names, first, strict=True)
  ]
  lines = (printable(" ".join(name.split())) for name in chosen)
  return shortened_apart([line.replace("_", " ") for line in lines], width)


def caption(figure: Figure, text: str) -> None:
  """Writes a remark under a figure, as wide as the figure is."""
  width = int(figure.get_figwidth() * 15)
  figure.supxlabel(
    textwrap.fill(text, width), x=0.01, ha="left", fontsize=8, color=SOFT
  )


def legend(figure: Figure, handles: Sequence[Any], *, columns: int = 0) -> None:
  """A legend above the axes of a figure, an inch or more for each entry."""
  figure.legend(
    handles=list(handles),
    loc="outside upper center",
    ncols=columns or min(len(handles), int(figure.get_figwidth())),
    handlelength=3.0,
  )
