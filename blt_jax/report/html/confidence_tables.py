"""Tables of what a network's confidence is worth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.report.confidence import Threshold
from blt_jax.report.html.markup import Markup, join
from blt_jax.report.html.run_tables import chip, percent, row, table
from blt_jax.report.measures import TAIL_FIRST


def calibration_table(best: Mapping[str, Any]) -> Markup | None:
  """NLL and ECE on the test images before and after temperature scaling.

  Args:
    best: of results.json.
  """
  tested = best.get("test", {})
  after = tested.get("calibrated")
  if after is None:
    return None
  rows = []
  for group in TAIL_FIRST:
    both = [
      split if group == "overall" else split["groups"].get(group, {})
      for split in (tested, after)
    ]
    cells = [_number(one.get(n)) for n in ("nll", "ece") for one in both]
    if any(cell != "–" for cell in cells):
      rows.append(row(chip(group), *cells))
  head = ("", "NLL before", "after", "ECE before", "after")
  how = (
    "no temperature fits the validation images, and nothing changes"
    if best["temperature"] == 1
    else f"logits are divided by {best['temperature']:.3g}, which was fitted "
    "on the validation images"
  )
  caption = (
    "Negative log-likelihood and calibration error (ECE, 15 bins, 0 to 1) on "
    f"the test images, before and after temperature scaling: {how}"
  )
  return table(head, rows, caption=caption, class_="numbers")


def _number(value: float | None) -> str:
  return percent(value, digits=3)


def thresholds_table(found: Sequence[Threshold]) -> Markup | None:
  """The confidences that were chosen, and what they lead to on test images."""
  rows = [
    row(
      join(f"{100 * one.precision:.0f}\u00a0%\u00a0", chip(one.group)),
      *_cells(one),
    )
    for one in found
  ]
  if not rows:
    return None
  head = ("", "confidence", "images", "precision, %", "kept, %")
  caption = (
    "The lowest confidence from which on so many answers on the validation "
    "images are right, and the number of these; then the precision that it has "
    "on the test images, and the share of their answers that is kept"
  )
  return table(head, rows, caption=caption, class_="numbers thresholds")


def _cells(found: Threshold) -> tuple[str, ...]:
  if found.confidence is None:
    return ("not reached", "–", "–", "–")
  # Rounded down: images of just this confidence are kept. Those of a sure
  # network differ in the digits behind a row of nines only.
  digits = 4 if found.confidence < 0.99 else 6
  limit = math.floor(10**digits * found.confidence) / 10**digits
  return (
    f"{limit:.{digits}f}",
    f"{found.images:,}",
    percent(100 * found.tested),
    percent(100 * found.coverage),
  )
