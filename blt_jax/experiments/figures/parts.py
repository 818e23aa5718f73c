"""What the figures of the experiments share."""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from blt_jax.experiments import accuracy_table
from blt_jax.experiments.accuracy_table import GROUPS, Paper, Results
from blt_jax.report import style
from blt_jax.report.record import RunRecord
from blt_jax.workdir.records import Confusion

Draw = Callable[[Results, Paper], Figure]

EPOCH = "last"  # The epoch whose test the figures show: "last" or "best".
TESTED = f"Test images, {EPOCH} epoch"
GREY = style.GREY

WHISKERS = {"capsize": 2, "elinewidth": 1.0, "ecolor": style.INK}


def figure_of(draw: Draw) -> Draw:
  """Gives a figure the look of the reports."""

  @functools.wraps(draw)
  def drawn(results: Results, paper: Paper) -> Figure:
    with style.look():
      return draw(results, paper)

  return drawn


def needed(value: Any, record: RunRecord, what: str) -> Any:
  """The value, where there is one.

  Raises:
    ValueError: if it is None or empty; names the work directory and `what`.
  """
  if value is None or (hasattr(value, "__len__") and len(value) == 0):
    raise ValueError(f"{record.workdir} lacks {what}; expected a run with it.")
  return value


def test_entries(record: RunRecord) -> Confusion:
  """Confusion on the test images at the epoch EPOCH."""
  return needed(
    record.entries(f"test-{EPOCH}"), record, f"confusion/test-{EPOCH}.npz"
  )


def accuracies(records: Sequence[RunRecord], group: str) -> tuple[float, float]:
  """Mean and deviation of the test accuracy at EPOCH, over seeds.

  Args:
    records: a run for each seed.
    group: one of GROUPS.

  Returns:
    (mean, deviation) in percent, NaN for a group without classes.
  """
  for record in records:
    needed(record.results, record, "results.json")
  values = [accuracy_table.accuracy(r, EPOCH, group) for r in records]
  return mean_and_deviation(np.array(values))


def mean_and_deviation(
  values: np.ndarray, axis: int | None = None
) -> tuple[Any, Any]:
  """Mean and sample deviation; the deviation of one value is 0."""
  values = np.asarray(values, np.float64)
  number = values.size if axis is None else values.shape[axis]
  mean = values.mean(axis=axis)
  if number < 2:
    return mean, np.zeros_like(mean)
  return mean, values.std(axis=axis, ddof=1)


def known_groups(results: Results) -> list[str]:
  """The groups, of GROUPS, that have classes in some run."""
  return [
    group
    for group in GROUPS
    if any(math.isfinite(accuracies(r, group)[0]) for r in results.values())
  ]


def hallucinates(record: RunRecord) -> bool:
  """Whether a run trains on perturbed images in its second stage."""
  config = record.config
  return bool(config.stage2.perturb and config.perturb.max_steps > 0)


def with_and_without(results: Results) -> tuple[str, str]:
  """Labels of the first settings (with hallucination, without).

  Raises:
    ValueError: if one of the two is not there.
  """
  found: dict[bool, str] = {}
  for label, records in results.items():
    found.setdefault(hallucinates(records[0]), label)
  for wanted, what in ((True, "with"), (False, "without")):
    if wanted not in found:
      raise ValueError(
        f"none of the settings {', '.join(results)} is {what} perturbation; "
        "expected one with and one without."
      )
  return found[True], found[False]


def provenance(results: Results) -> str:
  """Where the numbers come from: data set, backbone and number of seeds."""
  records = [record for group in results.values() for record in group]
  datasets = _distinct("data sets", [r.config.dataset.name for r in records])
  backbones = _distinct("backbones", [r.config.model.backbone for r in records])
  seeds = sorted({len(group) for group in results.values()})
  numbers = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
  runs = "one seed" if seeds[-1] == 1 else f"mean of {numbers} seeds"
  return f"{datasets}, {backbones}, {runs}"


def _distinct(what: str, names: Sequence[str]) -> str:
  """Up to two names, or how many there are."""
  different = list(dict.fromkeys(names))
  return (
    " and ".join(different)
    if len(different) < 3
    else (f"{len(different)} {what}")
  )


def split_labels(labels: Sequence[str]) -> dict[str, dict[str, str]]:
  """Labels by panel: {"base rate": {"base rate, batch 64": "batch 64"}}.

  Args:
    labels: "value", or all of them "panel, value".

  Returns:
    {panel: {label: value}}; a single panel "" for plain values.
  """
  panels: dict[str, dict[str, str]] = {}
  split = all(", " in label for label in labels)
  for label in labels:
    panel, value = label.rsplit(", ", 1) if split else ("", label)
    panels.setdefault(panel, {})[label] = value
  return panels


def deviation_remark(results: Results, mark: str) -> str:
  """What whiskers or bands are, where there is more than one seed."""
  several = any(len(records) > 1 for records in results.values())
  return f", {mark}: standard deviation" if several else ""


def log_ticks(axis: Axis) -> None:
  """Ticks of a logarithmic axis at 1, 2, 5, 10, ..., as plain numbers."""
  axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
  axis.set_minor_locator(NullLocator())
  axis.set_major_formatter("{x:g}")


def name_ticks(axes: Axes, names: Sequence[str], *, width: int) -> None:
  """Names along x, at 0, 1, 2, ..., wrapped to a number of characters."""
  wrapped = [wrap_name(name, width) for name in names]
  axes.set_xticks(range(len(names)), wrapped)
  axes.set_xlim(-0.6, len(names) - 0.4)
  axes.grid(visible=False, axis="x")


def wrap_name(name: str, width: int) -> str:
  """Breaks a name into lines, after underscores, too: "static_", "random"."""
  lines = [""]
  for piece in re.findall(r"[^ _]+[ _]?|[ _]", name):
    if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
      lines.append("")
    lines[-1] += piece
  return "\n".join(line.rstrip(" ") for line in lines)
