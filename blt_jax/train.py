"""The two stages of training, epoch by epoch."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from blt_jax import ahead, build, logs, processes, static_images
from blt_jax import workdir as workdirs
from blt_jax.batches import HostBatch
from blt_jax.checkpoint import Checkpoints, Progress
from blt_jax.config_check import check_config
from blt_jax.evaluate import Evaluation
from blt_jax.report import command, recording
from blt_jax.resume import begin_or_resume, begin_stage, check_reuse
from blt_jax.run import Run, epochs_done
from blt_jax.train_step import TrainState


def train(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains both stages, or what is left of them, tests and reports the result.

  Every epoch ends with a validation pass and a checkpoint. The same call again
  continues where the last one stopped and ends with the same bits as a run that
  was never interrupted (on CPU); after the end it returns the results at once.

  Args:
    config: a configuration as `configs/common.py` defines it.
    workdir: directory of the run, made when it does not exist.

  Returns:
    What results.json holds.

  Raises:
    ValueError: for a configuration, data set or work directory that can't work.
    FloatingPointError: when the loss is no longer finite.
  """
  check_config(config)
  results = workdirs.own_results(workdir, config)
  if results:
    logs.say(f"{workdir} is finished.")
    logs.say(logs.results_table(results))
    return results
  check_reuse(config)
  run = Run(config)
  run.announce()
  _claim(workdir, config)
  recording.write_classes(workdir, run.class_counts, run.dataset.class_names)
  with run.open_checkpoints(workdir) as checkpoints:
    state, progress = begin_or_resume(run, checkpoints, workdir)
    with logs.Events(workdir) as events:
      state, progress = train_stages(
        run, state, progress, checkpoints, workdir, events
      )
    results = test_best_and_last(run, state, progress, checkpoints, workdir)
  workdirs.write_json(workdir / workdirs.RESULTS, results)
  logs.say(logs.results_table(results))
  if processes.is_first():
    attempt(
      lambda: logs.say(f"report: {command.write_report([workdir], workdir)}"),
      command.FILE,
    )
  return results


