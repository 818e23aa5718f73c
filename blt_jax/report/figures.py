"""figures/ of a work directory: a run's figures for papers and slides."""

import itertools
import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from blt_jax.method.metrics import GROUPS
from blt_jax.report import facts, style
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.html import epoch_charts
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Confusion

FOLDER = "figures"

_TESTED = "test-best"  # Whose confusion is drawn.
_NAMED = 12  # Most classes whose names stand at an axis.
_CELLS = 1000  # Most cells a side of a drawn confusion matrix.
_MARKED = 30  # Most epochs that are marked one by one.
_WIDTH = 480  # Pixels of a chart with as many ticks as there is room for.


def write_figures(
  run: RunRecord, folder: pathlib.Path
) -> dict[str, list[pathlib.Path]]:
  """Writes every figure that the record of a run has the numbers for.

  Args:
    run: a run, finished or not.
    folder: where they go; made when it does not exist.

  Returns:
    {name: its PNG and SVG file}, names as in FIGURES.

  Raises:
    ValueError: when a file of the run is damaged.
  """
  files = {}
  for name, draw in FIGURES.items():
    with style.look():
      figure = draw(run)
    if figure is not None:
      files[name] = style.save(figure, folder / name)
  return files


def class_counts(run: RunRecord) -> Figure | None:
  """Training images of each class on a log scale, the largest first."""
  if not len(run.class_counts):
    return None
  figure, axes = style.new_figure(6.4, 3.4)
  _draw_classes(axes[0, 0], run, run.class_counts, base=0.5)
  axes[0, 0].set(yscale="log", ylabel="training images")
  axes[0, 0].set_ylim(0.8, 1.5 * run.class_counts.max())
  axes[0, 0].yaxis.set_major_formatter("{x:,g}")
  dataset = run.config.dataset
  for limit in (dataset.many_above, dataset.few_up_to):
    axes[0, 0].axhline(limit, color="black", linestyle="--", linewidth=0.8)
  style.caption(
    figure,
    f"{dataset.name}, {int(run.class_counts.sum()):,} training images. Dashed: "
    f"more than {dataset.many_above} images are many, up to "
    f"{dataset.few_up_to} are few.",
  )
  return figure


def class_accuracies(run: RunRecord) -> Figure | None:
  """Test accuracy of each class at the best epoch, the largest class first."""
  accuracies = run.class_accuracies(_TESTED)
  if accuracies is None or not len(run.class_counts):
    return None
  figure, axes = style.new_figure(6.4, 3.4)
  _draw_classes(axes[0, 0], run, np.nan_to_num(accuracies), base=0.0)
  axes[0, 0].set(ylabel="top-1 accuracy (percent)", ylim=(0, 100))
  unknown = int(np.isnan(accuracies).sum())
  style.caption(
    figure,
    f"{run.origin}. Test images, best epoch."
    + (f" {unknown} classes have no test images." if unknown else ""),
  )
  return figure


def accuracy(run: RunRecord) -> Figure | None:
  """Validation accuracy of each group over the epochs of both stages."""
  if not run.rows:
    return None
  figure, axes = style.new_figure(6.4, 3.8)
  starts = facts.stage_starts(run.rows)
  lines = []
  for group in GROUPS:
    look = {k: v for k, v in style.GROUP_STYLE[group].items() if k != "hatch"}
    if len(run.rows) > _MARKED:
      look["marker"] = ""
    values = facts.column(run.rows, f"val_{group}")
    if np.isnan(values).all():
      continue  # No class is of this group.
    for start, end in itertools.pairwise([*starts, len(run.rows)]):
      part = np.arange(start, end), values[start:end]
      lines += axes[0, 0].plot(*part, label=group, **look)
  for start in starts[1:]:
    axes[0, 0].axvline(start - 0.5, color="black", linewidth=0.8)
  ticks = epoch_charts.epochs_of(run.rows, width=_WIDTH).axis.ticks
  axes[0, 0].set_xticks(
    [place - 0.5 for place, _ in ticks], [label for _, label in ticks]
  )
  axes[0, 0].set(
    xlabel="epoch of each stage", ylabel="top-1 accuracy (percent)"
  )
  style.legend(figure, lines[:: len(starts)])
  style.caption(figure, f"{run.origin}. Validation images.")
  return figure


