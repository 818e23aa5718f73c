"""The two stages of training, epoch by epoch."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from blt_jax.config import Config, check_config, with_values
from blt_jax.method.train_step import TrainState
from blt_jax.report import command
from blt_jax.system import console, processes, tensorboard
from blt_jax.system.interrupt import Interrupted, Watch
from blt_jax.training import (
  build,
  choose,
  devices,
  examples,
  lines,
  static_images,
)
from blt_jax.training.epoch import Epoch
from blt_jax.training.evaluate import Evaluation
from blt_jax.training.resume import (
  begin_or_resume,
  begin_stage,
  check_pretrained,
  check_reuse,
)
from blt_jax.training.run import Run
from blt_jax.workdir import directory, files, records
from blt_jax.workdir.checkpoint import FOLDER, Checkpoints
from blt_jax.workdir.progress import EpochRow, Midway, Progress


def train(
  config: ml_collections.ConfigDict | Config, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains both stages, or what is left of them, tests and reports the result.

  Every epoch ends with a validation pass and a checkpoint; long ones have more
  (`checkpoint.every_minutes`). The same call again continues where the last one
  stopped and ends with the same bits as a run that was never interrupted (on
  CPU); after the end it returns the results at once. Called from the main
  thread, SIGTERM and SIGINT end it after a checkpoint at the next step.

  Args:
    config: a configuration, as get_config of configs/*.py gives it.
    workdir: directory of the run, made when it does not exist.

  Returns:
    What results.json holds.

  Raises:
    ValueError: for a configuration, data set or work directory that can't work,
      also one that another process trains in.
    FloatingPointError: when a loss or gradient is no longer finite.
    OSError: when the work directory can't be written any more.
    Interrupted: a KeyboardInterrupt, after a signal.
  """
  chosen = choose.complete(check_config(config), workdir=workdir)
  config = chosen.config
  results = directory.finished_results(workdir, config)
  if results:
    console.say(f"{workdir} is finished.")
    console.say(lines.results_table(results))
    if not (workdir / command.FILE).exists():
      _write_report(workdir)
    directory.remove_stale_lock(workdir)
    return results
  check_reuse(config)
  if not (workdir / directory.CONFIG).exists():
    check_pretrained(config)
  watch = Watch(every_minutes=config.checkpoint.every_minutes)
  with (
    watch,
    directory.explain_write_errors(workdir),
    contextlib.ExitStack() as held,
  ):
    run = Run(config, dataset=chosen.dataset)
    static_images.check_memory(config, run.stages, run.class_counts)
    run.announce(chosen.reasons)
    if processes.is_first():
      held.enter_context(directory.lock(workdir))
      directory.claim(workdir, config)
      files.remove_unfinished(workdir)
    _check_shared(workdir, config)
    directory.check_classes(workdir, run.class_counts, run.dataset.class_names)
    checkpoints = held.enter_context(run.open_checkpoints(workdir))
    state, progress = begin_or_resume(run, checkpoints, workdir)
    with tensorboard.Events(workdir) as events:
      for row in progress.rows:
        _write_events(events, row)
      state, progress = train_stages(
        run, state, progress, checkpoints, workdir, events, watch
      )
    results = test_best_and_last(
      run, state, progress, checkpoints, workdir, watch
    )
    if processes.is_first():
      files.write_json(workdir / directory.RESULTS, results)
    console.say(lines.results_table(results))
    _write_report(workdir)
  return results


def _write_report(workdir: pathlib.Path) -> None:
  if processes.is_first():
    attempt(
      lambda: console.say(
        f"report: {command.write_report([workdir], workdir)}"
      ),
      command.FILE,
    )


def _check_shared(workdir: pathlib.Path, config: Config) -> None:
  """Waits until the first process has claimed the work directory.

  Raises:
    ValueError: when this process does not see it, or has another configuration.
  """
  processes.barrier("the work directory is claimed")
  if not (workdir / directory.CONFIG).exists():
    raise ValueError(
      f"--workdir={workdir} of process {processes.index()} is not that of the "
      "first process; expected a file system that all processes share."
    )
  directory.check_config_of(workdir, config)


def train_stages(
  run: Run,
  state: TrainState,
  progress: Progress,
  checkpoints: Checkpoints,
  workdir: pathlib.Path,
  events: tensorboard.Events,
  watch: Watch,
) -> tuple[TrainState, Progress]:
  """Trains every epoch that is not finished yet."""
  clock = console.Clock(run.images_left(progress))
  for stage in run.stages:
    done = progress.epochs_done(stage.number)
    midway = progress.midway_in(stage.number)
    if done == stage.epochs:
      continue
    state, pool = begin_stage(
      run, state, stage, workdir, checkpoints, begun=bool(done or midway)
    )
    for number in range(done + 1, stage.epochs + 1):
      epoch = Epoch(run, stage, number, midway=midway)
      before, midway = epoch.steps, None
      save = functools.partial(_save_midway, checkpoints, progress)
      state = epoch.train(
        state, pool=pool, watch=watch, save=save, workdir=workdir
      )
      try:
        evaluation, seconds = validate(run, state, watch, epoch.place)
      except Interrupted:
        save(state, epoch.midway)
        raise
      # Before the checkpoint: an epoch with one is not trained again.
      name = records.epoch_name(stage.number, number)
      records.write_confusion(workdir, name, evaluation.confusion)
      state = state.replace(
        confusion=devices.place(evaluation.confusion, run.config)
      )
      row = epoch_row(epoch, state, run.summary(evaluation), seconds)
      progress = progress.after(row)
      checkpoints.save(state, progress)
      watch.saved()
      # After it: what is shown once is not done again.
      records.write_metrics(workdir, progress.rows)
      _write_events(events, row)
      left = clock.after((stage.steps - before) * stage.batch_size)
      console.say(lines.epoch_line(row, epochs=stage.epochs, left=left))
  return state, progress


