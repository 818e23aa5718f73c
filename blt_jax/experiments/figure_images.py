"""Originals, perturbations and results (supplement, figure 1)."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blt_jax.experiments import figure_parts as parts
from blt_jax.report import style
from blt_jax.report.record import Examples, RunRecord

_MOST = 8  # Images side by side.
_SMALL = 64  # Pixels a side up to which each pixel is shown as a square.
_ROWS = ("original", "perturbation", "result")


@parts.figure_of
def images(results: parts.Results, paper: parts.Paper) -> Figure:
  """Images of the first run with perturbation, in three rows.

  Original, perturbation (amplified, around grey) and result, with the classes,
  the confidence before and after, the drawn threshold and the updates.

  Args:
    results: the runs of each setting.
    paper: not used; the paper's figure has no numbers.

  Returns:
    A figure with 3 x n axes, n at most 8.

  Raises:
    ValueError: if no setting perturbs, or the run kept no examples.
  """
  del paper
  record = _first_with_perturbation(results)
  examples = parts.needed(record.examples, record, "perturbed.npz")
  chosen = choose(examples, _MOST)
  change = examples.perturbed[chosen] - examples.original[chosen]
  factor = amplification(change)
  figure, axes = style.new_figure(
    max(4.0, 1.0 + 1.3 * len(chosen)), 5.8, rows=3, columns=len(chosen)
  )
  figure.set_layout_engine("constrained", h_pad=0.06)
  for column, number in enumerate(chosen):
    original = examples.original[number]
    _show(axes[0, column], original)
    _show(axes[1, column], 0.5 + factor * change[column])
    _show(axes[2, column], examples.perturbed[number])
    axes[0, column].set_title(
      _classes(record, examples, number),
      loc="center",
      fontsize=8,
      fontweight="normal",
    )
    axes[2, column].set_xlabel(_numbers(examples, number), fontsize=8)
  for row, name in enumerate(_ROWS):
    amplified = f"\n× {factor:g}" if row == 1 else ""
    axes[row, 0].set_ylabel(name + amplified, fontsize=9)
  parts.caption(
    figure,
    f"{record.config.dataset.name}, {record.config.method}, seed "
    f"{record.config.seed}. Above: class → target class. Below: softmax "
    "probability of the target class before → after, the drawn threshold, and "
    "updates of the gradient ascent. Perturbations: grey is no change"
    + (f", amplified {factor:g} times." if factor > 1 else "."),
  )
  return figure


def choose(examples: Examples, most: int) -> list[int]:
  """Numbers of examples to show: changed ones first, spread over classes."""
  seen: dict[int, int] = {}
  keys = []
  for number, label in enumerate(examples.label):
    occurrence = seen.get(int(label), 0)
    seen[int(label)] = occurrence + 1
    unchanged = examples.num_updates[number] == 0
    keys.append((bool(unchanged), occurrence, number))
  return sorted(number for _, _, number in sorted(keys)[:most])


def amplification(change: np.ndarray) -> float:
  """A round factor (1, 2, 5, 10, ...) that makes changes fill 0..1.

  Args:
    change: float, any shape, in units of 0..1 images.

  Returns:
    The largest round factor, 1 or more, with which all but two percent of the
    values stay within half the range; 1 where nothing changes.
  """
  largest = float(np.percentile(np.abs(change), 98)) if change.size else 0.0
  if largest <= 0:
    return 1.0
  power = 10.0 ** math.floor(math.log10(0.5 / largest))
  digit = max(d for d in (1, 2, 5) if d * power <= 0.5 / largest * (1 + 1e-9))
  return max(1.0, digit * power)


def _first_with_perturbation(results: parts.Results) -> RunRecord:
  for records in results.values():
    if parts.hallucinates(records[0]):
      return records[0]
  raise ValueError(
    f"none of the settings {', '.join(results)} is with perturbation: there "
    "are no perturbed images to show."
  )


def _show(axes: Axes, image: np.ndarray) -> None:
  small = max(image.shape[:2]) <= _SMALL
  axes.imshow(
    np.clip(image, 0.0, 1.0), interpolation="nearest" if small else "auto"
  )
  axes.set_xticks([])
  axes.set_yticks([])
  axes.grid(visible=False)
  axes.spines[:].set_visible(False)


def _classes(record: RunRecord, examples: Examples, number: int) -> str:
  names = record.class_names
  label, target = (
    parts.short_name(names[int(which[number])], 17, lines=2)
    for which in (examples.label, examples.target)
  )
  return f"{label}\n→ {target}"


def _numbers(examples: Examples, number: int) -> str:
  before, after = examples.before[number], examples.after[number]
  updates = int(examples.num_updates[number])
  missed = "" if examples.reached[number] else "\nnot reached"
  return (
    f"{before:.2f} → {after:.2f}\nthreshold {examples.confidence[number]:.2f}\n"
    f"{updates} update{'' if updates == 1 else 's'}{missed}"
  )