def confusion(run: RunRecord) -> Figure | None:
  """What test images are taken for at the best epoch, classes by size."""
  entries = run.entries(_TESTED)
  if entries is None or not len(run.class_counts):
    return None
  order = facts.by_size(run.class_counts)
  shares, step = shares_by_size(entries, order)
  figure, axes = style.new_figure(5.6, 5.0)
  extent = (-0.5, len(shares) * step - 0.5, len(shares) * step - 0.5, -0.5)
  image = axes[0, 0].imshow(
    shares, cmap="Greys", vmin=0, vmax=100, extent=extent
  )
  figure.colorbar(image, label="images of the class (percent)")
  edges = np.cumsum([run.groups[group].sum() for group in facts.SHOT_GROUPS])
  for edge in edges[:-1]:
    axes[0, 0].axhline(edge - 0.5, color=style.COLORS[1], linewidth=1.0)
    axes[0, 0].axvline(edge - 0.5, color=style.COLORS[1], linewidth=1.0)
  axes[0, 0].grid(visible=False)
  _name_classes(axes[0, 0], run)
  if len(order) <= _NAMED:
    names = axes[0, 0].get_xticklabels()
    axes[0, 0].set_yticks(range(len(order)), [n.get_text() for n in names])
  axes[0, 0].set(xlabel="taken for", ylabel="class, the largest first")
  style.caption(
    figure,
    f"{run.origin}. Test images, best epoch. Lines part many, medium and few.",
  )
  return figure


def shares_by_size(
  entries: Confusion, order: np.ndarray
) -> tuple[np.ndarray, int]:
  """A confusion matrix in percent, neighbouring classes taken together.

  Args:
    entries: of a confusion matrix of C classes.
    order: int [C], the classes in the order of the rows.

  Returns:
    (float64 [m, m], the mean over a row's classes of the share of their images
    that a column's classes get; classes a row, 1 up to 1000 classes).
  """
  num_classes = len(order)
  step = -(-num_classes // _CELLS)
  rank = np.argsort(order) // step
  shares = np.zeros((-(-num_classes // step),) * 2)
  totals = entries.totals()[entries.true]
  place = rank[entries.true], rank[entries.predicted]
  np.add.at(shares, place, 100 * entries.count / totals)
  return shares / np.bincount(rank)[:, None], step


# Name of the files -> figure of a run, None where it lacks the numbers.
FIGURES: dict[str, Callable[[RunRecord], Figure | None]] = {
  "class_counts": class_counts,
  "accuracy": accuracy,
  "class_accuracies": class_accuracies,
  "confusion": confusion,
  "perturbed": perturbed,
}


def _draw_classes(
  axes: Axes, run: RunRecord, values: np.ndarray, *, base: float
) -> None:
  """Steps of the classes' values by falling class size, a colour a group."""
  values = values[facts.by_size(run.class_counts)]
  first = 0
  for group in facts.SHOT_GROUPS:
    last = first + int(run.groups[group].sum())
    if last > first:
      look = style.GROUP_STYLE[group]
      axes.stairs(
        values[first:last],
        np.arange(first, last + 1) - 0.5,
        baseline=base,
        fill=True,
        label=f"{group} ({last - first})",
        facecolor=look["color"],
        hatch=look["hatch"],
        edgecolor="white",
        linewidth=0.0,
      )
    first = last
  axes.grid(visible=False, axis="x")
  _name_classes(axes, run)
  axes.set_xlabel("class, the largest first")
  axes.legend(loc="upper right")


def _name_classes(axes: Axes, run: RunRecord) -> None:
  """Names along x for few classes, ranks for many."""
  order = facts.by_size(run.class_counts)
  axes.set_xlim(-0.5, len(order) - 0.5)
  if len(order) > _NAMED:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return
  names = [style.short_name(run.class_names[c], 12) for c in order]
  long = max(len(name) for name in names) > 5
  axes.set_xticks(range(len(order)), names, rotation=45 if long else 0)
