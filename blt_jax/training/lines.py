"""The text that a run prints about its data set, epochs and results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.data.text import columns, padded, printable, shortened_apart
from blt_jax.method.metrics import GROUPS
from blt_jax.workdir.progress import EpochRow

# Most classes that a table has in full, classes at either end of a longer one,
# and most columns of a name.
_LISTED_CLASSES, _LISTED_ENDS, _WIDTH = 20, 5, 30


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
  image_groups: Mapping[str, np.ndarray] | None = None,
) -> str:
  """The classes by size: all of up to 20, else the 5 largest and 5 smallest.

  Args:
    class_names: [C].
    counts: images of each class, int [C], in each split.
    groups: bool [C] of each shot group.
    image_groups: groups of images (cameras, patients) of each class, int [C],
      in the splits that have groups.

  Returns:
    A line for the heads of the columns and one for each class.
  """
  order = np.argsort(-counts["training"], kind="stable").tolist()
  left_out = len(order) - 2 * _LISTED_ENDS
  shown = order
  if len(order) > _LISTED_CLASSES:
    shown = order[:_LISTED_ENDS] + order[-_LISTED_ENDS:]
  names = shortened_apart([printable(class_names[c]) for c in shown], _WIDTH)
  width = max(len("class"), *map(columns, names))
  heads = {
    part: f"{part} (groups)" if part in (image_groups or {}) else part
    for part in counts
  }
  sides = {part: max(12, len(head) + 2) for part, head in heads.items()}
  lines = [padded("class", width)]
  lines[0] += "".join(f"{heads[p]:>{sides[p]}}" for p in counts) + "  group"
  for place, (c, name) in enumerate(zip(shown, names, strict=True)):
    if len(shown) < len(order) and place == _LISTED_ENDS:
      lines.append(f"... {left_out} classes between these ...")
    (group,) = (group for group, mask in groups.items() if mask[c])
    cells = (
      f"{_size(c, n, (image_groups or {}).get(part)):>{sides[part]}}"
      for part, n in counts.items()
    )
    lines.append(f"{padded(name, width)}{''.join(cells)}  {group}")
  return "\n".join(lines)


def _size(c: int, images: np.ndarray, groups: np.ndarray | None) -> str:
  """How many images a class has in a split, and of how many groups."""
  return f"{images[c]}" if groups is None else f"{images[c]} ({groups[c]})"


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
