"""`--mode=compare`: trains methods on any data set, and chooses one."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.experiments import (
  choice,
  compare_page,
  methods,
  page,
  plan_lines,
  time_estimate,
  train_runs,
)
from blt_jax.experiments.compare_tables import Found
from blt_jax.experiments.comparison import Comparison, make_comparison
from blt_jax.experiments.outcomes import Outcomes, read_outcomes
from blt_jax.system import console


def compare(
  config: str,
  names: Sequence[str],
  *,
  seeds: Sequence[int],
  folds: int,
  output: pathlib.Path,
  overrides: Mapping[str, Any],
  command: Sequence[str],
  dry_run: bool = False,
) -> int:
  """Trains what is missing of a comparison, and writes what it found.

  Args:
    config: of the command line: a file, with pairs behind a colon or without.
    names: of --methods.
    seeds: of every method; with folds one.
    folds: number of folds, 0 for none.
    output: runs are in output/runs, the page and its tables in output.
    overrides: {"section.field": value} for every run.
    command: the command line, for the page.
    dry_run: print the commands of the runs, and how long they take, instead.

  Returns:
    The exit code: 0, 1 when a run failed, 130 when it was interrupted.

  Raises:
    ValueError: for what can't be compared, and for a work directory of another
      configuration.
  """
  comparison = make_comparison(
    config, names, seeds=seeds, folds=folds, output=output, overrides=overrides
  )
  if dry_run:
    _print_plan(comparison)
    return 0
  if output.exists() and not output.is_dir():
    raise ValueError(f"--output={output} is a file; expected a folder.")
  failures, code = train_runs.train_until_stopped(comparison.runs)
  outcomes = read_outcomes(comparison)
  chosen = choose(outcomes)
  found = Found(comparison, outcomes, chosen, tuple(failures))
  for line in compare_page.write(found, output, page.origin_of(command)):
    console.say(line)
  return code or int(bool(failures))


def choose(outcomes: Outcomes) -> choice.Choice | None:
  """Chooses a method; None where no seed or fold is finished by all."""
  if not outcomes.runs or not outcomes.repeats:
    return None
  names = methods.simplest_first(tuple(outcomes.runs))
  return choice.choose(
    names,
    {n: outcomes.accuracy("validation", n)["overall"].mean for n in names},
    outcomes.difference,
    hallucinating=[n for n in names if outcomes.hallucinates(n)],
  )


def _print_plan(comparison: Comparison) -> None:
  """Prints the runs in order, as a shell script with times as comments."""
  labels = {
    name: label for label, names in comparison.names.items() for name in names
  }
  steps = time_estimate.Steps(labels)
  console.say(f"# {', '.join(comparison.names)}: {_repeats(comparison)}")
  console.say(f"# {page.schedule(comparison.runs[0].config)}")
  plan_lines.print_runs(comparison.runs, steps.estimate)
  for line in steps.lines():
    console.say(f"# {line}")


def _repeats(comparison: Comparison) -> str:
  if comparison.folds:
    return f"{comparison.folds} folds, seed {comparison.repeats[0].seed}"
  return f"seeds {', '.join(str(each.seed) for each in comparison.repeats)}"
