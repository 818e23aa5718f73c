"""The state that a run, or a stage of it, begins with or goes on with."""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from blt_jax.config import PLACES, Config, differing
from blt_jax.method.train_step import TrainState, merge
from blt_jax.system import console
from blt_jax.training import build, devices, lines
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage
from blt_jax.workdir import directory, records
from blt_jax.workdir.progress import Progress

if TYPE_CHECKING:
  from blt_jax.training import static_images
  from blt_jax.workdir.checkpoint import Checkpoints


def begin_or_resume(
  run: Run, checkpoints: "Checkpoints", workdir: pathlib.Path
) -> tuple[TrainState, Progress]:
  """The state that a run goes on with, and where it stands.

  It is the state of the newest checkpoint. Without any, it is the end of
  another run's stage 1 if the configuration names one, or else a fresh state.
  What parameters it has is said in a line, and in parameters.txt in full.
  """
  state, progress = _begin_or_resume(run, checkpoints, workdir)
  params = state.variables["params"]
  console.say(lines.parameters_line(params, are_trained=not state.frozen))
  records.write_parameters(workdir, params)
  return state, progress


def _begin_or_resume(
  run: Run, checkpoints: "Checkpoints", workdir: pathlib.Path
) -> tuple[TrainState, Progress]:
  """`begin_or_resume` without a line."""
  if checkpoints.latest_step() is not None:
    return _resume(run, checkpoints, workdir)
  directory.lengthen(workdir, run.config)
  if run.config.stage1.reuse:
    other = pathlib.Path(run.config.stage1.reuse)
    records.copy_stage1_confusions(workdir, other)
    return _take_over_stage1(run, other)
  state = build.init_state(run.config, run.model, run.dataset.num_classes)
  return with_pretrained(run.config, state), Progress()


def _resume(
  run: Run, checkpoints: "Checkpoints", workdir: pathlib.Path
) -> tuple[TrainState, Progress]:
  """Goes on from the newest checkpoint.

  Removes old checkpoints and writes metrics.csv again, because the run may have
  ended right after it wrote the checkpoint.
  """
  template = run.state_shapes()
  arrays, progress = checkpoints.restore(template.arrays())
  state = build.restored(run.config, template, arrays)
  checkpoints.remove_old(progress, step=int(state.step))
  _lengthen(run.config, workdir, progress)
  records.write_metrics(workdir, progress.rows)
  place = f"after stage {progress.stage} epoch {progress.epoch}"
  if midway := progress.midway:
    place = (
      f"in stage {midway.stage} epoch {midway.epoch} after step {midway.steps}"
    )
  console.say(f"continuing {workdir} {place}")
  return state, progress


def _lengthen(
  config: Config, workdir: pathlib.Path, progress: Progress
) -> None:
  """Writes the configuration of a run that is to have more epochs than before.

  Raises:
    ValueError: for stage 1 when stage 2 has begun, and for a stage that has
      begun when its learning rates depend on its length.
  """
  before = directory.read_config(workdir)
  stage2_begun = progress.stage == 2 or progress.midway_in(2) is not None
  if config.stage1.epochs > before.stage1.epochs and stage2_begun:
    raise ValueError(
      f"config.stage1.epochs is {config.stage1.epochs}; expected "
      f"{before.stage1.epochs}, because {workdir} has finished its stage 1 and "
      "begun stage 2. Choose another --workdir."
    )
  for number in (1, 2) if stage2_begun else (1,):
    length, ours = before.stage(number).epochs, config.stage(number).epochs
    if config.optimizer.schedule == "cosine" and ours > length:
      raise ValueError(
        f"config.stage{number}.epochs is {ours}; expected {length} with "
        f"config.optimizer.schedule cosine, because {workdir} has begun stage "
        f"{number} with learning rates that are 0 after {length} epochs. "
        "Choose another --workdir."
      )
  for number in (1, 2):
    section, length = config.stage(number), before.stage(number).epochs
    patience = section.patience
    if section.epochs > length and progress.ended_early(
      number, patience=patience
    ):
      console.say(
        f"note: more epochs of stage {number} change nothing: it has ended "
        f"early, after epoch {progress.epochs_done(number)} "
        f"(config.stage{number}.patience is {patience})"
      )
  directory.lengthen(workdir, config)


def check_pretrained(config: Config, *, begun: bool) -> None:
  """Refuses weights to begin with that don't fit, or that have changed.

  Args:
    config: the configuration, with nothing left open.
    begun: whether the run has begun.

  Raises:
    ValueError: names the file and what is wrong with it.
  """
  if not config.model.pretrained:
    return
  from blt_jax.training import frozen, pretrained  # Few runs need it.

  if begun:
    pretrained.check_unchanged(config)
  else:
    with pretrained.named():
      frozen.backbone(config)


def with_pretrained(config: Config, state: TrainState) -> TrainState:
  """A fresh state with the backbone's weights of `model.pretrained`, if any."""
  model = config.model
  if not model.pretrained:
    return state
  from blt_jax.training import frozen, pretrained  # Few runs need it.

  with pretrained.named():
    found = frozen.backbone(config, say=console.say)
  console.say(f"the backbone begins with the weights of {model.pretrained}")
  variables = merge(state.variables, jax.tree.map(jnp.asarray, found))
  return build.with_variables(config, state, variables)


