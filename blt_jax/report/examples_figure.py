"""Originals, perturbations and results as a figure for print."""

import numpy as np
from matplotlib.axes import Axes

from blt_jax.report import style
from blt_jax.report.chart import Chart
from blt_jax.report.html.pictures import amplification
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Examples

_MOST = 8  # Images side by side.
_SMALL = 64  # Pixels a side up to which each pixel is shown as a square.
_ROWS = ("original", "perturbation", "result")


def perturbed(run: RunRecord) -> Chart | None:
  """Up to 8 perturbed images of a run, in three rows.

  Original, perturbation (amplified, around grey) and result, with the classes,
  the confidence before and after, the drawn threshold and the updates.

  Args:
    run: a run.

  Returns:
    A chart with 3 x n axes, or None for a run that kept no examples.
  """
  examples = run.examples
  if examples is None or not len(examples):
    return None
  chosen = choose(examples, _MOST)
  change = examples.perturbed[chosen] - examples.original[chosen]
  factor = amplification(change) or 1
  figure, axes = style.new_figure(
    max(4.0, 1.0 + 1.3 * len(chosen)), 5.8, rows=3, columns=len(chosen)
  )
  figure.set_layout_engine("constrained", h_pad=0.06)
  for column, number in enumerate(chosen):
    _show(axes[0, column], examples.original[number])
    _show(axes[1, column], 0.5 + factor * change[column])
    _show(axes[2, column], examples.perturbed[number])
    axes[0, column].set_title(
      _classes(run, examples, number),
      loc="center",
      fontsize=8,
      fontweight="normal",
    )
    axes[2, column].set_xlabel(_numbers(examples, number), fontsize=8)
  for row, name in enumerate(_ROWS):
    amplified = f"\n× {factor}" if row == 1 else ""
    axes[row, 0].set_ylabel(name + amplified, fontsize=9)
  amplified = f", amplified {factor} times" if factor > 1 else ""
  style.caption(
    figure,
    f"{run.origin}. Above: class → target class. Below: softmax "
    "probability of the target class before → after, the drawn threshold, and "
    "updates of the gradient ascent. Perturbations: grey is no "
    f"change{amplified}.",
  )
  return Chart(
    figure,
    "Perturbed images",
    f"{len(chosen)} images, amplified {factor} times.",
  )


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


def _show(axes: Axes, image: np.ndarray) -> None:
  small = max(image.shape[:2]) <= _SMALL
  axes.imshow(
    np.clip(image, 0.0, 1.0), interpolation="nearest" if small else "auto"
  )
  axes.set_xticks([])
  axes.set_yticks([])
  axes.grid(visible=False)
  axes.spines[:].set_visible(False)


def _classes(run: RunRecord, examples: Examples, number: int) -> str:
  label, target = (
    style.short_name(run.class_names[int(which[number])], 17, lines=2)
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