def _write_events(events: tensorboard.Events, row: EpochRow) -> None:
  values = dataclasses.asdict(row)
  for name in ("stage", "epoch", "step"):
    del values[name]
  events.write(row.step, values)


def _save_midway(
  checkpoints: Checkpoints,
  progress: Progress,
  state: TrainState,
  midway: Midway,
) -> None:
  checkpoints.save_midway(state, dataclasses.replace(progress, midway=midway))


def validate(
  run: Run, state: TrainState, watch: Watch, place: str
) -> tuple[Evaluation, float]:
  """The validation pass of an epoch, and the seconds that it took.

  Args:
    run: the run.
    state: after the epoch.
    watch: says when to stop.
    place: where the run is, for the message.

  Raises:
    Interrupted: when a stop is asked for; nothing is saved yet.
  """
  start = time.monotonic()
  evaluation = run.evaluate(
    state,
    "validation",
    guard=lambda batches: watch.between(batches, place),
  )
  return evaluation, time.monotonic() - start


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


def test_best_and_last(
  run: Run,
  state: TrainState,
  progress: Progress,
  checkpoints: Checkpoints,
  workdir: pathlib.Path,
  watch: Watch,
) -> dict[str, Any]:
  """Evaluates the best and the last epoch on validation and test images.

  What they confused, and examples of hallucination with the best epoch, are
  left in the work directory.
  """
  results = {
    "method": run.config.method,
    "dataset": run.config.dataset.name,
    "seed": run.config.seed,
    "device": f"{len(run.devices)} x {run.devices[0].device_kind}",
    "class_counts": [int(count) for count in run.class_counts],
    "class_names": list(run.dataset.class_names),
  }

  def evaluated(state: TrainState, role: str) -> Evaluation:
    place = "after the last epoch, before its test"
    return run.evaluate(
      state, role, guard=lambda batches: watch.between(batches, place)
    )

  best_state, best = state, progress.best
  assert best is not None
  if best.step != int(state.step):
    best_state, best = checkpoints.restore_best(state, progress)
    best_state = devices.place(best_state, run.config)
  for which, epoch, tested in (
    ("best", best.epoch, best_state),
    ("last", progress.epoch, state),
  ):
    evaluation = evaluated(tested, "test")
    records.write_confusion(workdir, f"test-{which}", evaluation.confusion)
    results[which] = {
      "stage": progress.stage,
      "epoch": epoch,
      "validation": run.summary(evaluated(tested, "validation")),
      "test": run.summary(evaluation),
    }
  attempt(
    lambda: records.write_examples(
      workdir, examples.make_examples(run.feeder, best_state)
    ),
    "examples of perturbed images",
  )
  return results


def attempt(write: Callable[[], object], what: str) -> None:
  """Writes what a trained run can do without; a failure is only said."""
  try:
    write()
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    console.say(f"left out: {what}: {reason}")


def evaluate_run(
  workdir: pathlib.Path,
  *,
  checkpoint: str = "best",
  posthoc_taus: Sequence[float] = (),
) -> list[dict[str, Any]]:
  """Tests an epoch of a run and prints its accuracies.

  Args:
    workdir: work directory of a run with at least one finished epoch.
    checkpoint: "best" (by validation) or "last" epoch.
    posthoc_taus: values of `model.posthoc_tau` to evaluate with instead of the
      run's own; the accuracies on validation, which are to choose one by, are
      printed beside those on test.

  Returns:
    {"overall", "many", "medium", "few", "top5"} on the test images, percent,
    for each tau, or once.

  Raises:
    ValueError: when the directory holds no run or no checkpoint, or a tau does
      not go with the run's loss.
  """
  config = directory.read_config(workdir)
  adjusted = [
    with_values(config, {"model.posthoc_tau": tau}) for tau in posthoc_taus
  ]
  run = Run(config)
  template = build.init_state(config, run.model, run.dataset.num_classes)
  with Checkpoints(workdir / FOLDER, read_only=True) as checkpoints:
    if checkpoints.latest_step() is None:
      raise ValueError(f"--workdir={workdir} holds no checkpoint yet.")
    state, progress = checkpoints.restore(template)
    row = progress.rows[-1]
    if checkpoint == "best":
      state, row = checkpoints.restore_best(template, progress)
  split = "" if adjusted else ", test"
  console.say(
    f"stage {row.stage} epoch {row.epoch}, the {checkpoint} so far{split}:"
  )
  if adjusted:
    return [
      _evaluate_adjusted(Run(each, dataset=run.dataset), state)
      for each in adjusted
    ]
  tested = run.summary(run.evaluate(state, "test"))
  for title, values in (("top-1", tested), ("top-5", tested["top5"])):
    console.say(f"{title}  {lines.accuracies(values)}")
  return [tested]


def _evaluate_adjusted(run: Run, state: TrainState) -> dict[str, Any]:
  """Prints validation and test accuracies of a post-hoc tau; returns these."""
  tau = run.config.model.posthoc_tau
  validation, tested = (
    run.summary(run.evaluate(state, role)) for role in ("validation", "test")
  )
  console.say(f"tau {tau:<4g} validation  {lines.accuracies(validation)}")
  console.say(f"         test        {lines.accuracies(tested)}")
  return tested