def _take_over_stage1(
  run: Run, folder: pathlib.Path
) -> tuple[TrainState, Progress]:
  """Takes stage 1 from another run that trained it with the same settings.

  Raises:
    ValueError: when that run does not have the end of its stage 1.
  """
  from blt_jax.workdir.checkpoint import FOLDER, Checkpoints

  template = run.state_shapes()
  with Checkpoints(folder / FOLDER, read_only=True) as checkpoints:
    try:
      progress = checkpoints.progress()
      if not run.stages[0].is_over(progress):
        raise FileNotFoundError
      arrays, progress = checkpoints.restore(
        template.arrays(), step=progress.step_after(1)
      )
    except FileNotFoundError:
      raise ValueError(
        f"config.stage1.reuse is {folder}, which does not hold the end of its "
        "stage 1; expected a run that trained stage 1 itself, to its end."
      ) from None
  console.say(f"stage 1 is taken over from {folder}")
  return build.restored(run.config, template, arrays), progress


def check_reuse(config: Config) -> None:
  """Refuses a `stage1.reuse` whose stage 1 this run would not train itself.

  Raises:
    ValueError: naming the directory and the fields that differ.
  """
  if not config.stage1.reuse:
    return
  folder = pathlib.Path(config.stage1.reuse)
  different = [
    name
    for name in differing(directory.read_config(folder), config)
    if name.startswith(directory.STAGE1_FIELDS)
    and name not in ("stage1.reuse", *PLACES)
  ]
  if different or not config.stage1.epochs or config.stage1.perturb:
    reason = (
      f"differs in {', '.join(different)}" if different else "is not plain"
    )
    raise ValueError(
      f"config.stage1.reuse is {folder}, whose stage 1 {reason}; expected a "
      "run with the same seed, data set, model and stage 1, not perturbed."
    )


def check_images_of_reuse(run: Run, handed: Mapping[str, str]) -> None:
  """Refuses a `stage1.reuse` that was trained on other images.

  Args:
    run: the run.
    handed: what a program handed to it, see `workdir.given`.

  Raises:
    ValueError: when its classes or their numbers of images are not this run's,
      or something else was handed to it.
  """
  if not run.config.stage1.reuse:
    return
  folder = pathlib.Path(run.config.stage1.reuse)
  remedy = "Choose another config.stage1.reuse, or none."
  directory.compare_classes(
    folder,
    run.dataset.counts,
    run.dataset.class_names,
    remedy=remedy,
  )
  if handed:
    from blt_jax.workdir import given  # Few runs need it.

    given.check(folder, handed, remedy=remedy)


def begin_stage(
  run: Run,
  state: TrainState,
  stage: Stage,
  workdir: pathlib.Path,
  checkpoints: "Checkpoints",
  *,
  progress: Progress,
) -> tuple[TrainState, "static_images.Pool | None"]:
  """The state and the static images that a stage begins or goes on with.

  Args:
    run: the run.
    state: fresh, at the end of stage 1, or within the stage.
    stage: the stage.
    workdir: of the run, where static images are kept.
    checkpoints: of the run, which keep the end of stage 1.
    progress: where the run stands.

  Returns:
    (the state on the devices, the static images if the method has any).
  """
  done = progress.epochs_done(stage.number)
  begun = bool(done or progress.midway_in(stage.number))
  pool = None
  if stage.capacity and run.config.perturb.static:
    from blt_jax.training import static_images  # Few runs need it.

    pool = static_images.load_or_make(
      workdir / static_images.FILE,
      run.feeder,
      lambda: _at_end_of_stage1(run, checkpoints, progress) if begun else state,
      stage,
    )
  if begun:
    return devices.place(state, run.config), pool
  return begin_anew(run, state, stage), pool


def begin_anew(run: Run, state: TrainState, stage: Stage) -> TrainState:
  """The state that a stage's first step takes, on the devices.

  Args:
    run: the run.
    state: fresh, or at the end of stage 1.
    stage: the stage.
  """
  is_new = (
    stage.number == 2
    and run.config.stage2.new_classifier
    and "classifier" in state.params  # Of a caller's own network it may lack.
  )
  if is_new:
    fresh = build.init_state(
      run.config, run.model, run.dataset.num_classes, draw=1
    )
    params = {**state.params, "classifier": fresh.params["classifier"]}
    state = state.replace(params=params)
  if run.config.model.classifier_init == "class_means" and (
    is_new or not int(state.step)
  ):
    from blt_jax.training import class_means  # Few runs need it.

    state = class_means.begin(run, devices.place(state, run.config))
  state = build.with_new_optimizer(run.config, state)
  return devices.place(state, run.config)


def _at_end_of_stage1(
  run: Run, checkpoints: "Checkpoints", progress: Progress
) -> TrainState:
  template = run.state_shapes()
  step = progress.step_after(1)
  arrays, _ = checkpoints.restore(template.arrays(), step=step)
  return build.restored(run.config, template, arrays)
