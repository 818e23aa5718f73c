"""The state that a run, or a stage of it, begins with or goes on with."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from blt_jax.config import Config, flatten
from blt_jax.method import optimizer
from blt_jax.method.train_step import TrainState
from blt_jax.system import console
from blt_jax.training import build, devices, static_images
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage
from blt_jax.workdir import directory, records
from blt_jax.workdir.checkpoint import FOLDER, Checkpoints
from blt_jax.workdir.progress import Progress


def begin_or_resume(
  run: Run, checkpoints: Checkpoints, workdir: pathlib.Path
) -> tuple[TrainState, Progress]:
  """The newest checkpoint's state, or a fresh one."""
  state = build.init_state(run.config, run.model, run.dataset.num_classes)
  if checkpoints.latest_step() is None:
    if run.config.stage1.reuse:
      other = pathlib.Path(run.config.stage1.reuse)
      records.take_over_confusions(workdir, other)
      return reuse_stage1(run, state)
    return with_pretrained(run.config, state), Progress()
  arrays, progress = checkpoints.restore(state.arrays())
  state = state.with_arrays(arrays)
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
  """Takes over that a run is to have more epochs than it began with.

  Raises:
    ValueError: for stage 1 when stage 2 has begun.
  """
  before = directory.read_config(workdir)
  stage2_begun = progress.stage == 2 or progress.midway_in(2) is not None
  if config.stage1.epochs > before.stage1.epochs and stage2_begun:
    raise ValueError(
      f"config.stage1.epochs is {config.stage1.epochs}, but {workdir} has "
      f"finished its stage 1 of {before.stage1.epochs} epochs and begun stage "
      "2. Choose another --workdir."
    )
  directory.lengthen(workdir, config)


def check_pretrained(config: Config) -> None:
  """Refuses weights to begin with that are not of the backbone.

  Raises:
    ValueError: names the file and what is wrong with it.
  """
  if config.model.init_from:
    try:
      _pretrained(config)
    except ValueError as error:
      raise ValueError(f"config.model.init_from: {error}") from None


def with_pretrained(config: Config, state: TrainState) -> TrainState:
  """A fresh state with the backbone's weights of `model.init_from`, if any."""
  model = config.model
  if not model.init_from:
    return state
  parts = jax.tree.map(jnp.asarray, _pretrained(config))
  console.say(f"the backbone begins with the weights of {model.init_from}")
  return state.replace(
    params={**state.params, "backbone": parts["params"]},
    batch_stats={**state.batch_stats, "backbone": parts["batch_stats"]},
  )


def _pretrained(config: Config) -> dict[str, Any]:
  """The variables of the backbone in the file of `model.init_from`."""
  from blt_jax.models import torch_weights  # Few runs need it.

  model = config.model
  return torch_weights.backbone_from_safetensors(
    model.backbone, model.init_from
  )


def reuse_stage1(run: Run, state: TrainState) -> tuple[TrainState, Progress]:
  """Takes stage 1 from another run that trained it with the same settings.

  Raises:
    ValueError: when that run's stage 1 is not what this run would train.
  """
  folder = pathlib.Path(run.config.stage1.reuse)
  first = run.stages[0]
  with Checkpoints(folder / FOLDER, read_only=True) as checkpoints:
    try:
      arrays, progress = checkpoints.restore(
        state.arrays(), step=first.epochs * first.steps
      )
    except FileNotFoundError:
      raise ValueError(
        f"config.stage1.reuse is {folder}, which does not hold the end of its "
        "stage 1; expected a run that trained stage 1 itself, to its end."
      ) from None
  console.say(f"stage 1 is taken over from {folder}")
  return state.with_arrays(arrays), progress


def check_reuse(config: Config) -> None:
  """Refuses a `stage1.reuse` whose stage 1 this run would not train itself.

  Raises:
    ValueError: naming the directory and the fields that differ.
  """
  if not config.stage1.reuse:
    return
  folder = pathlib.Path(config.stage1.reuse)
  theirs = flatten(directory.read_config(folder))
  ours = flatten(config)
  different = [
    name
    for name in sorted(ours)
    if name.startswith(directory.STAGE1_FIELDS)
    and name != "stage1.reuse"
    and ours[name] != theirs.get(name)
  ]
  if different or not config.stage1.epochs or config.stage1.perturb:
    reason = (
      f"differs in {', '.join(different)}" if different else "is not plain"
    )
    raise ValueError(
      f"config.stage1.reuse is {folder}, whose stage 1 {reason}; expected a "
      "run with the same seed, data set, model and stage 1, not perturbed."
    )


def begin_stage(
  run: Run,
  state: TrainState,
  stage: Stage,
  workdir: pathlib.Path,
  checkpoints: Checkpoints,
  *,
  begun: bool,
) -> tuple[TrainState, static_images.Pool | None]:
  """The state, and the static images if any, that a stage goes on with."""
  pool = None
  if stage.capacity and run.config.perturb.static:

    def end_of_stage1() -> TrainState:
      if not begun:
        return state
      first = run.stages[0]
      arrays, _ = checkpoints.restore(
        state.arrays(), step=first.epochs * first.steps
      )
      return state.with_arrays(arrays)

    pool = static_images.load_or_make(
      workdir / static_images.FILE, run.feeder, end_of_stage1, stage
    )
  if begun:
    return devices.place(state, run.config), pool
  if stage.number == 2 and run.config.stage2.new_classifier:
    fresh = build.init_state(
      run.config, run.model, run.dataset.num_classes, draw=1
    )
    params = {**state.params, "classifier": fresh.params["classifier"]}
    state = state.replace(params=params)
  state = state.replace(opt_state=optimizer.init(state.params))
  return devices.place(state, run.config), pool
