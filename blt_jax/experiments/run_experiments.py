"""`--mode=experiment`: plans, trains what is missing, writes the outcome."""

import pathlib
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.experiments import cost, execute, outcome, shelf
from blt_jax.experiments.catalog import choose
from blt_jax.experiments.plan import Plan, make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.system import console

# The exit code of a program that Ctrl-C ended.
INTERRUPTED = 130


def experiment(
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
  """Trains what experiments need and writes their tables and figures.

  Args:
    names: of the catalogue, or "all".
    dataset: a name of PROTOCOLS.
    seeds: of every setting.
    output: runs are in output/runs/<dataset>/, tables and figures in
      output/<dataset>/<experiment>/.
    overrides: {"section.field": value} for every run.
    command: the command line, for the report.
    only: words of the labels of the settings to keep; all if empty.
    dry_run: print the runs and what they cost instead.

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
  failures: list[execute.Failure] = []
  code = 0
  # Whatever ends us ends the training that we wait for. A shell that starts us
  # in the background has SIGINT ignored, even if someone sends it by hand.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)
  try:
    failures = execute.train_all(plan.runs)
  except KeyboardInterrupt:
    console.say("interrupted; the same command goes on")
    code = INTERRUPTED
  origin = outcome.Origin.of_this_process(shlex.join(command))
  for planned in plan.experiments:
    folder = output / dataset / planned.experiment.name
    console.say(str(outcome.write_outcome(planned, plan, folder, origin)))
  for failure in failures:
    console.say(f"failed: {failure.name}: {failure.reason} ({failure.log})")
  return code or int(bool(failures))


def print_plan(plan: Plan) -> None:
  """Prints the runs in order as a shell script, their costs as comments."""
  costs = cost.Costs(plan.protocol, plan.folder)
  seeds = ", ".join(map(str, plan.seeds))
  names = ", ".join(each.experiment.name for each in plan.experiments)
  console.say(f"# {names} on {plan.protocol.dataset}, seeds {seeds}")
  console.say(f"# {outcome.schedule(plan)}")
  ahead = []
  for number, (run, finished, stage1) in enumerate(shelf.in_order(plan.runs)):
    state = "finished"
    if not finished:
      ahead.append(costs.of(run, stage1=stage1 is None))
      state = str(ahead[-1])
    console.say(f"# {number + 1}/{len(plan.runs)} {run.name}: {state}")
    console.say(shlex.join(["python", *run.command(stage1)]))
  done = len(plan.runs) - len(ahead)
  console.say(
    f"# {len(ahead)} runs to train, {done} finished: {cost.total(ahead)}"
  )
