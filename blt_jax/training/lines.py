"""The text that a run prints about its data set, epochs and results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from blt_jax.data.text import columns, padded, printable, shortened_apart
from blt_jax.method.metrics import GROUPS
from blt_jax.workdir.progress import EpochRow

# Most classes that a table has in full, classes at either end of a longer one,
# and most columns of a name.
_LISTED_CLASSES, _LISTED_ENDS, _WIDTH = 20, 5, 30

FIVE_CROP = "logits are means over five crops of an image"
"""What an evaluation with `dataset.five_crop` says."""


def epoch_line(
  row: EpochRow, *, epochs: int, left: str, best: EpochRow | None = None
) -> str:
  """One finished epoch in one line.

  Args:
    row: of the epoch.
    epochs: most epochs of its stage.
    left: time that the run will still take.
    best: of the stage, if it ends early after this epoch.
  """
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
  line += f"  left {left}"
  if best is not None:
    line += (
      f"  ends early: overall {_percent(best.val_overall)} of epoch "
      f"{best.epoch} was not raised since (config.stage{row.stage}.patience is "
      f"{row.epoch - best.epoch})"
    )
  return line


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


def parameters_line(params: Mapping[str, Any], *, are_trained: bool) -> str:
  """How many parameters a network has, by its parts.

  Args:
    params: {"backbone", "classifier", ...: trees of arrays}.
    are_trained: whether all of them are trained.
  """
  sizes = {
    part: sum(leaf.size for leaf in jax.tree.leaves(tree))
    for part, tree in params.items()
  }
  parts = ", ".join(f"{part} {size:,}" for part, size in sizes.items())
  return (
    f"parameters: {sum(sizes.values()):,} ({parts})"
    f"{', all trained' * are_trained}; parameters.txt has each"
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
  """The final table: top-1 by shot group and macro F1, of best and last epoch.

  The test images have 95 % intervals. Lines on what the test set is and on the
  calibration of the best epoch follow.
  """
  lines = [
    f"{results['method']} on {results['dataset']}, seed {results['seed']}: "
    "top-1 in percent, mean of per-class accuracies",
    f"{'':>28}" + "".join(f"{head:>12}" for head in (*GROUPS, "macro F1")),
  ]
  for which in ("best", "last"):
    for split in ("validation", "test"):
      name = f"{which} epoch ({results[which]['epoch']}) {split}"
      found = results[which][split]
      values = (found[key] for key in (*GROUPS, "macro_f1"))
      lines.append(
        f"{name:>28}" + "".join(f"{_percent(v):>12}" for v in values)
      )
    ends = (_interval(found["interval"][group]) for group in GROUPS)
    lines.append(
      f"{'95 % interval':>28}" + "".join(f"{text:>12}" for text in ends)
    )
  best = results["best"]
  lines += test_set_lines(
    results["test_set"],
    best["test"]["accuracy"],
    num_classes=len(results["class_counts"]),
    prior=results["prior"],
  )
  lines += prior_lines(results["prior"])
  about = calibration(best["test"], best["temperature"])
  lines.append(f"calibration on test, best epoch: {about}")
  return "\n".join(lines)


def test_set_lines(
  test_set: Mapping[str, Any],
  accuracy: float | None,
  *,
  num_classes: int,
  prior: str,
) -> list[str]:
  """What a test set is, what "overall" then means, and what it lacks.

  Args:
    test_set: see `measures.test_set`.
    accuracy: over the images, percent.
    num_classes: C.
    prior: `dataset.prior`, by which the images are weighted.
  """
  kind, right = test_set["kind"], f"{_percent(accuracy)} %"
  if prior:
    means = (
      f"overall counts classes alike; weighed as the prior says, {right} of "
      "the images are right"
    )
  elif kind == "balanced":
    means = f"overall is about the share of images that are right, {right}"
  else:
    means = f"overall counts classes alike; of the images {right} are right"
  if kind == "neither":
    kind = "neither balanced nor natural"
  lines = [f"test set: {kind}, {test_set['images']} images: {means}"]
  if test_set["classes"] < num_classes:
    lines.append(
      f"note: {num_classes - test_set['classes']} of {num_classes} classes "
      "have no test image, and no part in the measures"
    )
  if test_set["is_validation"]:
    lines.append(
      "note: the test images are the validation images: the best epoch and the "
      "temperature were chosen on them"
    )
  return lines


def prior_lines(prior: str) -> list[str]:
  """What `dataset.prior` does to the measures; no line where it is ""."""
  if not prior:
    return []
  return [
    f"prior {prior}: F1, accuracy over images, log-likelihood and calibration "
    "are for classes as frequent as it says"
  ]


def calibration(values: Mapping[str, Any], temperature: float | None) -> str:
  """The calibration error of a split, before and after.

  Args:
    values: see `measures.measures`.
    temperature: None or 1 where there is none.
  """
  before = f"ECE {_share(values['ece'])}"
  if temperature is None or temperature == 1:
    return f"{before}, no temperature"
  return (
    f"{before}, with temperature {temperature:.3g} (from validation) "
    f"{_share(values['calibrated']['ece'])}"
  )


def measure_lines(
  values: Mapping[str, Any], temperature: float | None
) -> list[str]:
  """The measures of a split, a line for each kind.

  Args:
    values: see `measures.measures`.
    temperature: None or 1 where there is none.
  """
  ends = (f"{group} {_interval(values['interval'][group])}" for group in GROUPS)
  likelihood = f"{_share(values['nll'])}"
  if temperature is not None and temperature != 1:
    likelihood += f", with it {_share(values['calibrated']['nll'])}"
  return [
    f"top-1  {accuracies(values)}",
    f"95 %   {' '.join(ends)}",
    f"top-5  {accuracies(values['top5'])}",
    f"macro F1 {_percent(values['macro_f1'])}, weighted F1 "
    f"{_percent(values['weighted_f1'])}, accuracy over images "
    f"{_percent(values['accuracy'])}",
    f"calibration: {calibration(values, temperature)}; negative "
    f"log-likelihood {likelihood}",
  ]


def _interval(ends: Sequence[float | None]) -> str:
  if any(end is None or not math.isfinite(end) for end in ends):
    return "-"
  return "-".join(_percent(end) for end in ends)


def _percent(value: float | None) -> str:
  if value is None or not math.isfinite(value):
    return "-"
  return f"{value:.1f}"


def _share(value: float | None) -> str:
  if value is None or not math.isfinite(value):
    return "-"
  return f"{value:.3f}"
