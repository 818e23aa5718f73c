"""What a configuration amounts to, and where its training stands."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections

from blt_jax import build, logs, mapping
from blt_jax.batches import Feeder, HostBatch
from blt_jax.checkpoint import FOLDER, Checkpoints
from blt_jax.data.sources import Dataset, Split
from blt_jax.evaluate import Evaluation, evaluate
from blt_jax.progress import Progress
from blt_jax.train_step import TrainState


class Run:
  """What a configuration amounts to: data, model and compiled steps."""

  def __init__(self, config: ml_collections.ConfigDict):
    """Reads the data set's lists; raises ValueError for what can't work."""
    self.config = config
    self.devices = mapping.devices_of(config)
    self.dataset: Dataset = build.build_dataset(config)
    self.class_counts = self.dataset.class_counts
    self.model = build.build_model(config, self.dataset.num_classes)
    self.feeder = Feeder(config, self.dataset, devices=len(self.devices))
    self.train_fn = build.build_train_step(config)
    self.ahead_fn = build.build_hallucinate_ahead(config)
    self.eval_fn = build.build_eval_step(config)

  @functools.cached_property
  def stages(self) -> list[build.Stage]:
    """The stages to train; a batch that can't be dealt raises ValueError."""
    return build.build_stages(
      self.config, self.class_counts, devices=len(self.devices)
    )

  def announce(self) -> None:
    """Says what is going to be trained on what."""
    logs.say(
      logs.dataset_lines(
        self.config.dataset.name,
        self.class_counts,
        build.shot_groups(self.config, self.class_counts),
        validation=len(self.dataset.validation),
        test=len(self.dataset.test),
      )
    )
    epochs = " + ".join(str(stage.epochs) for stage in self.stages)
    logs.say(
      f"{self.config.method} with {self.config.model.backbone}, {epochs} "
      f"epochs on {len(self.devices)} x {self.devices[0].device_kind}, seed "
      f"{self.config.seed}"
    )

  def open_checkpoints(self, workdir: pathlib.Path) -> Checkpoints:
    """The checkpoints of the run; the end of stage 1 is kept for reuse."""
    first = self.stages[0]
    return Checkpoints(
      workdir / FOLDER,
      keep_steps=(first.epochs * first.steps,),
    )

  def evaluate(
    self,
    state: TrainState,
    split: Split,
    *,
    guard: Callable[[Iterator[HostBatch]], Iterator[HostBatch]] = iter,
  ) -> Evaluation:
    """Evaluates the state on a split, whose batches pass through `guard`."""
    # Without the optimizer, so that it compiles once for both stages.
    state = state.replace(tx=None, opt_state=())
    batches = guard(self.feeder.evaluation(split))
    return evaluate(state, batches, self.eval_fn)

  def summary(self, evaluation: Evaluation) -> dict[str, Any]:
    """Accuracies of an evaluation under the data set's shot groups."""
    return evaluation.summary(
      self.class_counts, **build.shot_limits(self.config)
    )

  def images_left(self, progress: Progress) -> int:
    """Real training images between a point of the run and its end."""
    left = sum(s.epochs * s.steps * s.batch_size for s in self.stages)
    for stage in self.stages:
      done = min(stage.epochs, epochs_done(stage, progress))
      left -= done * stage.steps * stage.batch_size
      if midway := steps_begun(stage, progress):
        left -= midway["steps"] * stage.batch_size
    return left


def epochs_done(stage: build.Stage, progress: Progress) -> int:
  """Finished epochs of a stage."""
  if progress.stage > stage.number:
    return stage.epochs
  return progress.epoch if progress.stage == stage.number else 0


def steps_begun(
  stage: build.Stage, progress: Progress
) -> Mapping[str, Any] | None:
  """`Progress.midway` when it is of this stage."""
  midway = progress.midway
  return midway if midway and midway["stage"] == stage.number else None
