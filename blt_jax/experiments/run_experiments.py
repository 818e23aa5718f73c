"""`--mode=experiment`: plans runs, trains what is missing, writes the pages."""

import pathlib
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.experiments import page, run_status, time_estimate, train_runs
from blt_jax.experiments.catalog import choose
from blt_jax.experiments.plan import Plan, make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.system import console

# The exit code of a program that Ctrl-C ended.
INTERRUPTED = 130


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
  failures: list[train_runs.Failure] = []
  code = 0
  # Either signal ends the training that this process waits for, too. A shell
  # that starts a program in the background makes it ignore SIGINT.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)
  try:
    failures = train_runs.train_all(plan.runs)
  except KeyboardInterrupt:
    console.say("interrupted; the same command goes on")
    code = INTERRUPTED
  origin = page.origin_of(shlex.join(command))
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
  console.say(f"# {page.schedule(plan)}")
  times = []
  runs = run_status.in_order(plan.runs)
  for number, (run, finished, stage1) in enumerate(runs, 1):
    state = "finished"
    if not finished:
      times.append(
        time_estimate.estimate(run, seconds, trains_stage1=stage1 is None)
      )
      state = time_estimate.in_words(times[-1:])
    console.say(f"# {number}/{len(plan.runs)} {run.name}: {state}")
    console.say(shlex.join(["python", *run.command(stage1)]))
  done = len(plan.runs) - len(times)
  end = f": {time_estimate.in_words(times)}" if times else ""
  console.say(f"# {len(times)} runs to train, {done} finished{end}")
