"""What one setting gains over another, class by class (main paper)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from blt_jax.data.text import columns
from blt_jax.experiments.figures import parts
from blt_jax.method import metrics
from blt_jax.report import style
from blt_jax.report.measures import SHOT_GROUPS, by_size
from blt_jax.report.record import RunRecord

_NAMED = 30  # Classes up to which each is named and has whiskers.


@parts.figure_of
def per_class_gain(results: parts.Results, paper: parts.Paper) -> Figure:
  """Difference in test accuracy of every class, in order of training images.

  The setting with perturbation minus the one without; the first minus the
  second where they do not differ in that.

  Raises:
    ValueError: if there is one setting only, the settings differ in classes, or
      a run has no confusion matrix of the test.
  """
  del paper
  better, base = _pair(results)
  record = results[better][0]
  counts = parts.needed(record.class_counts, record, "class counts")
  gains = _gains(results[better], results[base])
  order = by_size(counts)
  mean, deviation = parts.mean_and_deviation(gains[:, order], axis=0)
  figure, axes = style.new_figure(8.2, 4.2)
  handles = []
  for group in SHOT_GROUPS:
    places = np.flatnonzero(record.groups[group][order])
    places = places[~np.isnan(mean[places])]
    if not len(places):
      continue
    whiskers = deviation[places] if len(gains) > 1 else None
    handles.append(_group_bars(axes[0, 0], group, places, mean, whiskers))
  axes[0, 0].axhline(0.0, color=style.INK, linewidth=0.8)
  axes[0, 0].set_ylabel(f"{better} − {base}\n(percentage points)")
  _name_classes(axes[0, 0], record, order)
  style.legend(figure, handles)
  both = {label: results[label] for label in (better, base)}
  with_whiskers = len(gains) > 1 and len(order) <= _NAMED
  remark = parts.deviation_remark(both, "whiskers") if with_whiskers else ""
  style.caption(
    figure,
    f"{parts.provenance(both)}{remark}. {parts.TESTED}. Lines: mean of the "
    "group.",
  )
  return figure


def _pair(results: parts.Results) -> tuple[str, str]:
  """Labels of the setting that gains and of the one it is compared with."""
  labels = list(results)
  if len(labels) < 2:
    raise ValueError(
      f"the only setting is {labels[0]}; expected two to compare."
    )
  kinds = {parts.hallucinates(records[0]) for records in results.values()}
  if len(kinds) == 2:
    return parts.with_and_without(results)
  return labels[0], labels[1]


def _gains(
  better: Sequence[RunRecord], base: Sequence[RunRecord]
) -> np.ndarray:
  """Gain of each class: a row for each seed, or of means if seeds differ."""
  ours, theirs = (
    {int(r.config.seed): _accuracies(r) for r in records}
    for records in (better, base)
  )
  sizes = {len(a) for a in (*ours.values(), *theirs.values())}
  if len(sizes) > 1:
    raise ValueError(
      f"{better[0].workdir} and {base[0].workdir} differ in classes: "
      f"{' and '.join(str(size) for size in sorted(sizes))}; expected the same."
    )
  if ours.keys() == theirs.keys():
    return np.stack([ours[seed] - theirs[seed] for seed in sorted(ours)])
  means = [np.stack(list(a.values())).mean(axis=0) for a in (ours, theirs)]
  return (means[0] - means[1])[None]


def _accuracies(record: RunRecord) -> np.ndarray:
  entries = parts.test_entries(record)
  return metrics.class_accuracies(entries.correct(), entries.totals())


def _group_bars(
  axes: Axes,
  group: str,
  places: np.ndarray,
  mean: np.ndarray,
  whiskers: np.ndarray | None,
) -> Patch:
  """The bars of a group and their mean; returns the entry of the legend."""
  look = style.GROUP_STYLE[group]
  color, hatch = look["color"], look["hatch"]
  if len(mean) <= _NAMED:
    axes.bar(
      places,
      mean[places],
      0.85,
      facecolor=color,
      hatch=hatch,
      edgecolor="white",
      yerr=whiskers,
      error_kw=parts.WHISKERS,
    )
  else:  # One shape, because thousands of bars take long to draw.
    axes.fill_between(
      places, mean[places], step="mid", facecolor=color, linewidth=0
    )
  middle = float(mean[places].mean())
  axes.hlines(
    middle,
    places.min() - 0.5,
    places.max() + 0.5,
    colors=style.INK,
    linewidth=1.6,
  )
  return Patch(
    facecolor=color,
    edgecolor="white",
    hatch=hatch if len(mean) <= _NAMED else "",
    label=f"{group}: mean {middle:+.1f}",
  )


def _name_classes(axes: Axes, record: RunRecord, order: np.ndarray) -> None:
  axes.grid(visible=False, axis="x")
  axes.set_xlim(-0.7, len(order) - 0.3)
  if len(order) > _NAMED:
    axes.set_xlabel("classes, from most to fewest training images")
    return
  names = style.short_names([record.class_names[c] for c in order], 18)
  long = max(map(columns, names)) > 6
  axes.set_xticks(
    range(len(order)),
    [
      f"{name}\n({record.class_counts[c]})"
      for c, name in zip(order, names, strict=True)
    ],
    rotation=90 if long or len(order) > 15 else 0,
    fontsize=8,
  )
  axes.set_xlabel("class (training images)")
