"""The two stages of training, epoch by epoch."""

import contextlib
import dataclasses
import functools
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import ml_collections

from blt_jax.config import PLACES, Config, check_config, flatten
from blt_jax.data.dataset import Dataset
from blt_jax.method.train_step import EvalBatch, TrainState
from blt_jax.system import console, processes, tensorboard
from blt_jax.system.interrupt import Interrupted, Watch
from blt_jax.training import choose, devices, lines
from blt_jax.training.epoch import Epoch, epoch_row
from blt_jax.training.evaluation import Evaluation
from blt_jax.training.resume import (
  begin_or_resume,
  begin_stage,
  check_images_of_reuse,
  check_pretrained,
  check_reuse,
)
from blt_jax.training.run import Run
from blt_jax.workdir import directory, files, records
from blt_jax.workdir.checkpoint import Checkpoints
from blt_jax.workdir.progress import EpochRow, Midway, Progress

if TYPE_CHECKING:
  from blt_jax.training import profile


@dataclasses.dataclass(frozen=True)
class Session:
  """A run that is under way, and what it writes to."""

  run: Run
  workdir: pathlib.Path
  checkpoints: Checkpoints
  events: tensorboard.Events
  watch: Watch
  after_epoch: Callable[[EpochRow], object] | None = None
  tracer: "profile.Tracer | None" = None

  def evaluate_after(self, epoch: Epoch, state: TrainState) -> Evaluation:
    """Evaluates the state after an epoch on the validation split.

    Raises:
      Interrupted: when a signal asks to stop; the message names the epoch.
        Nothing is saved.
    """
    guard = self.guard(epoch.place)
    stage = epoch.stage.number
    return self.run.evaluate(state, "validation", stage=stage, guard=guard)

  def guard(
    self, place: str
  ) -> Callable[[Iterator[EvalBatch]], Iterator[EvalBatch]]:
    """What batches of an evaluation pass through; a stop names `place`."""
    return functools.partial(self.watch.between, place=place)


def train(
  config: ml_collections.ConfigDict | Config | Mapping[str, Any],
  workdir: pathlib.Path,
  *,
  dataset: Dataset | None = None,
  model: nn.Module | None = None,
  after_epoch: Callable[[EpochRow], object] | None = None,
  profile_steps: int = 0,
) -> dict[str, Any]:
  """Trains both stages, or what is left of them, and tests the result.

  Every epoch ends with a validation pass and a checkpoint; long ones have more
  (`checkpoint.every_minutes`). The same call again continues where the last one
  stopped and ends with the same bits as a run that was never interrupted (on
  CPU); after the end it returns the results at once. In the main thread it
  stops at SIGTERM and SIGINT, after a checkpoint at the next step.

  Args:
    config: a configuration, as get_config of configs/*.py gives it.
    workdir: directory of the run, made when it does not exist; ~ is the home
      folder.
    dataset: images in place of the configuration's.
    model: a network in place of the configuration's.
    after_epoch: called in every process after an epoch's checkpoint.
    profile_steps: steps of each stage to trace, see `profile.Tracer`.

  Returns:
    What results.json holds.

  Raises:
    ValueError: for a configuration or data set that can't work, or a work
      directory that another configuration or process uses.
    FloatingPointError: when a loss or gradient is no longer finite.
    OSError: when the work directory can't be written any more.
    Interrupted: a KeyboardInterrupt, after a signal.
  """
  workdir = workdir.expanduser()
  if dataset is None and model is None:
    chosen = choose.complete(check_config(config), workdir=workdir)
  else:
    from blt_jax.training import given  # Few runs need it.

    chosen = given.complete(config, workdir, dataset=dataset, own=model)
  results = directory.finished_results(workdir, chosen.config)
  if results:
    # The images were not looked at, the weights were.
    names = ("model.pretrained",)
    directory.record_places(workdir, chosen.config, names=names)
    _say_finished(workdir, chosen.config)
    directory.remove_stale_lock(workdir)
  else:
    with _begin(chosen, workdir, after_epoch, profile_steps) as session:
      state, progress = begin_or_resume(
        session.run, session.checkpoints, workdir
      )
      for row in progress.rows:
        _write_events(session.events, row)
      state, progress = train_stages(session, state, progress)
      results = test_best_and_last(session, state, progress)
      if processes.is_first():
        files.write_json(workdir / directory.RESULTS, results)
  console.say(lines.results_table(results))
  return results


