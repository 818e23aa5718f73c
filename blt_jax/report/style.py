"""How figures look: colours that everybody can tell apart, and two files each.

Each shot group has a colour of Okabe and Ito's set, darker from many to few, so
that a grey print tells them apart, and a marker, a line and a hatch of its own.
"""

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

# Keyword arguments of matplotlib's lines and (hatch) bars.
GROUP_STYLE = {
  "overall": {
    "color": "#000000",
    "marker": "o",
    "linestyle": "-",
    "hatch": "",
  },
  "many": {
    "color": "#e69f00",
    "marker": "s",
    "linestyle": "--",
    "hatch": "..",
  },
  "medium": {
    "color": "#009e73",
    "marker": "^",
    "linestyle": "-.",
    "hatch": "//",
  },
  "few": {
    "color": "#0072b2",
    "marker": "D",
    "linestyle": ":",
    "hatch": "xx",
  },
}

# Further colours of the same set, for lines that are no shot groups.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_PARAMETERS: Any = {
  "font.family": "DejaVu Sans",  # Comes with matplotlib: the same everywhere.
  "font.size": 9.0,
  "axes.titlesize": 10.0,
  "axes.titlelocation": "left",
  "axes.titleweight": "bold",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.axisbelow": True,
  "axes.grid": True,
  "grid.color": "#dddddd",
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


def save(figure: Figure, path: str | pathlib.Path) -> list[pathlib.Path]:
  """Writes a figure as PNG (150 dpi) and SVG, the same bytes every time.

  Args:
    figure: from `new_figure`.
    path: of the files, without a suffix; its folder is made.

  Returns:
    The two files.
  """
  stem = pathlib.Path(path)
  stem.parent.mkdir(parents=True, exist_ok=True)
  files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
  with look(), warnings.catch_warnings():
    # Of names in scripts that the font lacks; they are drawn as boxes.
    warnings.filterwarnings("ignore", "Glyph .* missing from")
    figure.savefig(files[0], metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None, "Creator": None})
  return files


def short_name(name: str, width: int, *, lines: int = 1) -> str:
  """A class name for tight places: its first synonym, wrapped and cut.

  Args:
    name: such as "great white shark, white shark, man-eater".
    width: most characters of a line.
    lines: most lines.
  """
  first = (name.split(",")[0].strip() or name).replace("_", " ")
  wrapped = textwrap.wrap(
    first, width, max_lines=lines, placeholder="…", break_on_hyphens=True
  )
  # textwrap drops a word that is longer than the line when it cuts.
  if wrapped == ["…"] or not wrapped:
    return first[: width - 1] + "…"
  return "\n".join(wrapped)


def caption(figure: Figure, text: str) -> None:
  """Writes a remark under a figure, as wide as the figure is."""
  width = int(figure.get_figwidth() * 15)
  figure.supxlabel(
    textwrap.fill(text, width), x=0.01, ha="left", fontsize=8, color="#333333"
  )


def legend(figure: Figure, handles: Sequence[Any], *, columns: int = 0) -> None:
  """A legend above the axes of a figure, outside of the data."""
  figure.legend(
    handles=list(handles),
    loc="outside upper center",
    ncols=columns or len(handles),
    handlelength=3.0,
  )
