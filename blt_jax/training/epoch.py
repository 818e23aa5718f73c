"""One epoch of training, which may begin and end between any two steps."""

import collections
import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import optax

from blt_jax.method.train_step import Batch, TrainState
from blt_jax.system import console, processes
from blt_jax.system.interrupt import NOTHING, STOP, Watch
from blt_jax.training import devices, nonfinite
from blt_jax.training.feeder import Fed
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage, plan_epoch
from blt_jax.workdir.progress import EpochRow, Midway

if TYPE_CHECKING:
  from blt_jax.training import profile, static_images

# Steps that the host runs ahead of the devices: enough that the devices never
# wait, few enough that the progress bar is right and memory has room for them.
_AHEAD = 2

# Compiled as one program: otherwise each array would get one of its own.
_norm = jax.jit(optax.tree.norm)


class Epoch:
  """The steps of an epoch and what they add up to.

  Attributes:
    stage: stage of the epoch.
    number: of the epoch in its stage, from 1.
    steps: steps made.
    sums: over those steps: of the metrics of `train_step`, of "seconds", of
      "waited", the seconds that steps waited for data, and of "replaced", the
      images that could not be read.
  """

  def __init__(
    self,
    run: Run,
    stage: Stage,
    number: int,
    *,
    midway: Midway | None = None,
  ):
    """An epoch from its beginning, or from where `midway` says it is."""
    self._run = run
    self._plan = plan_epoch(
      run.config, stage, number, labels=run.dataset.train.labels
    )
    self.stage, self.number = stage, number
    self.steps = midway.steps if midway else 0
    self.sums: dict[str, float] = dict(midway.sums) if midway else {}
    self._queue: collections.deque = collections.deque()

  @property
  def midway(self) -> Midway:
    """Where the epoch is, for a checkpoint: what `__init__` takes."""
    return Midway(self.stage.number, self.number, self.steps, dict(self.sums))

  @property
  def overflow(self) -> int:
    """Hallucinations that the epoch drops for lack of slots."""
    return self._plan.overflow

  @property
  def place(self) -> str:
    """Where the epoch is, for messages."""
    return (
      f"in stage {self.stage.number} epoch {self.number} after step "
      f"{self.steps} of {self.stage.steps}"
    )

  def train(
    self,
    state: TrainState,
    *,
    pool: "static_images.Pool | None",
    watch: Watch,
    save: Callable[[TrainState, Midway], None],
    workdir: pathlib.Path,
    tracer: "profile.Tracer | None" = None,
  ) -> TrainState:
    """Makes the steps that are left.

    Args:
      state: after the steps that are made.
      pool: static images, if the method has them.
      watch: says when to save and to stop.
      save: takes the state between two steps, and `midway`.
      workdir: `nonfinite.check` writes there.
      tracer: traces some of the steps, if any.

    Raises:
      FloatingPointError: when a loss, a gradient or a weight is not finite.
      Interrupted: when a signal asked to stop; after `save`.
    """
    if self.steps < self.stage.steps:
      with self._traced(tracer) as train_fn:
        state = self._train_rest(state, train_fn, pool, watch, save, workdir)
    norm = float(_norm((state.params, state.batch_stats)))
    if not math.isfinite(norm):
      raise FloatingPointError(
        f"the norm of the weights is {norm} {self.place}; expected a finite "
        "one. Try lower learning rates. The checkpoint before it is intact."
      )
    return state

  def _train_rest(
    self,
    state: TrainState,
    train_fn: Callable,
    pool: "static_images.Pool | None",
    watch: Watch,
    save: Callable[[TrainState, Midway], None],
    workdir: pathlib.Path,
  ) -> TrainState:
    """`train` without the check of the weights."""
    feeder = self._run.feeder
    title = f"stage {self.stage.number} epoch {self.number}/{self.stage.epochs}"
    rest = self._plan.tail(self.steps)
    fill = pool.fill if pool else None
    with (
      contextlib.closing(feeder.training(rest, fill=fill)) as read,
      contextlib.closing(devices.ahead(read, self._put)) as fed,
    ):
      times = _Times(fed)
      shown = console.progress(
        times, title, total=self.stage.steps, initial=self.steps
      )
      for batch in shown:
        state, metrics = train_fn(state, batch)
        self._queue.append(metrics)
        self._settle(_AHEAD, workdir)
        wish = watch.poll()
        if wish != NOTHING:
          self._settle(0, workdir)
          self._add(times.take())
          save(state, self.midway)
          watch.saved()
        if wish == STOP:
          raise watch.interrupted(self.place)
      self._settle(0, workdir)
      self._add(times.take())
    return state

  def _traced(
    self, tracer: "profile.Tracer | None"
  ) -> contextlib.AbstractContextManager[Callable]:
    """The step of the epoch, of which some calls may be traced."""
    run, stage = self._run, self.stage
    train_fn = run.train_fn(stage, self.number)
    # The first epoch that is as most of the stage are.
    first = run.config.perturb.start_epoch if stage.capacity else 1
    if not tracer or self.number < min(first, stage.epochs):
      return contextlib.nullcontext(train_fn)
    return tracer.traced(train_fn, stage.number, self.number)

  def _put(self, fed: Fed) -> Fed:
    """The same on the devices."""
    return fed._replace(batch=devices.put(fed.batch, self._run.config))

  def _settle(self, most: int, workdir: pathlib.Path) -> None:
    """Waits for steps and adds them up until at most `most` are under way."""
    while len(self._queue) > most:
      metrics = jax.device_get(self._queue.popleft())
      nonfinite.check(
        {name: float(value) for name, value in metrics.items()},
        plan=self._plan,
        step=self.steps,
        split=self._run.dataset.train,
        workdir=workdir,
      )
      self.steps += 1
      del metrics["gradient_norm"], metrics["largest_pixel"]
      self._add(metrics)

  def _add(self, values: Mapping[str, Any]) -> None:
    """Adds to the sums.

    It is called for one step at a time, because another order of adding rounds
    differently: an interrupted epoch would have other sums.
    """
    for name, value in values.items():
      self.sums[name] = self.sums.get(name, 0.0) + float(value)