def _say_finished(workdir: pathlib.Path, config: Config) -> None:
  """Says that a run is finished, and that its images were not looked at."""
  console.say(
    f"{workdir} is finished; its images were not looked at again (images added "
    "since are not part of it)."
  )
  ours, theirs = flatten(config), flatten(directory.read_config(workdir))
  moved = [
    f"--config.{name}={ours[name]}"
    for name in PLACES
    if ours[name] != theirs[name]
  ]
  if moved:
    flags = ["--mode=evaluate", f"--workdir={workdir}", *moved]
    console.say(f"note: to test it on the images there: {shlex.join(flags)}")


@contextlib.contextmanager
def _begin(
  chosen: choose.Complete,
  workdir: pathlib.Path,
  after_epoch: Callable[[EpochRow], object] | None,
  profile_steps: int,
) -> Iterator[Session]:
  """Checks a run, announces it and locks its work directory."""
  config = chosen.config
  check_reuse(config)
  check_pretrained(config, begun=(workdir / directory.CONFIG).exists())
  with (
    Watch(every_minutes=config.checkpoint.every_minutes) as watch,
    directory.explain_write_errors(workdir),
    contextlib.ExitStack() as held,
  ):
    run = Run(config, dataset=chosen.dataset, own=chosen.own)
    _check_images(run)
    check_images_of_reuse(run, chosen.handed)
    if config.perturb.static:
      from blt_jax.training import static_images  # Few runs need it.

      static_images.check_memory(config, run.stages, run.class_counts)
    run.announce(chosen.reasons)
    if processes.is_first():
      held.enter_context(directory.lock(workdir))
      directory.claim(workdir, config)
      files.remove_unfinished(workdir)
    _check_shared(workdir, config)
    directory.check_classes(
      workdir, run.dataset.counts, run.dataset.class_names
    )
    if chosen.handed:
      from blt_jax.workdir import given  # Few runs need it.

      given.record(workdir, chosen.handed)
    directory.record_places(workdir, config)
    _record_splits(workdir, run)
    _record_prior(workdir, run)
    checkpoints = held.enter_context(run.open_checkpoints(workdir))
    events = held.enter_context(tensorboard.Events(workdir))
    tracer = None
    if profile_steps and processes.is_first():
      from blt_jax.training import profile  # Few runs need it.

      tracer = profile.Tracer(workdir, profile_steps)
    yield Session(run, workdir, checkpoints, events, watch, after_epoch, tracer)


def _record_splits(workdir: pathlib.Path, run: Run) -> None:
  """Writes splits.csv as a run begins; says what has changed as it goes on."""
  if not processes.is_first():
    return
  from blt_jax.training import splits_file  # Needed once.

  begun = (workdir / records.SPLITS).exists()
  record = splits_file.compare if begun else splits_file.write
  record(workdir, run.config, run.dataset)


def _record_prior(workdir: pathlib.Path, run: Run) -> None:
  """Keeps the shares of `dataset.prior`; one that has changed is refused."""
  if run.target_shares is None or not processes.is_first():
    return
  from blt_jax.training import prior  # Few runs have one.

  prior.record(
    workdir,
    run.config.dataset.prior,
    shares=run.target_shares,
    class_names=run.dataset.class_names,
  )


def _check_images(run: Run) -> None:
  """Compares the images of all processes, by names or pixels, and labels.

  Raises:
    ValueError: when they are not the same: each process would read its share of
      a batch from a list of its own.
  """
  if processes.count() == 1:
    return
  from blt_jax.data.fingerprint import fingerprint

  if others := processes.differing(fingerprint(run.dataset)):
    raise ValueError(
      f"process {others[0]} has other images than process 0 (their number, "
      "order, labels, or names or pixels); expected the same data set in every "
      "process."
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
  session: Session, state: TrainState, progress: Progress
) -> tuple[TrainState, Progress]:
  """Trains every epoch that is not finished yet."""
  run = session.run
  clock = console.Clock()
  for stage in run.stages:
    if stage.is_over(progress):
      continue
    midway = progress.midway_in(stage.number)
    state, pool = begin_stage(
      run,
      state,
      stage,
      session.workdir,
      session.checkpoints,
      progress=progress,
    )
    while not stage.is_over(progress):
      number = progress.epochs_done(stage.number) + 1
      epoch = Epoch(run, stage, number, midway=midway)
      before, midway = epoch.steps, None
      save = functools.partial(_save_midway, session.checkpoints, progress)
      state = epoch.train(
        state,
        pool=pool,
        watch=session.watch,
        save=save,
        workdir=session.workdir,
        tracer=session.tracer,
      )
      state, row = validate(session, state, epoch, save=save)
      progress = progress.after(row)
      _finish_epoch(session, state, progress)
      trained = (stage.steps - before) * stage.batch_size
      left = clock.after(trained, left=run.images_left(progress))
      console.say(
        lines.epoch_line(
          row,
          epochs=stage.epochs,
          left=f"at most {left}" if run.may_end_early(progress) else left,
          best=progress.best if stage.ended_early(progress) else None,
        )
      )
      if session.after_epoch:
        session.after_epoch(row)
  return state, progress


