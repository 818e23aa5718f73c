"""Prints planned runs as a shell script, with their times as comments."""

import shlex
from collections.abc import Callable, Sequence

from blt_jax.experiments import run_status, time_estimate
from blt_jax.experiments.plan import PlannedRun
from blt_jax.system import console


def print_runs(
  runs: Sequence[PlannedRun],
  estimate: Callable[[PlannedRun, bool], float | None],
) -> None:
  """Prints the runs in order, and how long all of them take.

  Args:
    runs: in the order of training.
    estimate: (run, whether it trains stage 1 itself) -> seconds, None where
      they are not known.
  """
  times, at_most = [], False
  in_order = run_status.in_order(runs)
  for number, (run, finished, stage1) in enumerate(in_order, 1):
    state = "finished"
    if not finished:
      times.append(estimate(run, stage1 is None))
      sections = run.config.stage1, run.config.stage2
      early = any(each.epochs and each.patience for each in sections)
      at_most = at_most or early
      state = time_estimate.in_words(times[-1:], at_most=early)
    console.say(f"# {number}/{len(runs)} {run.name}: {state}")
    console.say(shlex.join(["python", *run.command(stage1)]))
  done = len(runs) - len(times)
  total = time_estimate.in_words(times, at_most=at_most)
  end = f": {total}" if times else ""
  console.say(f"# {len(times)} runs to train, {done} finished{end}")
