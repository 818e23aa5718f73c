"""How long a run takes on this machine, from a few measured steps."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Generator

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.method.train_step import Batch, TrainState
from blt_jax.training import build, choose, devices
from blt_jax.training.examples import make_examples
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage, plan_epoch
from blt_jax.training.static_images import Pool

# Steps of a stage are timed until there are this many and this many seconds
# have passed, or until it takes too long.
_STEPS, _SECONDS, _TOO_LONG = 5, 1.0, 20.0
# Batches of an evaluation that are timed.
_BATCHES = 3


@dataclasses.dataclass(frozen=True)
class Times:
  """What was measured, in seconds.

  Attributes:
    starting: finding the images, making the network, and tracing its steps.
    compiling: what runs of the same programs need not do again.
    steps: {stage: a step}.
    epochs: {stage: an epoch with its validation}.
    testing: validation and test of two epochs at the end, and the examples of
      perturbed images. Writing the report is not in it.
  """

  starting: float
  compiling: float
  steps: dict[int, float]
  epochs: dict[int, float]
  testing: float


def measure(config: Config) -> Times:
  """Times some steps of each stage on the images of a configuration.

  The network is a fresh one and hardly trained: a trained one may take more or
  fewer updates to hallucinate an image.

  Raises:
    ValueError: as a run of the configuration would.
  """
  with _compiler() as compiled:
    start = time.monotonic()
    chosen = choose.complete(config)
    run = Run(chosen.config, dataset=chosen.dataset)
    state = build.init_state(run.config, run.model, run.dataset.num_classes)
    starting = time.monotonic() - start
    confusion, batch, first = _evaluation(run, state)
    starting += first
    state = devices.place(state.replace(confusion=confusion), run.config)
    steps, epochs = {}, {}
    validation = batch * _batches(run, "validation")
    for stage in run.stages:
      state, first, steps[stage.number] = _steps(run, stage, state)
      starting += first
      epochs[stage.number] = stage.steps * steps[stage.number] + validation
    before, start = compiled(), time.monotonic()
    make_examples(run.feeder, state)
    making = time.monotonic() - start - (compiled() - before)
    # The best epoch and the last one.
    testing = 2 * (validation + batch * _batches(run, "test")) + making
    return Times(
      max(starting - before, 0.0), compiled(), steps, epochs, testing
    )


@contextlib.contextmanager
def _compiler() -> Generator[Callable[[], float]]:
  """Gives a function that says how many seconds XLA has compiled since."""
  durations = [0.0]

  def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
      durations.append(duration_secs)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield lambda: sum(durations)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def _evaluation(run: Run, state: TrainState) -> tuple[np.ndarray, float, float]:
  """(confusion on some images, seconds of a batch, of the first one more)."""

  def evaluate(count: int) -> tuple[np.ndarray, float]:
    start = time.monotonic()
    found = run.evaluate(
      state,
      "validation",
      stage=run.stages[-1].number,
      guard=lambda each: itertools.islice(each, count),
    )
    return found.confusion, time.monotonic() - start

  _, first = evaluate(1)
  count = min(_BATCHES, _batches(run, "validation"))
  confusion, seconds = evaluate(count)
  return confusion, seconds / count, max(first - seconds / count, 0.0)


def _batches(run: Run, role: str) -> int:
  """Batches of an evaluation pass."""
  config = run.config
  largest = max(config.stage1.batch_size, config.stage2.batch_size)
  return -(-len(run.dataset.splits[role]) // largest)


def _steps(
  run: Run, stage: Stage, state: TrainState
) -> tuple[TrainState, float, float]:
  """(state, seconds of the first step beside the others, seconds of a step)."""
  first_epoch = run.config.perturb.start_epoch
  train_fn = run.train_fn(stage, first_epoch)
  count, start, first = 0, time.monotonic(), 0.0
  with contextlib.closing(_training(run, stage, first_epoch)) as batches:
    for count, batch in enumerate(batches):
      state, metrics = train_fn(state, batch)
      jax.block_until_ready(metrics)
      passed = time.monotonic() - start
      if not count:
        start, first = time.monotonic(), passed
      elif passed > _TOO_LONG or (count >= _STEPS and passed > _SECONDS):
        break
  seconds = (time.monotonic() - start) / count
  return state, max(first - seconds, 0.0), seconds


def _training(run: Run, stage: Stage, epoch: int) -> Generator[Batch]:
  """The batches of a stage, epoch after epoch, without end."""
  labels = run.dataset.train.labels
  fill = None
  if run.config.perturb.static and stage.capacity:
    members = np.flatnonzero(stage.tail[labels])
    size = run.config.dataset.image_size
    images = np.zeros((len(members), size, size, 3), np.float32)
    usable = np.ones(len(members), bool)
    fill = Pool(images, usable, members, labels[members]).fill
  for number in itertools.count(epoch):
    plan = plan_epoch(run.config, stage, number, labels=labels)
    with contextlib.closing(run.feeder.training(plan, fill=fill)) as fed:
      for batch, _ in fed:
        yield batch
