"""The parts of a run: its data, its network and its compiled steps."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import numpy as np

from blt_jax.config import GIVEN, Config, with_values
from blt_jax.data.dataset import Dataset
from blt_jax.method.train_step import EvalBatch, TrainState
from blt_jax.system import console
from blt_jax.training import build, devices, evaluation, lines, objective
from blt_jax.training.evaluation import Evaluation, Kept, evaluate, predict
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import (
  Stage,
  build_stages,
  notes,
  sampler_gamma,
  shot_groups,
  shot_limits,
)
from blt_jax.workdir.progress import Progress
from blt_jax.workdir.records import Predictions

if TYPE_CHECKING:
  from blt_jax.workdir.checkpoint import Checkpoints


class Run:
  """The data, network and compiled steps of a configuration.

  Training does not change them.

  Attributes:
    config: the configuration.
    devices: those that it trains on.
    dataset: its images.
    class_counts: int [C], training images of each class.
    target_shares: float64 [C] that sums to 1, how frequent the classes are
      where the network is used, or None; see `prior.target_shares`.
    model: the network.
    own: the Flax module that a program handed in as the network, or None.
    feeder: reads the images and deals them to the devices.
  """

  def __init__(
    self,
    config: Config,
    *,
    dataset: Dataset | None = None,
    own: nn.Module | None = None,
  ):
    """Reads the data set's lists; raises ValueError for what can't work.

    Args:
      config: the configuration, with nothing left open (`choose.complete`).
      dataset: what a program handed in, or what `build.build_dataset` gave for
        the configuration, to spare reading twice.
      own: the network that a program handed in, None for the configuration's.
    """
    self.config = config
    self.devices = devices.devices_of(config)
    self.dataset = dataset or build.build_dataset(config)
    self.class_counts = self.dataset.class_counts
    self.target_shares = self._target_shares()
    self.own = own
    self.model = build.build_model(config, self.dataset.num_classes, own=own)
    self.feeder = Feeder(config, self.dataset, devices=len(self.devices))
    # Steps by what they depend on, so that each is compiled once.
    self._train_fns: dict[tuple[int, bool], Callable] = {}
    self._eval_fns: dict[tuple, Callable] = {}

  def _target_shares(self) -> np.ndarray | None:
    """The shares of `dataset.prior`; raises ValueError for a bad file."""
    if not self.config.dataset.prior:
      return None
    from blt_jax.training import prior  # Few runs have one.

    return prior.target_shares(
      self.config.dataset.prior,
      class_names=self.dataset.class_names,
      class_counts=self.class_counts,
    )

  @functools.cached_property
  def stages(self) -> list[Stage]:
    """The stages to train; a batch that can't be dealt raises ValueError."""
    return build_stages(
      self.config, self.class_counts, devices=len(self.devices)
    )

  def train_fn(self, stage: Stage, epoch: int) -> Callable:
    """`train_step` of an epoch: (state, batch) -> (state, metrics)."""
    reweighted = stage.reweighted(epoch)
    key = (stage.number, reweighted)
    if key not in self._train_fns:
      self._train_fns[key] = build.build_train_step(
        self.config,
        stage,
        self.class_counts,
        target=self.target_shares,
        reweighted=reweighted,
      )
    return self._train_fns[key]

  def _eval_fn(
    self,
    stage: int,
    taus: Sequence[float],
    *,
    with_logits: bool = False,
    five_crop: bool = False,
  ) -> Callable:
    """`eval_step` of a network from stage 1 or 2."""
    gamma = sampler_gamma(self.config.stage(stage)) if any(taus) else None
    key = (gamma, with_logits, five_crop, *taus)
    if key not in self._eval_fns:
      adjust_fns = [
        objective.build_adjustment(
          with_values(self.config, {"model.posthoc_tau": tau}),
          self.class_counts,
          target=self.target_shares,
          gamma=gamma,
        )
        for tau in taus
      ]
      self._eval_fns[key] = evaluation.build_eval_step(
        self.config,
        adjust_fns,
        with_logits=with_logits,
        five_crop=five_crop,
      )
    return self._eval_fns[key]

  def announce(self, picked: Sequence[str] = ()) -> None:
    """Prints the data set, what was picked, notes on it, and the network."""
    from blt_jax.training import together  # Needed once, before the training.

    groups = shot_groups(self.config, self.class_counts)
    console.say(
      lines.dataset_lines(
        self.config.dataset.name,
        self.class_counts,
        groups,
        validation=len(self.dataset.validation),
        test=len(self.dataset.test),
      )
    )
    if self.config.dataset.source in ("image_folder", "image_table", GIVEN):
      data = self.dataset
      table = lines.class_table(
        data.class_names, data.counts, groups, data.group_counts
      )
      console.say(table)
    for line in (*self.dataset.left_out, *picked):
      console.say(line)
    for line in together.rate_lines(self.config, self.stages):
      console.say(line)
    if self.config.model.train != "all":
      from blt_jax.training import frozen  # Few runs need it.

      width = build.adapter_width(self.config, self.dataset.num_classes)
      console.say(
        frozen.trained_line(
          self.config, self.state_shapes(), adapter_width=width
        )
      )
    for line in together.optimizer_lines(self.config, self.stages):
      console.say(line)
    remarks = together.remarks(
      self.config, stages=self.stages, num_classes=self.dataset.num_classes
    )
    name = self.config.model.backbone
    if self.own is not None:
      from blt_jax.training import own_network  # Few runs need it.

      name = f"{type(self.own).__name__}, the program's own"
      remarks += own_network.notes(self.config, self.own, self.state_shapes())
    for note in (*self.notes(), *remarks):
      console.say(f"note: {note}")
    epochs = " + ".join(str(stage.epochs) for stage in self.stages)
    epochs = f"{'at most ' * self.may_end_early(Progress())}{epochs}"
    console.say(
      f"{self.config.method} with {name}, {epochs} epochs on "
      f"{len(self.devices)} x {self.devices[0].device_kind}, seed "
      f"{self.config.seed}"
    )

  def notes(self) -> list[str]:
    """Remarks about the classes' sizes; see `data.advice`."""
    return notes(self.config, self.dataset)

  def open_checkpoints(self, workdir: pathlib.Path) -> "Checkpoints":
    """The checkpoints of the run."""
    # Programs that measure steps alone need not have Orbax.
    from blt_jax.workdir.checkpoint import FOLDER, Checkpoints

    return Checkpoints(workdir / FOLDER)

  def state_shapes(self) -> TrainState:
    """A state for a checkpoint to fill, see `build.state_shapes`."""
    return build.state_shapes(self.config, self.model, self.dataset.num_classes)

  def evaluate(
    self,
    state: TrainState,
    role: str,
    *,
    stage: int,
    guard: Callable[[Iterator[EvalBatch]], Iterator[EvalBatch]] = iter,
  ) -> Evaluation:
    """Evaluates the state on a split, by the centre crop of each image.

    So an epoch is validated, whatever `dataset.five_crop` is. The batches pass
    through `guard`. Logits are adjusted as `model.posthoc_tau` says, by the
    sampler of the stage that the state comes from.
    """
    batches = self._ahead(guard(self.feeder.evaluation(role)))
    (found,) = evaluate(state, batches, self._own_eval_fn(stage))
    return found

  def predict(
    self,
    state: TrainState,
    role: str,
    *,
    stage: int,
    guard: Callable[[Iterator[EvalBatch]], Iterator[EvalBatch]] = iter,
    temperature: float = 1.0,
    keep: int = 0,
  ) -> tuple[Predictions, Kept]:
    """What the state says about each image of a split.

    Unlike `evaluate`, it goes by five crops of an image where
    `dataset.five_crop` says so.

    Args:
      state: the state.
      role: "validation" or "test".
      stage: 1 or 2, that the state comes from.
      guard: the batches pass through it.
      temperature: of the calibrated confidences.
      keep: most images, evenly spread, whose logits are returned as well.
    """
    size = len(self.dataset.splits[role])
    kept = np.zeros(size, bool)
    kept[np.linspace(0, size - 1, min(keep, size)).round().astype(int)] = True
    five_crop = self.config.dataset.five_crop
    return predict(
      state,
      self._ahead(guard(self.feeder.evaluation(role, five_crop=five_crop))),
      self._own_eval_fn(stage, five_crop=five_crop),
      temperature=temperature,
      kept=kept,
    )

  def _own_eval_fn(self, stage: int, *, five_crop: bool = False) -> Callable:
    """`eval_step` under the run's own tau; with logits, so there is one."""
    taus = [self.config.model.posthoc_tau]
    return self._eval_fn(stage, taus, with_logits=True, five_crop=five_crop)

  def evaluate_each(
    self, state: TrainState, role: str, *, stage: int, taus: Sequence[float]
  ) -> list[Evaluation]:
    """Evaluates the state with each of several values of `model.posthoc_tau`.

    Each image is read once, and passes through the network once or, with
    `dataset.five_crop`, in five crops.
    """
    five_crop = self.config.dataset.five_crop
    eval_fn = self._eval_fn(stage, taus, five_crop=five_crop)
    batches = self._ahead(self.feeder.evaluation(role, five_crop=five_crop))
    return evaluate(state, batches, eval_fn)

  def _ahead(self, batches: Iterator[EvalBatch]) -> Iterator[EvalBatch]:
    """The same on the devices, the next one on its way."""
    put = functools.partial(devices.put, config=self.config)
    return devices.ahead(batches, put)

  def summary(self, evaluation: Evaluation) -> dict[str, Any]:
    """Accuracies of an evaluation under the data set's shot groups."""
    return evaluation.summary(self.class_counts, **shot_limits(self.config))

  def images_left(self, progress: Progress) -> int:
    """Real training images from a point of the run to its end, at most."""
    left = 0
    for stage in self.stages:
      if stage.is_over(progress):
        continue
      epochs = stage.epochs - progress.epochs_done(stage.number)
      midway = progress.midway_in(stage.number)
      steps = epochs * stage.steps - (midway.steps if midway else 0)
      left += steps * stage.batch_size
    return left

  def may_end_early(self, progress: Progress) -> bool:
    """Whether a stage that is not over has a patience."""
    left = (stage for stage in self.stages if not stage.is_over(progress))
    return any(stage.config.patience for stage in left)
