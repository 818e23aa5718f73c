"""The tables of a comparison: a row a method, and a row a run."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

from blt_jax.experiments import choice, methods
from blt_jax.experiments.accuracy_table import number_text
from blt_jax.experiments.choice import Choice
from blt_jax.experiments.comparison import Comparison
from blt_jax.experiments.outcomes import Estimate, Outcomes, accuracy_of
from blt_jax.experiments.plan import Repeat
from blt_jax.experiments.train_runs import Failure
from blt_jax.method.metrics import GROUPS
from blt_jax.report.record import RunRecord
from blt_jax.system import console


@dataclasses.dataclass(frozen=True)
class Found:
  """A comparison with what its runs found.

  Attributes:
    comparison: what was to be trained.
    outcomes: of the finished runs.
    choice: None where no seed or fold is finished by all methods.
    failures: runs that failed in this process.
  """

  comparison: Comparison
  outcomes: Outcomes
  choice: Choice | None
  failures: tuple[Failure, ...] = ()

  @property
  def names(self) -> list[str]:
    """The methods with finished runs, in the order given."""
    return list(self.outcomes.runs)

  @property
  def simplest(self) -> str:
    """What the others are compared with."""
    return methods.simplest_first(self.names)[0]


Table = list[list[str]]


def accuracies(found: Found) -> Table:
  """A row a method."""
  outcomes = found.outcomes
  base = outcomes.seconds(found.simplest)
  groups = _groups(found)
  rows = [["method", "validation", *groups, "training", "ratio"]]
  for name in found.names:
    test = outcomes.accuracy("test", name)
    validation = outcomes.accuracy("validation", name)["overall"]
    seconds = outcomes.seconds(name)
    rows.append(
      [
        name,
        number_text(validation.mean),
        *(_accuracy_text(test[group]) for group in groups),
        console.duration(seconds),
        number_text(seconds / base if base else math.nan, 2),
      ]
    )
  return rows


def differences(found: Found) -> Table:
  """A row for every method but the simplest."""
  groups = _groups(found)
  rows = [["method", *groups]]
  for name in found.names:
    if name != found.simplest:
      each = found.outcomes.difference("test", name, found.simplest)
      rows.append([name, *(_difference_text(each[g]) for g in groups)])
  return rows


def run_by_run(found: Found) -> Table:
  """A row a run, with the differences to the simplest method's run."""
  groups = _groups(found)
  changes = [f"Δ {group}" for group in groups]
  rows = [["method", "run", "validation", *groups, *changes, "training"]]
  for name, repeat, run in runs(found):
    base = found.outcomes.runs[found.simplest].get(repeat)
    values = [accuracy_of(run, "test", group) for group in groups]
    others = [
      accuracy_of(base, "test", group) if base else math.nan for group in groups
    ]
    rows.append(
      [
        name,
        repeat.title,
        number_text(accuracy_of(run, "validation", "overall")),
        *map(number_text, values),
        *(choice.signed(a - b) for a, b in zip(values, others, strict=True)),
        console.duration(_seconds(run)),
      ]
    )
  return rows


def runs(found: Found) -> Iterable[tuple[str, Repeat, RunRecord]]:
  """(method, seed or fold, run) of every finished run."""
  for name, by_repeat in found.outcomes.runs.items():
    for repeat, run in by_repeat.items():
      yield name, repeat, run


def _seconds(run: RunRecord) -> float:
  return sum(row.seconds + row.validation_seconds for row in run.rows)


def _groups(found: Found) -> list[str]:
  """The groups that have classes."""
  name = found.names[0]
  test = found.outcomes.accuracy("test", name)
  return [group for group in GROUPS if not math.isnan(test[group].mean)]


def _accuracy_text(each: Estimate) -> str:
  spread = f" ± {each.spread:.1f}" if not math.isnan(each.spread) else ""
  return f"{each.mean:.1f}{spread} [{each.low:.1f}, {each.high:.1f}]"


def _difference_text(each: Estimate) -> str:
  return choice.interval_text(each) + (" (noise)" if each.is_noise else "")


def csv_text(found: Found) -> str:
  """A row for each run and split."""
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(
    ["method", "seed", "fold", "split", *GROUPS, "training_seconds", "workdir"]
  )
  for name, repeat, run in runs(found):
    for split in ("validation", "test"):
      values = [accuracy_of(run, split, group) for group in GROUPS]
      writer.writerow(
        [
          name,
          repeat.seed,
          repeat.fold or "",
          split,
          *("" if math.isnan(value) else value for value in values),
          round(_seconds(run), 3),
          run.workdir,
        ]
      )
  return text.getvalue()


def plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
  """Estimates for a JSON file."""
  return {
    group: {
      "mean": each.mean,
      "interval": [each.low, each.high],
      "each": list(each.each),
    }
    for group, each in estimates.items()
  }
