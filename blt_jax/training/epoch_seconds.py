"""How long a run would take on this machine, from a few measured steps."""

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax

from blt_jax.config import Config
from blt_jax.training import build, choose, static_images
from blt_jax.training.feeder import Fed
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage, plan_epoch

# Steps of a stage that are timed, after one that compiles.
_STEPS = 5
# Batches of an evaluation that are timed, likewise.
_BATCHES = 3


@dataclasses.dataclass(frozen=True)
class Times:
  """What was measured.

  Attributes:
    start: seconds to find the images and to compile.
    step: {stage: median seconds of a step}.
    epoch: {stage: seconds of an epoch with its validation}.
    test: seconds of the tests at the end.
  """

  start: float
  step: dict[int, float]
  epoch: dict[int, float]
  test: float


def measure(config: Config) -> Times:
  """Times a few steps of each stage on the run's own images.

  The network is a fresh one. Hallucinating is timed with the confusion of what
  it says about a few validation images; a trained network may take more or
  fewer updates, which the estimate does not know.

  Raises:
    ValueError: as a run of the configuration would.
  """
  start = time.monotonic()
  chosen = choose.complete(config)
  run = Run(chosen.config, dataset=chosen.dataset)
  state = build.init_state(run.config, run.model, run.dataset.num_classes)
  compiling = time.monotonic() - start
  confusion, batch, took = _evaluation(run, state)
  state = state.replace(confusion=confusion)
  compiling += took
  step, epoch = {}, {}
  for stage in run.stages:
    step[stage.number], took = _steps(run, stage, state)
    compiling += took
    validation = batch * _batches(run, "validation")
    epoch[stage.number] = stage.steps * step[stage.number] + validation
  # Best and last epoch on the test images, and the examples.
  return Times(compiling, step, epoch, 2 * batch * _batches(run, "test"))
