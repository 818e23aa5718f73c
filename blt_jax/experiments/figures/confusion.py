"""Which classes the tail is confused with (supplement, figure 3; paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from blt_jax.experiments.figures import parts
from blt_jax.report import chart, style
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Confusion

_SHOWN = 2  # Tail classes of confused_classes, as in the paper.
_SIDE_BY_SIDE = 400  # Most classes for which two pictures fit side by side.
_COLUMNS = 1000  # Most columns of a picture, so that each has a pixel.
_NUMBERED = 10  # Ranks up to which each has a tick.
_FEW_RANKS = 30  # Ranks up to which each is marked.
_COLORS = ListedColormap([style.INK, "#ffffff"]).with_extremes(bad=parts.GREY)

# (stage, epoch) of each line of a picture, from top to bottom.
Epochs = list[tuple[int, int]]


@parts.figure_of
def confused_classes(results: parts.Results, paper: parts.Paper) -> Figure:
  """Classes that tail classes are taken for, by epoch, without and with BLT.

  Raises:
    ValueError: if one of the two settings, a tail or the confusion matrices of
      stage 2 are missing.
  """
  del paper
  with_label, without_label = parts.with_and_without(results)
  labels = (without_label, with_label)
  runs = {label: [_history(r) for r in results[label]] for label in labels}
  first = results[without_label][0]
  tail = _tail(first)
  shown = most_confused(_first_of_stage2(runs[without_label][0]), tail)
  epochs = sorted({epoch for label in labels for epoch in runs[label][0]})
  figure, pictures, lines = _layout(len(shown), len(tail_counts(first)))
  names = style.short_names([first.class_names[c] for c in shown], 30)
  for row, (number, name) in enumerate(zip(shown, names, strict=True)):
    for column, label in enumerate(labels):
      axes = pictures[row, column]
      _picture(axes, runs[label][0], epochs, number)
      axes.set_title(f"{name}: {label}", fontsize=9)
  for number, label in enumerate(labels):
    _count_lines(lines, runs[label], epochs, tail, label, number)
  _finish_lines(lines, epochs)
  handles, _ = lines.get_legend_handles_labels()
  style.legend(
    figure,
    [
      Patch(facecolor="white", edgecolor=style.INK, label="confused"),
      Patch(facecolor=style.INK, edgecolor=style.INK, label="not confused"),
      Line2D([], [], **_BOUNDARY, label="stage 2 begins"),
      *handles,
    ],
  )
  style.caption(
    figure,
    f"{_origin({k: results[k] for k in labels})}. Confused: some validation "
    "image of the class is taken for that one. Shown are the tail classes that "
    "are confused with the most classes after the first epoch of stage 2 of "
    f"“{without_label}”.",
  )
  return figure


@parts.figure_of
def confusion_rank(results: parts.Results, paper: parts.Paper) -> Figure:
  """Mean confusion of tail classes against the rank of the confusing class.

  For each tail class, the share of its test images taken for the class that it
  is confused with most, second most, ...; then the mean over tail classes.

  Raises:
    ValueError: if a run has no tail or no confusion matrix of the test.
  """
  del paper
  curves = {
    label: np.stack(
      [rank_shares(parts.test_entries(r), _tail(r)) for r in records]
    )
    for label, records in results.items()
  }
  figure, axes = style.new_figure(6.4, 4.2)
  handles = []
  for number, (label, shares) in enumerate(curves.items()):
    mean, deviation = parts.mean_and_deviation(shares, axis=0)
    ranks = np.flatnonzero(mean > 0) + 1
    mean, deviation = mean[ranks - 1], deviation[ranks - 1]
    look = style.series_style(number)
    if len(ranks) > _FEW_RANKS:
      look["marker"] = ""
    (line,) = axes[0, 0].plot(ranks, mean, label=label, **look)
    handles.append(line)
    if len(shares) > 1 and len(ranks):
      low = np.maximum(mean - deviation, mean / 100)
      axes[0, 0].fill_between(
        ranks, low, mean + deviation, color=look["color"], alpha=0.2, lw=0
      )
  _log_axes(axes[0, 0], handles)
  axes[0, 0].set_xlabel("rank of the confusing class (1: the most confusing)")
  axes[0, 0].set_ylabel("images of a tail class\ntaken for it (percent)")
  style.legend(figure, handles, columns=min(len(handles), 3))
  style.caption(
    figure,
    f"{parts.provenance(results)}{parts.deviation_remark(results, 'band')}. "
    f"{parts.TESTED}; mean over the tail classes. A rank that no image "
    "falls on has no point.",
  )
  return figure


def _origin(results: parts.Results) -> str:
  """The origin of the lines, and of the pictures if these show one seed."""
  remark = parts.deviation_remark(results, "band")
  if remark:
    remark += f"; pictures: seed {next(iter(results.values()))[0].config.seed}"
  return parts.provenance(results) + remark


def _log_axes(axes: Axes, lines: Sequence[Line2D]) -> None:
  """Logarithmic axes around the lines, with ticks at 1, 2, 5, 10, ..."""
  ranks, shares = np.concatenate([line.get_xydata() for line in lines]).T
  if not len(ranks):  # A logarithmic axis needs a number above 0.
    axes.set(xlim=(0.9, _NUMBERED), ylim=(0.1, 100.0))
  axes.set(xscale="log", yscale="log")
  for axis in (axes.xaxis, axes.yaxis):
    parts.log_ticks(axis)
  if len(ranks):
    axes.set_ylim(shares.min() / 2, shares.max() * 2)
    if ranks.max() <= _NUMBERED:
      axes.set_xticks(np.arange(1, ranks.max() + 1))


def rank_shares(entries: Confusion, tail: np.ndarray) -> np.ndarray:
  """Share of images taken for the k-th most confusing class, tail mean.

  Args:
    entries: confusion of C classes.
    tail: int [t], the tail classes; those without images have no part.

  Returns:
    float64 [C - 1], percent, for k = 1 ... C - 1.
  """
  totals = entries.totals()
  sums = np.zeros(entries.num_classes - 1)
  wrong = entries.true != entries.predicted
  with_images = [number for number in tail if totals[number]]
  for number in with_images:
    counts = np.sort(entries.count[wrong & (entries.true == number)])[::-1]
    sums[: len(counts)] += 100.0 * counts / totals[number]
  return sums / max(len(with_images), 1)


def confused_with(entries: Confusion, number: int) -> np.ndarray:
  """The classes that images of a class are taken for: int [k]."""
  wrong = (entries.true == number) & (entries.predicted != number)
  return entries.predicted[wrong & (entries.count > 0)]


def num_confused(entries: Confusion) -> np.ndarray:
  """With how many other classes each class is confused: int64 [C]."""
  wrong = (entries.true != entries.predicted) & (entries.count > 0)
  return np.bincount(entries.true[wrong], minlength=entries.num_classes)


def most_confused(entries: Confusion, tail: np.ndarray) -> list[int]:
  """The two tail classes that are confused with the most classes."""
  numbers = num_confused(entries)[tail]
  order = np.argsort(-numbers, kind="stable")
  return [int(tail[place]) for place in order[:_SHOWN]]


def tail_counts(record: RunRecord) -> np.ndarray:
  """Training images of each class, int64 [C].

  Raises:
    ValueError: if they are not recorded.
  """
  return parts.needed(record.class_counts, record, "class counts")


def _tail(record: RunRecord) -> np.ndarray:
  """Numbers of the tail classes."""
  tail_counts(record)
  limit = record.config.dataset.few_up_to
  what = f"classes with at most {limit} training images"
  return parts.needed(np.flatnonzero(record.groups["few"]), record, what)


def _history(record: RunRecord) -> dict[tuple[int, int], Confusion]:
  """Confusion on validation after each recorded epoch of both stages."""
  history = {
    (stage, epoch): entries
    for stage in (1, 2)
    for epoch, entries in record.validation_entries(stage).items()
  }
  stage2 = [key for key in history if key[0] == 2]
  parts.needed(stage2, record, "confusion/stage2-epoch*.npz")
  return history


def _first_of_stage2(history: dict[tuple[int, int], Confusion]) -> Confusion:
  return history[min(key for key in history if key[0] == 2)]


_BOUNDARY: dict[str, Any] = {
  "color": style.PALETTE["pink"][0],
  "linestyle": (0, (6, 2)),
  "linewidth": 1.6,
}


def _layout(rows: int, num_classes: int) -> tuple[Figure, np.ndarray, Axes]:
  """A figure, axes of the pictures [class, setting] and of the line plot."""
  columns = 2 if num_classes <= _SIDE_BY_SIDE else 1
  grid_rows = rows * 2 // columns
  width = 7.4 if columns == 2 else 8.2
  heights = [2.0 if columns == 2 else 1.6] * grid_rows + [2.2]
  figure, axes = style.new_figure(
    width,
    sum(heights) + 1.0,
    rows=grid_rows + 1,
    columns=columns,
    gridspec_kw={"height_ratios": heights},
  )
  for last in axes[-1]:
    last.remove()
  lines = figure.add_subplot(axes[0, 0].get_gridspec()[-1, :])
  return figure, axes[:-1].reshape(rows, 2), lines


def _picture(
  axes: Axes,
  history: dict[tuple[int, int], Confusion],
  epochs: Epochs,
  number: int,
) -> None:
  """White where a class is taken for another, black where not."""
  num_classes = next(iter(history.values())).num_classes
  step = -(-num_classes // _COLUMNS)
  picture = np.full((len(epochs), -(-num_classes // step)), np.nan)
  for row, key in enumerate(epochs):
    if key in history:
      picture[row] = 0.0
      picture[row, confused_with(history[key], number) // step] = 1.0
  extent = (-0.5, picture.shape[1] * step - 0.5, len(epochs) - 0.5, -0.5)
  axes.imshow(
    picture,
    cmap=_COLORS,
    vmin=0,
    vmax=1,
    aspect="auto",
    interpolation="nearest",
    extent=extent,
  )
  axes.grid(visible=False)
  _epoch_ticks(axes.set_yticks, epochs, most=6)
  axes.set_ylabel("epoch")
  many = f" ({step} a column)" if step > 1 else ""
  axes.set_xlabel(f"class number{many}")
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  begin = _boundary(epochs)
  if begin is not None:
    axes.axhline(begin, **_BOUNDARY)


def _count_lines(
  axes: Axes,
  histories: Sequence[dict[tuple[int, int], Confusion]],
  epochs: Epochs,
  tail: np.ndarray,
  label: str,
  number: int,
) -> None:
  """Number of confused classes by epoch, mean over the tail and the seeds."""
  places = [p for p, e in enumerate(epochs) if all(e in h for h in histories)]
  values = np.array(
    [
      [num_confused(h[epochs[place]])[tail].mean() for place in places]
      for h in histories
    ]
  )
  mean, deviation = parts.mean_and_deviation(values, axis=0)
  look = style.series_style(number)
  if len(places) > _FEW_RANKS:
    look["marker"] = ""
  axes.plot(places, mean, label=label, **look)
  if len(histories) > 1:
    axes.fill_between(
      places,
      mean - deviation,
      mean + deviation,
      color=look["color"],
      alpha=0.2,
      lw=0,
    )


def _finish_lines(axes: Axes, epochs: Epochs) -> None:
  _epoch_ticks(axes.set_xticks, epochs, most=12)
  axes.set_xlabel("epoch")
  axes.set_ylabel("confused classes of\na tail class (mean)")
  axes.set_ylim(bottom=0)
  begin = _boundary(epochs)
  if begin is not None:
    axes.axvline(begin, **_BOUNDARY)


def _boundary(epochs: Epochs) -> float | None:
  """Where stage 2 begins, between two places, None without stage 1."""
  first = sum(stage == 1 for stage, _ in epochs)
  return first - 0.5 if first else None


def _epoch_ticks(set_ticks: Any, epochs: Epochs, *, most: int) -> None:
  """Numbers the epochs, about `most` of them, from 1 in each stage."""
  step = chart.round_step(len(epochs), most)
  places = [
    place
    for place, (_, epoch) in enumerate(epochs)
    if epoch == 1 or epoch % step == 0
  ]
  set_ticks(places, [str(epochs[place][1]) for place in places])
