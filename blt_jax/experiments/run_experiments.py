"""`--mode=experiment`: plans runs, trains what is missing, writes the pages."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.experiments import page, plan_lines, time_estimate, train_runs
from blt_jax.experiments.catalog import choose
from blt_jax.experiments.plan import Plan, make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.system import console


def run_experiments(
  names: Sequence[str],
  dataset: str,
  *,
  seeds: Sequence[int],
  output: pathlib.Path,
  overrides: Mapping[str, Any],
  command: Sequence[str],
  only: Sequence[str] = (),
  dry_run: bool = False,
) -> int:
  """Trains the runs that experiments need; writes their tables and figures.

  Args:
    names: of the catalogue, or "all".
    dataset: a name of PROTOCOLS.
    seeds: of every setting.
    output: runs are in output/runs/<dataset>/, tables and figures in
      output/<dataset>/<experiment>/.
    overrides: {"section.field": value} for every run.
    command: the command line, for the report.
    only: words of the labels of the settings to keep; all if empty.
    dry_run: print the commands of the runs, and how long they take, instead.

  Returns:
    The exit code: 0, 1 when a run failed, 130 when it was interrupted.

  Raises:
    ValueError: for names, seeds or overrides that are not allowed, and for a
      work directory of another configuration.
  """
  plan = make_plan(
    choose(names),
    PROTOCOLS[dataset],
    seeds=seeds,
    output=output,
    overrides=overrides,
    only=only,
  )
  if dry_run:
    print_plan(plan)
    return 0
  if output.exists() and not output.is_dir():
    raise ValueError(f"--output={output} is a file; expected a folder.")
  failures, code = train_runs.train_until_stopped(plan.runs)
  origin = page.origin_of(command)
  for planned in plan.experiments:
    folder = output / dataset / planned.experiment.name
    console.say(str(page.write_page(planned, plan, folder, origin)))
  for failure in failures:
    console.say(f"failed: {failure.name}: {failure.reason} ({failure.log})")
  return code or int(bool(failures))


def print_plan(plan: Plan) -> None:
  """Prints the runs in order, as a shell script with times as comments."""
  seconds = time_estimate.epoch_seconds(plan.folder)
  seeds = ", ".join(map(str, plan.seeds))
  names = ", ".join(each.experiment.name for each in plan.experiments)
  console.say(f"# {names} on {plan.protocol.dataset}, seeds {seeds}")
  console.say(f"# {page.schedule(plan.runs[0].config)}")
  plan_lines.print_runs(
    plan.runs,
    lambda run, trains: time_estimate.estimate(
      run, seconds, trains_stage1=trains
    ),
  )
