"""How long runs will take, judged by finished runs or by measured steps."""

import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.experiments.plan import PlannedRun
from blt_jax.system import console
from blt_jax.workdir import directory, records

Seconds = Mapping[tuple[str, str, int], float]
"""(backbone, method, stage) -> seconds of an epoch; "" stands for any method"""


def epoch_seconds(folder: pathlib.Path) -> Seconds:
  """Median seconds of an epoch, with its validation, of the finished runs."""
  found: dict[tuple[str, str, int], list[float]] = {}
  for path in sorted(folder.glob(f"*/{directory.RESULTS}")):
    config = directory.read_config(path.parent)
    for row in records.read_metrics(path.parent):
      if row.stage == 1 and config.stage1.reuse:
        continue  # These epochs are another run's.
      seconds = row.seconds + row.validation_seconds
      for method in (config.method, ""):
        key = (config.model.backbone, method, row.stage)
        found.setdefault(key, []).append(seconds)
  return {key: statistics.median(each) for key, each in found.items()}


def estimate(
  run: PlannedRun, seconds: Seconds, *, trains_stage1: bool
) -> float | None:
  """Seconds of all epochs that a run trains, None if no finished run tells.

  An epoch takes as long as in runs of the same backbone and method, or else as
  in runs of the same backbone. Compiling and the final tests come on top.

  Args:
    run: the run.
    seconds: from `epoch_seconds`.
    trains_stage1: False when it takes stage 1 over from another run.
  """
  config = run.config
  total = 0.0
  for stage, section in ((1, config.stage1), (2, config.stage2)):
    if not section.epochs or (stage == 1 and not trains_stage1):
      continue
    backbone = config.model.backbone
    any_method = seconds.get((backbone, "", stage))
    epoch = seconds.get((backbone, config.method, stage), any_method)
    if epoch is None:
      return None
    total += section.epochs * epoch
  return total


def in_words(
  estimates: Sequence[float | None], *, at_most: bool = False
) -> str:
  """The time of one run or of several: "about 0:12:00 and 1 unknown".

  Args:
    estimates: seconds of each run, None where they are not known.
    at_most: whether a run may end before its last epoch.
  """
  known = [each for each in estimates if each is not None]
  unknown = len(estimates) - len(known)
  if not known:
    return "time unknown until a run with the same backbone is finished"
  more = f" and {unknown} of unknown time" if unknown else ""
  about = "at most about" if at_most else "about"
  return f"{about} {console.duration(sum(known))}{more}"


class Steps:
  """Times of runs, from steps that are measured here, a method at a time."""

  def __init__(self, methods: Mapping[str, str]):
    """Nothing is measured yet; `methods` is {name of a run: its method}."""
    self._methods = methods
    self._measured: dict[str, Any] = {}
    self._imports = 0.0

  def estimate(self, run: PlannedRun, trains_stage1: bool) -> float:
    """Seconds of a run.

    The first run of a method compiles; the others find its programs.
    """
    method = self._methods[run.name]
    compiles = method not in self._measured
    if compiles:
      start = time.monotonic()
      # Only a dry run needs JAX in this process.
      from blt_jax.training import epoch_seconds

      self._imports = self._imports or time.monotonic() - start
      self._measured[method] = epoch_seconds.measure(run.config)
    times = self._measured[method]
    sections = {1: run.config.stage1, 2: run.config.stage2}
    training = sum(
      sections[stage].epochs * seconds
      for stage, seconds in times.epochs.items()
      if stage == 2 or trains_stage1
    )
    begin = self._imports + times.starting + compiles * times.compiling
    return begin + training + times.testing

  def lines(self) -> list[str]:
    """What was measured, a line a method, and what was not."""
    measured = [
      f"measured: {method}: "
      + ", ".join(
        f"{1000 * seconds:.0f} ms a step of stage {stage}"
        for stage, seconds in times.steps.items()
      )
      + f", {times.compiling:.0f} s of compiling once; in every run "
      f"{self._imports + times.starting:.0f} s to start and "
      f"{times.testing:.0f} s of tests"
      for method, times in self._measured.items()
    ]
    if not measured:
      return []
    return [*measured, "not in it: checkpoints and the report of every run"]
