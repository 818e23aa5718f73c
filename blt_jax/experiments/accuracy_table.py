"""Accuracies of an experiment beside the paper's, in Markdown."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blt_jax.method import metrics
from blt_jax.report.record import RunRecord

# The paper prints the overall accuracy last.
GROUPS = (*metrics.GROUPS[1:], metrics.GROUPS[0])

Results = Mapping[str, Sequence[RunRecord]]
"""Label of a setting -> a record a seed."""

Paper = Mapping[str, Mapping[str, Any]]
"""Label of a setting -> the paper's numbers, for those that have any."""


@dataclasses.dataclass(frozen=True)
class Value:
  """A quantity over seeds.

  Attributes:
    seeds: how many have it.
    mean: NaN without any.
    deviation: standard deviation of a sample, NaN for fewer than two.
    paper: the paper's number, NaN if it has none.
  """

  seeds: int
  mean: float
  deviation: float
  paper: float = math.nan

  @property
  def difference(self) -> float:
    """The mean minus the paper's number."""
    return self.mean - self.paper


def value_of(numbers: Iterable[float], paper: float = math.nan) -> Value:
  """Mean and deviation of numbers; NaN among them are left out."""
  known = [number for number in numbers if not math.isnan(number)]
  return Value(
    seeds=len(known),
    mean=statistics.fmean(known) if known else math.nan,
    deviation=statistics.stdev(known) if len(known) > 1 else math.nan,
    paper=paper,
  )


def accuracy(record: RunRecord, epoch: str, group: str) -> float:
  """Top-1 of a run on the test images in percent, NaN for an empty group."""
  assert record.results is not None
  found = record.results[epoch]["test"].get(group)
  return math.nan if found is None else float(found)


def accuracy_rows(
  results: Results, paper: Paper, epoch: str
) -> dict[str, dict[str, Value]]:
  """{label: {group: top-1 on the test images, percent}}."""
  return {
    label: {
      group: value_of(
        (accuracy(record, epoch, group) for record in records),
        float(paper.get(label, {}).get(group, math.nan)),
      )
      for group in GROUPS
    }
    for label, records in results.items()
  }


def markdown(rows: Mapping[str, Mapping[str, Value]]) -> str:
  """The rows as a Markdown table; paper and difference in the groups' order."""
  order = " / ".join(GROUPS)
  lines = [
    f"| setting | seeds | {' | '.join(GROUPS)} | paper: {order} | difference |",
    "|---|---|" + "---|" * len(GROUPS) + "---|---|",
  ]
  for label, by_group in rows.items():
    values = by_group.values()
    cells = [
      label,
      str(max(value.seeds for value in values)),
      *(value_text(value) for value in values),
      _joined([number_text(value.paper) for value in values]),
      _joined([signed(value.difference) for value in values]),
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def value_text(value: Value) -> str:
  """Mean and deviation: "43.9 ± 2.0"; a dash without a mean."""
  if math.isnan(value.deviation):
    return number_text(value.mean)
  return f"{value.mean:.1f} ± {value.deviation:.1f}"


def number_text(number: float, digits: int = 1) -> str:
  """A number with so many digits, a dash for NaN."""
  return "-" if math.isnan(number) else f"{number:.{digits}f}"


def signed(number: float) -> str:
  """A difference with its sign, a dash for NaN."""
  # Adding 0 makes -0.0 +0.0.
  return "-" if math.isnan(number) else f"{round(number, 1) + 0.0:+.1f}"


def _joined(cells: list[str]) -> str:
  """Cells with slashes between them; one dash if there is nothing."""
  return "-" if set(cells) == {"-"} else " / ".join(cells)
