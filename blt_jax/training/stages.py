"""The training stages of a configuration, and what class counts decide."""

import dataclasses

import numpy as np

from blt_jax.config import Config, StageConfig
from blt_jax.data import longtail, sampling
from blt_jax.data.dataset import Dataset
from blt_jax.workdir.progress import Progress


@dataclasses.dataclass(frozen=True)
class Stage:
  """A training stage with everything that is derived from the configuration.

  Attributes:
    number: 1 or 2.
    epochs: epochs to train, at most.
    steps: training steps of an epoch.
    batch_size: real images of a step, over all devices.
    gamma: of the balanced sampler, None for natural sampling.
    tail: bool [C], the classes to hallucinate for.
    capacity: slots for hallucinated images in a step, over all devices; 0 for
      none.
    reweight_epoch: first epoch with the deferred weights of the losses; 0 for
      none.
    config: the stage's section of the configuration.
  """

  number: int
  epochs: int
  steps: int
  batch_size: int
  gamma: float | None
  tail: np.ndarray
  capacity: int
  reweight_epoch: int
  config: StageConfig

  def reweighted(self, epoch: int) -> bool:
    """Whether an epoch, counted from 1, has the deferred weights."""
    return 0 < self.reweight_epoch <= epoch

  def ended_early(self, progress: Progress) -> bool:
    """Whether the stage's patience has ended it; see `Progress.ended_early`."""
    patience = self.config.patience
    return progress.ended_early(self.number, patience=patience)

  def is_over(self, progress: Progress) -> bool:
    """Whether no epoch of the stage is left to train."""
    done = progress.epochs_done(self.number)
    return done >= self.epochs or self.ended_early(progress)


def build_stages(
  config: Config, class_counts: np.ndarray, *, devices: int
) -> list[Stage]:
  """Both stages, without those of 0 epochs.

  Raises:
    ValueError: when a batch can't be dealt to the devices or is larger than the
      training set.
  """
  sections: dict[int, StageConfig] = {1: config.stage1, 2: config.stage2}
  return [
    _build_stage(config, number, section, class_counts, devices)
    for number, section in sections.items()
    if section.epochs
  ]


def _build_stage(
  config: Config,
  number: int,
  section: StageConfig,
  class_counts: np.ndarray,
  devices: int,
) -> Stage:
  batch_size, images = section.batch_size, int(class_counts.sum())
  is_last = number == 2 or not config.stage2.epochs
  field = f"config.stage{number}.batch_size"
  if batch_size % devices:
    raise ValueError(
      f"{field} is {batch_size}; expected a multiple of the {devices} devices."
    )
  if batch_size > images:
    raise ValueError(
      f"{field} is {batch_size}; expected at most the {images} training images."
    )
  gamma = sampler_gamma(section)
  tail = tail_classes(config, class_counts)
  perturb = config.perturb
  slots = 0
  if section.perturb:
    slots = sampling.capacity(
      class_counts,
      tail,
      gamma=gamma,
      p=perturb.p,
      batch_size=batch_size,
      devices=devices,
      rounding=perturb.rounding,
    )
  return Stage(
    number=number,
    epochs=section.epochs,
    # Images that fill no batch are left out.
    steps=images // batch_size,
    batch_size=batch_size,
    gamma=gamma,
    tail=tail,
    capacity=slots,
    reweight_epoch=config.model.reweight_epoch if is_last else 0,
    config=section,
  )


def sampler_gamma(section: StageConfig) -> float | None:
  """Gamma of a stage's sampler, None for natural sampling."""
  return section.gamma if section.balanced else None


def plan_epoch(
  config: Config, stage: Stage, epoch: int, *, labels: np.ndarray
) -> sampling.EpochPlan:
  """The images, labels int [N], that an epoch's batches and slots hold."""
  perturb = config.perturb
  slots = sampling.HallucinationPlan(
    tail=stage.tail,
    p=perturb.p if epoch >= perturb.start_epoch else 0.0,
    capacity=stage.capacity,
    rounding=perturb.rounding,
  )
  return sampling.epoch_plan(
    labels,
    seed=config.seed,
    stage=stage.number,
    epoch=epoch,
    batch_size=stage.batch_size,
    gamma=stage.gamma,
    hallucinate=slots if stage.capacity else None,
  )


def tail_classes(config: Config, class_counts: np.ndarray) -> np.ndarray:
  """Bool [C], the classes to hallucinate for."""
  if config.perturb.classes == "all":
    return np.ones(len(class_counts), bool)
  return shot_groups(config, class_counts)["few"]


def shot_groups(
  config: Config, class_counts: np.ndarray
) -> dict[str, np.ndarray]:
  """The shot groups under the configuration's limits."""
  return longtail.shot_groups(class_counts, **shot_limits(config))


def shot_limits(config: Config) -> dict[str, int]:
  """The limits of the shot groups, as keyword arguments."""
  return {
    "many_above": config.dataset.many_above,
    "few_up_to": config.dataset.few_up_to,
  }


def rate_scale(config: Config, section: StageConfig) -> float:
  """The factor of a stage's learning rates.

  It follows the linear scaling rule of Goyal et al., Accurate, Large Minibatch
  SGD (2017), from `optimizer.rate_batch_size` to the stage's batch size.
  """
  made_for = config.optimizer.rate_batch_size
  return section.batch_size / made_for if made_for else 1.0


def notes(config: Config, dataset: Dataset) -> list[str]:
  """Remarks about the classes' sizes; see `data.advice`."""
  from blt_jax.data import advice  # Needed once, before the training.

  sections = (config.stage1, config.stage2)
  tail = None
  if any(section.epochs and section.perturb for section in sections):
    tail = tail_classes(config, dataset.class_counts)
  counts = dict(dataset.counts)
  if dataset.test is dataset.validation:
    del counts["test"]
  return advice.notes(
    counts,
    dataset.class_names,
    **shot_limits(config),
    hallucinated=tail,
    confusing=config.perturb.targets == "confusion",
  )