def epoch_row(
  epoch: Epoch,
  state: TrainState,
  validation: dict[str, Any],
  validation_seconds: float,
) -> EpochRow:
  """The row of metrics.csv; shares are in 0..1, accuracies in percent."""
  stage, sums = epoch.stage, epoch.sums
  real = stage.steps * stage.batch_size
  hallucinated = sums.get("hallucinated", 0.0)
  top5 = validation["top5"]
  return EpochRow(
    stage=stage.number,
    epoch=epoch.number,
    step=int(state.step),
    loss=sums["loss"] / sums["weight"],
    **{f"val_{group}": validation[group] for group in top5},
    **{f"val_top5_{group}": top5[group] for group in top5},
    hallucinated=int(hallucinated),
    hallucinated_share=hallucinated / (real + hallucinated),
    mean_updates=sums.get("updates", 0.0) / max(hallucinated, 1.0),
    reached_share=sums.get("reached", 0.0) / max(hallucinated, 1.0),
    overflow=epoch.overflow,
    replaced=int(sums["replaced"]),
    seconds=round(sums["seconds"], 3),
    data_wait_share=round(sums["waited"] / sums["seconds"], 4),
    validation_seconds=round(validation_seconds, 3),
    images_per_second=round(real / sums["seconds"], 1),
  )


class _Times:
  """Passes batches on; counts replaced images and times since `take`."""

  def __init__(self, batches: Iterator[Fed]):
    self._batches = batches
    self._begin()

  def _begin(self) -> None:
    self._waited, self._start = 0.0, time.monotonic()
    self._replaced = 0

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    start = time.monotonic()
    try:
      batch, replaced = next(self._batches)
    finally:
      self._waited += time.monotonic() - start
    self._replaced += replaced
    return batch

  def take(self) -> dict[str, float]:
    """What was counted, for `Epoch.sums`; all processes have to call it."""
    taken = {
      "seconds": time.monotonic() - self._start,
      "waited": self._waited,
      "replaced": processes.total(self._replaced),
    }
    self._begin()
    return taken
