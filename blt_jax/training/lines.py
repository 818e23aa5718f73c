"""The text that a run prints about its data set, epochs and results."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.data.text import printable
from blt_jax.method.metrics import GROUPS
from blt_jax.workdir.progress import EpochRow

# Most classes that a table has in full, classes at either end of a longer one,
# and most letters of a name.
_LISTED_CLASSES, _LISTED_ENDS, _NAME_WIDTH = 20, 5, 30


def epoch_line(row: EpochRow, *, epochs: int, left: str) -> str:
  """One finished epoch in one line."""
  validation = accuracies(row.validation)
  line = (
    f"stage {row.stage} epoch {row.epoch:>{len(str(epochs))}}/{epochs}  "
    f"loss {row.loss:.3f}  val {validation}  "
    f"{row.images_per_second:.0f} images/s"
  )
  if row.hallucinated_share > 0:
    line += f"  hallucinated {100 * row.hallucinated_share:.1f} %"
    if row.mean_updates > 0 or row.reached_share > 0:
      line += (
        f" ({row.mean_updates:.1f} updates, "
        f"{100 * row.reached_share:.0f} % reached)"
      )
  return f"{line}  left {left}"


def accuracies(values: Mapping[str, float]) -> str:
  """Accuracies by shot group in a line: overall 43.1 many 45.0 ..."""
  return " ".join(f"{group} {_percent(values[group])}" for group in GROUPS)


def dataset_lines(
  name: str,
  class_counts,
  groups: Mapping[str, Any],
  *,
  validation: int,
  test: int,
) -> str:
  """What a data set holds: images of each split, classes of each group."""
  sizes = ", ".join(
    f"{group} {int(mask.sum())}" for group, mask in groups.items()
  )
  return (
    f"{name}: {int(class_counts.sum())} training images in "
    f"{len(class_counts)} classes, {int(class_counts.max())} ... "
    f"{int(class_counts.min())} a class ({sizes}); {validation} validation and "
    f"{test} test images"
  )


def class_table(
  class_names: Sequence[str],
  counts: Mapping[str, np.ndarray],
  groups: Mapping[str, np.ndarray],
) -> str:
  """The classes by size: all of up to 20, else the 5 largest and 5 smallest."""
  order = np.argsort(-counts["training"], kind="stable").tolist()
  left_out = len(order) - 2 * _LISTED_ENDS
  shown = order
  if len(order) > _LISTED_CLASSES:
    shown = order[:_LISTED_ENDS] + order[-_LISTED_ENDS:]
  names = {c: _shortened(printable(class_names[c])) for c in shown}
  width = max(len("class"), *map(_columns, names.values()))
  lines = [f"{'class':<{width}}" + "".join(f"{part:>12}" for part in counts)]
  lines[0] += "  group"
  for place, c in enumerate(shown):
    if len(shown) < len(order) and place == _LISTED_ENDS:
      lines.append(f"... {left_out} classes between these ...")
    (group,) = (group for group, mask in groups.items() if mask[c])
    images = "".join(f"{int(n[c]):>12}" for n in counts.values())
    padding = " " * (width - _columns(names[c]))
    lines.append(f"{names[c]}{padding}{images}  {group}")
  return "\n".join(lines)


def _columns(text: str) -> int:
  """How many columns of a terminal a text takes: Chinese letters two each."""
  return sum(
    2 if unicodedata.east_asian_width(letter) in "WF" else 1
    for letter in unicodedata.normalize("NFC", text)
  )


def _shortened(name: str) -> str:
  """A name that fits into a line."""
  if len(name) <= _NAME_WIDTH:
    return name
  return f"{name[: _NAME_WIDTH - 3]}..."


def results_table(results: Mapping[str, Any]) -> str:
  """The final table: top-1 by shot group of the best and the last epoch."""
  lines = [
    f"{results['method']} on {results['dataset']}, seed {results['seed']}: "
    "top-1 in percent, mean of per-class accuracies",
    f"{'':>28}" + "".join(f"{group:>9}" for group in GROUPS),
  ]
  for which in ("best", "last"):
    for split in ("validation", "test"):
      name = f"{which} epoch ({results[which]['epoch']}) {split}"
      values = (results[which][split][group] for group in GROUPS)
      lines.append(f"{name:>28}" + "".join(f"{_percent(v):>9}" for v in values))
  return "\n".join(lines)


def _percent(value: float | None) -> str:
  if value is None or not math.isfinite(value):
    return "-"
  return f"{value:.1f}"