def _save_midway(
  checkpoints: Checkpoints,
  progress: Progress,
  state: TrainState,
  midway: Midway,
) -> None:
  progress = dataclasses.replace(progress, midway=midway)
  checkpoints.save_midway(state.arrays(), progress)


def validate(
  session: Session,
  state: TrainState,
  epoch: Epoch,
  *,
  save: Callable[[TrainState, Midway], None],
) -> tuple[TrainState, EpochRow]:
  """The validation pass of an epoch.

  Returns:
    (the state with the confusion on the validation images, the epoch's row).

  Raises:
    Interrupted: when a signal asked to stop; after `save`.
  """
  start = time.monotonic()
  try:
    evaluation = session.evaluate_after(epoch, state)
  except Interrupted:
    save(state, epoch.midway)
    raise
  seconds = time.monotonic() - start
  confusion = devices.place(evaluation.confusion, session.run.config)
  row = epoch_row(epoch, state, session.run.summary(evaluation), seconds)
  return state.replace(confusion=confusion), row


def _finish_epoch(
  session: Session, state: TrainState, progress: Progress
) -> None:
  """Records a finished epoch.

  The confusion matrix is written before the checkpoint: an epoch that has a
  checkpoint is not trained again, so a matrix that is missing then would be
  missing for good. The metrics and events are written after it, so that an
  epoch that was shown is never trained again.
  """
  row = progress.rows[-1]
  name = records.epoch_name(row.stage, row.epoch)
  confusion = jax.device_get(state.confusion)
  records.write_confusion(session.workdir, name, confusion)
  session.checkpoints.save(state.arrays(), progress)
  session.watch.saved()
  records.write_metrics(session.workdir, progress.rows)
  _write_events(session.events, row)


def _write_events(events: tensorboard.Events, row: EpochRow) -> None:
  values = dataclasses.asdict(row)
  for name in ("stage", "epoch", "step"):
    del values[name]
  events.write(row.step, values)


def test_best_and_last(
  session: Session, state: TrainState, progress: Progress
) -> dict[str, Any]:
  """Tests the best and the last epoch, on validation and test images.

  Writes what they predict, their confusion matrices, the scores of each class,
  and examples of images hallucinated with the best epoch, into the work
  directory.
  """
  from blt_jax.training import final  # Needed once, at the end.

  run, workdir = session.run, session.workdir
  last, best = progress.rows[-1], progress.best
  best_state = state
  if best != last:
    arrays, best = session.checkpoints.restore_best(state.arrays(), progress)
    best_state = devices.place(state.with_arrays(arrays), run.config)
  guard = session.guard("after the last epoch, before its test")
  tested = final.test_epoch(run, best_state, best, guard=guard)
  found = {"best": tested, "last": tested}
  if best != last:
    found["last"] = final.test_epoch(run, state, last, guard=guard)
  final.write(run, workdir, found)
  attempt(
    lambda: _write_examples(session, best_state), "examples of perturbed images"
  )
  return final.results(run, found)


def _write_examples(session: Session, state: TrainState) -> None:
  from blt_jax.training import examples  # Needed once, at the end.

  made = examples.make_examples(session.run.feeder, state)
  records.write_examples(session.workdir, made)


def attempt(write: Callable[[], object], what: str) -> None:
  """Calls `write` for a file that a run can do without: prints a failure."""
  try:
    write()
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    console.say(f"left out: {what}: {reason}")
