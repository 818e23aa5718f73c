"""Trains runs, one after the other, each in a process of its own.

Several processes with the same --output share the work. None trains a run that
another one trains, and each waits for a stage 1 that another one is training.
"""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from blt_jax.experiments import run_status
from blt_jax.experiments.plan import PlannedRun
from blt_jax.system import console
from blt_jax.workdir import directory

# Seconds until a process looks again whether a run that it waits for is there.
POLL = 2.0

# The exit code of a program that Ctrl-C ended.
INTERRUPTED = 130

# How long a training may take to end when it is told to, seconds.
_PATIENCE = 20.0


@dataclasses.dataclass(frozen=True)
class Failure:
  """A run that ended without results."""

  name: str
  log: pathlib.Path
  reason: str


def train_all(
  runs: Sequence[PlannedRun], *, poll: float = POLL
) -> list[Failure]:
  """Trains what is not finished, in order, and goes on after failures.

  Raises:
    ValueError: for a work directory of another configuration.
    KeyboardInterrupt: after the training that it interrupts was ended.
  """
  failures: list[Failure] = []
  pending = [run for run in runs if not run_status.is_finished(run)]
  if pending:
    done = len(runs) - len(pending)
    console.say(f"{len(pending)} runs to train, {done} are finished")
  with tempfile.TemporaryDirectory() as cache:
    while pending:
      run = _next(pending)
      if run is None:
        time.sleep(poll)
        pending = [run for run in pending if not run_status.is_finished(run)]
        continue
      with run_status.lock(run) as held:
        if held is None:  # Another process came first.
          continue
        pending.remove(run)
        if run_status.is_finished(run):
          continue
        title = f"[{len(runs) - len(pending)}/{len(runs)}] {run.name}"
        failure = _train(run, title, held, cache)
      if failure:
        failures.append(failure)
  return failures


def train_until_stopped(
  runs: Sequence[PlannedRun],
) -> tuple[list[Failure], int]:
  """`train_all`, which Ctrl-C and SIGTERM end with a line.

  Either signal ends the training that this process waits for, too. A shell that
  starts a program in the background makes it ignore SIGINT.

  Returns:
    (failures, exit code): 0, or 130 when it was interrupted.
  """
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)
  try:
    return train_all(runs), 0
  except KeyboardInterrupt:
    console.say("interrupted; the same command goes on")
    return [], INTERRUPTED


def _next(pending: Sequence[PlannedRun]) -> PlannedRun | None:
  """The first run that nobody holds and whose stage 1 nobody trains now."""
  held = {run.name for run in pending if run_status.is_locked(run)}
  training = {run.stage1_key() for run in pending if run.name in held} - {None}
  for run in pending:
    if run.name in held:
      continue
    waits = run.stage1_key() in training
    if not waits or _stage1_of(run) or _has_begun(run):
      return run
  return None


def _train(
  run: PlannedRun, title: str, held: int, cache: str
) -> Failure | None:
  """Trains a run whose lock is held, and says how it went."""
  log = run.workdir / run_status.LOG
  command = [sys.executable, *run.command(_stage1_of(run))]
  start = time.monotonic()
  code = _call(command, log, held, cache)
  took = console.duration(time.monotonic() - start)
  if code == 0 and run_status.is_finished(run):
    console.say(f"{title}: {took}")
    return None
  reason = _last_line(log) or f"exit code {code}"
  console.say(f"{title}: failed after {took}: {reason}")
  return Failure(run.name, log, reason)


def _call(
  command: Sequence[str], log: pathlib.Path, lock: int, cache: str
) -> int:
  """Runs a command with its output added to a log; returns the exit code.

  It has a session of its own, so that Ctrl-C does not reach it directly: this
  process ends it.
  """
  environment = dict(os.environ)
  # Runs that differ in their seed are the same programs.
  environment.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
  environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
  with log.open("ab") as file:
    process = subprocess.Popen(
      command,
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=file,
      env=environment,
      pass_fds=(lock,),
      start_new_session=True,
    )
    try:
      return process.wait()
    except BaseException:
      process.terminate()
      try:
        process.wait(_PATIENCE)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
      raise


def _stage1_of(run: PlannedRun) -> pathlib.Path | None:
  return run_status.stage1_of(
    run, run_status.stage1_sources(run.workdir.parent)
  )


def _has_begun(run: PlannedRun) -> bool:
  return (run.workdir / directory.CONFIG).exists()


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text("utf-8", "replace").split("\n")
  return next((line.strip() for line in reversed(lines) if line.strip()), "")
