"""Images before and after the ascent, with what changed between them."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from blt_jax.report import style
from blt_jax.report.chart import Chart
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Examples

_ROWS = 6  # Most examples one below the other.
_WIDTH, _ROW = 4.4, 0.94  # Inches of a column and of a row.
_HEADING, _CAPTION = 0.25, 0.65  # Inches above and below the images.
_SIDE = 128  # Most pixels a side; larger images are made smaller.
_FACTORS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)


def perturbed(run: RunRecord, *, most: int = 12) -> Chart | None:
  """Some examples: original, amplified change around grey, and result.

  Beside each stand its classes, the target's confidence before and after, the
  confidence that was drawn as the goal, and the number of updates.
  """
  examples = run.examples
  if examples is None or not len(examples):
    return None
  chosen = choose(examples, most)
  columns = -(-len(chosen) // _ROWS)
  rows = -(-len(chosen) // columns)
  height = _HEADING + rows * _ROW + _CAPTION
  figure, axes = style.new_figure(
    _WIDTH * columns,
    height,
    rows=rows,
    columns=4 * columns,
    gridspec_kw={"width_ratios": [1, 1, 1, 2.1] * columns},
  )
  figure.set_layout_engine(None)
  figure.subplots_adjust(
    left=0.005,
    right=1.0,
    bottom=_CAPTION / height,
    top=1 - _HEADING / height,
    wspace=0.06,
    hspace=0.06,
  )
  for each in axes.flat:
    each.set_axis_off()
  shown = sorted({*examples.label[chosen], *examples.target[chosen]})
  short = style.short_names([run.class_names[int(c)] for c in shown], 15)
  names = dict(zip(shown, short, strict=True))
  for place, number in enumerate(chosen):
    column, row = divmod(place, rows)
    _example(axes[row, 4 * column : 4 * column + 4], names, examples, number)
  for column in range(columns):
    for part, name in enumerate(("original", "change", "result")):
      axes[0, 4 * column + part].set_title(
        name, loc="center", fontsize=9, fontweight="normal", color=style.SOFT
      )
  caption = (
    f"{run.origin}. Percent: the network's confidence in the class moved to, "
    "before → after. Change: amplified, grey where nothing changes."
  )
  figure.text(
    0.005,
    0.02,
    textwrap.fill(caption, 62 * columns),
    fontsize=9,
    color=style.SOFT,
  )
  reached = int(np.sum(examples.reached[chosen]))
  return Chart(
    figure,
    "Perturbed images",
    f"{len(chosen)} examples, {reached} of which reached their goal.",
    photos=True,
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


def amplification(difference: np.ndarray) -> int:
  """The factor that makes a perturbation fill the range from black to white.

  Args:
    difference: float [h, w, 3], perturbed minus original, in 0..1 units.

  Returns:
    The largest factor of 1, 2, 3, 5, 10, ... 1000 that takes 99 % of the values
    into -0.5..0.5; 1 where none does, and 0 for no difference at all.
  """
  if not difference.any():
    return 0
  size = float(np.quantile(np.abs(difference), 0.99))
  fitting = [factor for factor in _FACTORS if factor * size <= 0.5]
  return fitting[-1] if fitting else _FACTORS[0]


def _example(
  axes: np.ndarray, names: Mapping[int, str], examples: Examples, number: int
) -> None:
  """Three images and their text in a row of axes."""
  original, result = examples.original[number], examples.perturbed[number]
  factor = amplification(result - original)
  images = original, 0.5 + factor * (result - original), result
  for each, image in zip(axes, images, strict=False):
    _show(each, image)
  label, target = (
    names[int(which[number])] for which in (examples.label, examples.target)
  )
  before, after, goal = (
    f"{100 * values[number]:.1f} %"
    for values in (examples.before, examples.after, examples.confidence)
  )
  updates = int(examples.num_updates[number])
  lines = (
    f"→ {target}",
    f"{before} → {after}",
    f"goal {goal} {'reached' if examples.reached[number] else 'missed'}",
    f"{updates} update{'' if updates == 1 else 's'}"
    + (f", change × {factor}" if factor > 1 else ""),
  )
  axes[3].text(0.04, 0.97, label, va="top", fontweight="bold", fontsize=10)
  axes[3].text(
    0.04, 0.78, "\n".join(lines), va="top", fontsize=9.5, linespacing=1.2
  )


def _show(axes: Axes, image: np.ndarray) -> None:
  pixels = Image.fromarray(np.uint8(np.rint(255 * np.clip(image, 0, 1))))
  pixels.thumbnail((_SIDE, _SIDE))
  # "none" keeps the pixels as they are in an SVG.
  axes.imshow(np.asarray(pixels), interpolation="none")