def _claim(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """`workdirs.claim` by the first process; the others find it done.

  Raises:
    ValueError: also when this process does not see the first one's directory.
  """
  if processes.is_first():
    workdirs.claim(workdir, config)
  processes.barrier("the work directory is claimed")
  if not (workdir / workdirs.CONFIG).exists():
    raise ValueError(
      f"--workdir={workdir} of process {processes.index()} is not that of the "
      "first process; expected a file system that all processes share."
    )
  workdirs.claim(workdir, config)


def train_stages(
  run: Run,
  state: TrainState,
  progress: Progress,
  checkpoints: Checkpoints,
  workdir: pathlib.Path,
  events: logs.Events,
) -> tuple[TrainState, Progress]:
  """Trains every epoch that is not finished yet."""
  clock = logs.Clock(run.images_left(progress))
  for stage in run.stages:
    done = epochs_done(stage, progress)
    if done == stage.epochs:
      continue
    state, pool = begin_stage(run, state, stage, workdir, done=done)
    for epoch in range(done + 1, stage.epochs + 1):
      state, sums = train_epoch(run, state, stage, epoch, pool)
      evaluation, seconds = validate(run, state)
      sums["validation_seconds"] = seconds
      # Before the checkpoint: an epoch with one is not trained again.
      name = recording.epoch_name(stage.number, epoch)
      recording.write_confusion(workdir, name, evaluation.confusion)
      state = state.replace(
        confusion=build.place(evaluation.confusion, run.config)
      )
      row = epoch_row(stage, epoch, state, sums, run.summary(evaluation))
      progress = progress.after(row)
      checkpoints.save(state, progress)
      workdirs.write_metrics(workdir, progress.rows)
      events.write(row)
      left = clock.after(stage.steps * stage.batch_size)
      logs.say(logs.epoch_line(row, epochs=stage.epochs, left=left))
  return state, progress


def train_epoch(
  run: Run,
  state: TrainState,
  stage: build.Stage,
  epoch: int,
  pool: static_images.Pool | None,
) -> tuple[TrainState, dict[str, float]]:
  """One pass of `stage.steps` steps.

  Returns:
    (the state after it, sums over the epoch: those of `train_step`, "overflow",
    "replaced" images that could not be read, and the seconds "seconds" and
    "waited" for data).

  Raises:
    FloatingPointError: when the loss or a weight is not finite.
  """
  plan = run.feeder.plan(stage, epoch)
  substitutes = run.feeder.substitutes["training"]
  replaced = substitutes.replaced
  batches = Timed(run.feeder.training(plan, pool=pool))
  title = f"stage {stage.number} epoch {epoch}/{stage.epochs}"
  start, outputs = time.monotonic(), []
  shown = logs.progress(batches, title, total=stage.steps)
  for group in ahead.groups(shown, run.config.perturb.every):
    for batch in hallucinated_ahead(run, state, group):
      state, metrics = run.train_fn(state, batch)
      outputs.append(metrics)
      _bound_queue(outputs)
  sums = _sum(jax.device_get(outputs))
  norm = float(optax.tree.norm((state.params, state.batch_stats)))
  for what, value in (("loss", sums["loss"]), ("norm of the weights", norm)):
    if not math.isfinite(value):
      raise FloatingPointError(
        f"the {what} is {value} in stage {stage.number} epoch {epoch}: try "
        "lower learning rates. Checkpoints of earlier epochs are intact."
      )
  sums["overflow"] = plan.overflow
  sums["replaced"] = processes.total(substitutes.replaced - replaced)
  sums["waited"] = batches.waited
  sums["seconds"] = time.monotonic() - start
  return state, sums


def hallucinated_ahead(
  run: Run, state: TrainState, group: list[HostBatch]
) -> list[HostBatch]:
  """The batches of a group, hallucinated for where `perturb.every` says so."""
  every = run.config.perturb.every
  if every == 1 or "source_label" not in group[0]:
    return group
  extras = run.ahead_fn(state, ahead.slots_of(group, every))
  return list(map(ahead.with_extra, group, extras))


def validate(run: Run, state: TrainState) -> tuple[Evaluation, float]:
  """The validation pass of an epoch, and the seconds that it took."""
  start = time.monotonic()
  evaluation = run.evaluate(state, run.dataset.validation)
  return evaluation, time.monotonic() - start


def epoch_row(
  stage: build.Stage,
  epoch: int,
  state: TrainState,
  sums: dict[str, float],
  validation: dict[str, Any],
) -> dict[str, Any]:
  """The row of metrics.csv; shares are in 0..1, accuracies in percent."""
  real = stage.steps * stage.batch_size
  hallucinated = sums.get("hallucinated", 0.0)
  top5 = validation["top5"]
  return {
    "stage": stage.number,
    "epoch": epoch,
    "step": int(state.step),
    "loss": sums["loss"] / sums["weight"],
    **{f"val_{group}": validation[group] for group in top5},
    **{f"val_top5_{group}": top5[group] for group in top5},
    "hallucinated": int(hallucinated),
    "hallucinated_share": hallucinated / (real + hallucinated),
    "mean_updates": sums.get("updates", 0.0) / max(hallucinated, 1.0),
    "reached_share": sums.get("reached", 0.0) / max(hallucinated, 1.0),
    "overflow": sums["overflow"],
    "replaced": sums["replaced"],
    "seconds": round(sums["seconds"], 3),
    "data_wait_share": round(sums["waited"] / sums["seconds"], 4),
    "validation_seconds": round(sums["validation_seconds"], 3),
    "images_per_second": round(real / sums["seconds"], 1),
  }


def test_best_and_last(
  run: Run,
  state: TrainState,
  progress: Progress,
  checkpoints: Checkpoints,
  workdir: pathlib.Path,
) -> dict[str, Any]:
  """Evaluates the best and the last epoch on validation and test images.

  What they confused, and examples of hallucination with the best epoch, are
  left in the work directory.
  """
  results = {
    "method": run.config.method,
    "dataset": run.config.dataset.name,
    "seed": run.config.seed,
    "class_counts": [int(count) for count in run.class_counts],
    "class_names": list(run.dataset.class_names),
  }
  best_state, best = state, dataclasses.asdict(progress)["best"]
  if best["step"] != int(state.step):
    best_state, _ = checkpoints.restore(state, step=best["step"])
    best_state = build.place(best_state, run.config)
  for which, epoch, tested in (
    ("best", best["epoch"], best_state),
    ("last", progress.epoch, state),
  ):
    evaluation = run.evaluate(tested, run.dataset.test)
    recording.write_confusion(workdir, f"test-{which}", evaluation.confusion)
    results[which] = {
      "stage": progress.stage,
      "epoch": epoch,
      "validation": run.summary(run.evaluate(tested, run.dataset.validation)),
      "test": run.summary(evaluation),
    }
  attempt(
    lambda: recording.write_examples(workdir, run.feeder, best_state),
    "examples of perturbed images",
  )
  return results


def attempt(write: Callable[[], object], what: str) -> None:
  """Writes what a trained run can do without; a failure is only said."""
  try:
    write()
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    logs.say(f"left out: {what}: {reason}")


def evaluate_run(workdir: pathlib.Path) -> dict[str, Any]:
  """Tests the best epoch of a run and prints its accuracies.

  Args:
    workdir: work directory of a run with at least one finished epoch.

  Returns:
    {"overall", "many", "medium", "few", "top5"} on the test images, percent.

  Raises:
    ValueError: when the directory holds no run, or no checkpoint.
  """
  config = workdirs.read_config(workdir)
  check_config(config)
  run = Run(config)
  state = build.init_state(config, run.model, run.dataset.num_classes)
  folder = workdir / "checkpoints"
  with Checkpoints(folder, read_only=True) as checkpoints:
    if checkpoints.latest_step() is None:
      raise ValueError(f"--workdir={workdir} holds no checkpoint yet.")
    _, progress = checkpoints.restore(state)
    best = dataclasses.asdict(progress)["best"]
    state, _ = checkpoints.restore(state, step=best["step"])
  tested = run.summary(run.evaluate(state, run.dataset.test))
  logs.say(
    f"stage {best['stage']} epoch {best['epoch']}, the best so far, test:"
  )
  for title, values in (("top-1", tested), ("top-5", tested["top5"])):
    logs.say(f"{title}  {logs.accuracies(values)}")
  return tested


class Timed:
  """Passes batches on and adds up the time spent waiting for them."""

  def __init__(self, batches: Iterator[HostBatch]):
    """Wraps an iterator."""
    self._batches = batches
    self.waited = 0.0

  def __iter__(self) -> Iterator[HostBatch]:
    return self

  def __next__(self) -> HostBatch:
    start = time.monotonic()
    try:
      return next(self._batches)
    finally:
      self.waited += time.monotonic() - start


def _bound_queue(outputs: list) -> None:
  """Lets the host run at most two steps ahead of the devices.

  They never idle, the progress bar tells the truth, and the batches in flight
  don't fill the memory.
  """
  if len(outputs) > 2:
    jax.block_until_ready(outputs[-3])


def _sum(outputs: list[dict[str, np.ndarray]]) -> dict[str, float]:
  """Sums each metric over the steps."""
  return {
    name: float(np.sum([output[name] for output in outputs], dtype=np.float64))
    for name in outputs[0]
  }
