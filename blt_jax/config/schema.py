"""Every field of a configuration: its type, rule, default and a line of help.

A type is annotated with the rule that a value has to meet. The fields that
configs/*.py change, the checks, the output of `--help` and the table in
docs/configuration.md all follow from these classes; `dataset.*` is in
dataset_config.py. Importing this module does not import JAX, so that `--help`
and messages about flags are quick.
"""

import dataclasses
from typing import Annotated

from blt_jax.config.dataset_config import DatasetConfig
from blt_jax.config.rules import (
  AUTO,
  GIVEN,
  SHA256,
  WEIGHTS,
  Amount,
  AreaRange,
  Count,
  Path,
  Positive,
  PositiveAmount,
  Range,
  Share,
  Switch,
  Text,
  UpTo10,
  field,
  number,
  one_of,
  several,
  trained,
  whole,
)
from blt_jax.models import BACKBONES, CLASSIFIERS

LOSSES = (
  "cross_entropy",
  "focal",
  "class_balanced",
  "balanced_softmax",
  "logit_adjustment",
  "ldam",
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network and its loss."""

  backbone: Annotated[str, one_of(*BACKBONES, GIVEN)] = field(
    "resnet10",
    "The network up to its features. given: see docs/api.md.",
    left_open=AUTO,
  )
  classifier: Annotated[str, one_of(*CLASSIFIERS)] = field(
    "squashing_cosine", "The last layer."
  )
  hidden: Count = field(
    512, "Width of the layer between backbone and classifier; 0: none."
  )
  alpha: PositiveAmount = field(
    20.0, "Scale of the squashing-cosine classifier."
  )
  beta: PositiveAmount = field(0.5, "Squashing constant of that classifier.")
  loss: Annotated[str, one_of(*LOSSES)] = field(
    "cross_entropy", "The loss; see docs/losses.md."
  )
  margin: Amount = field(
    0.0, "cross_entropy: subtracted from the true class's logit."
  )
  focal_gamma: UpTo10 = field(
    2.0, "focal: the higher, the more the uncertain images weigh."
  )
  class_balanced_beta: Share = field(
    0.9999, "Class weights; 0: all equal, 1: 1 / count."
  )
  logit_adjustment_tau: UpTo10 = field(1.0, "Strength of logit_adjustment.")
  ldam_max_margin: Amount = field(
    0.5, "ldam: margin of the smallest class, of a cosine."
  )
  ldam_scale: PositiveAmount = field(
    30.0, "ldam: scale of the cosines, in place of alpha."
  )
  reweight_epoch: Count = field(
    0, "Class weights from this epoch of the last stage on; 0 for never."
  )
  posthoc_tau: UpTo10 = field(0.0, "Logit adjustment at evaluation; 0: none.")
  dtype: Annotated[str, one_of("float32", "bfloat16")] = field(
    "float32", "Type of the arithmetic."
  )
  precision: Annotated[str, one_of("default", "high", "highest")] = field(
    "default",
    "Precision of float32 in convolutions and matrix products, where a device "
    "has several; see docs/performance.md.",
  )
  pretrained: Annotated[str, WEIGHTS] = field(
    "",
    "Weights of the backbone to begin with; empty: none. See "
    "docs/pretrained.md.",
    left_open=AUTO,
    resume="moved",
  )
  pretrained_sha256: Annotated[str, SHA256] = field(
    "", "SHA-256 that their file has to have.", left_open=""
  )
  train: Annotated[str, trained()] = field(
    "all",
    "What is trained of the network; see docs/pretrained.md.",
    left_open=AUTO,
  )
  classifier_init: Annotated[str, one_of("random", "class_means")] = field(
    "random", "Weights that a fresh classifier begins with."
  )
  adapter_width: Count = field(
    0, "Width of the adapters; 0: by classes and blocks, as in LIFT."
  )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """How a step changes the weights; see docs/optimizer.md."""

  name: Annotated[str, one_of("sgd", "adamw")] = field(
    "sgd", "The optimizer; adamw has betas of 0.9 and 0.999."
  )
  momentum: Share = field(0.9, "Momentum of sgd.")
  weight_decay: Amount = field(
    5e-4, "sgd: L2 on every parameter; adamw: decay of the kernels alone."
  )
  rate_batch_size: Count = field(
    256,
    "Batch size that the learning rates are for; other batches scale them in "
    "proportion. 0: do not scale them.",
  )
  schedule: Annotated[str, one_of("steps", "cosine")] = field(
    "steps",
    "steps: the rates drop after drop_epochs; cosine: they fall to 0 by the "
    "end of a stage, along half a cosine.",
  )
  warmup_epochs: Amount = field(
    0.0, "Epochs of a stage in which the rates rise linearly, such as 0.5."
  )
  layer_decay: Annotated[float, number(0, 1, above=True)] = field(
    1.0,
    "Factor of the rates from a block to the one below it, down to the stem; "
    "1: none.",
  )
  ema: Annotated[float, number(0, 0.999999)] = field(
    0.0,
    "Decay a step of a moving average of the weights, which is what is "
    "evaluated and exported, such as 0.999; 0: none.",
  )


@dataclasses.dataclass(frozen=True)
class PerturbConfig:
  """Hallucination: for which images, towards which class, and how far."""

  p: Share = field(0.25, "Share of a batch's tail draws to hallucinate for.")
  rounding: Annotated[str, one_of("ceil", "floor")] = field(
    "ceil", "Rounding of p * draws; paper: ceil, authors' release: floor."
  )
  classes: Annotated[str, one_of("tail", "all")] = field(
    "tail", "Classes to hallucinate for."
  )
  targets: Annotated[str, one_of("confusion", "random")] = field(
    "confusion", "How the target class is drawn."
  )
  static: Switch = field(
    False, "Hallucinate once as stage 2 begins, then use these images again."
  )
  confidence: Range = field((0.15, 0.25), "Range of the target confidence.")
  confidence_choices: Annotated[tuple[float, ...], several(number(0, 1))] = (
    field((), "Draw the target confidence from these, if there are any.")
  )
  step_size: Amount = field(0.7, "Step size of the gradient ascent.")
  max_steps: Annotated[int, whole(0, 1000)] = field(
    15, "Most updates of an image; 0: only augment it."
  )
  momentum: Share = field(
    0.0, "Momentum of the ascent; paper: 0, authors' release: 1."
  )
  crop_scale: AreaRange = field(
    (0.3, 1.0), "Area of a source image's crop / area of the image."
  )
  start_epoch: Positive = field(2, "First epoch of a stage to hallucinate in.")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When the state of a run is saved."""

  every_minutes: Amount = field(
    10.0,
    "Minutes between checkpoints within an epoch; 0: none there.",
    resume="any",
  )


@dataclasses.dataclass(frozen=True)
class StageConfig:
  """A stage of training."""

  epochs: Count = field(35, "Epochs; 0 leaves the stage out.", resume="more")
  patience: Count = field(
    0,
    "Ends the stage once so many epochs in a row have not raised its best "
    "overall accuracy on validation; 0: it has all its epochs.",
  )
  batch_size: Positive = field(
    256, "Training images of a step, over all devices.", left_open=0
  )
  balanced: Switch = field(
    False, "Draw images by class, as gamma says; False: shuffle them."
  )
  gamma: Annotated[float, number(-10, 10)] = field(
    0.0, "Exponent of the draws; 0: natural frequencies, 1: equal ones."
  )
  perturb: Switch = field(False, "Hallucinate in this stage.")
  backbone_rate: Amount = field(
    0.1, "Learning rate of everything but the classifier."
  )
  classifier_rate: Amount = field(0.1, "Learning rate of the classifier.")
  drop_epochs: Annotated[tuple[int, ...], several(whole(1))] = field(
    (25, 32), "Both rates are multiplied by 0.1 after these epochs."
  )


@dataclasses.dataclass(frozen=True)
class Stage1Config(StageConfig):
  """Stage 1: the network learns from the images as they are."""

  reuse: Path = field(
    "", "Work directory of a run with the same stage 1, to copy it."
  )


@dataclasses.dataclass(frozen=True)
class Stage2Config(StageConfig):
  """Stage 2: balanced, with hallucinated images."""

  new_classifier: Switch = field(True, "Begin with a fresh classifier.")


@dataclasses.dataclass(frozen=True)
class Config:
  """A configuration; the defaults are the paper's (supplement, section 2)."""

  seed: Count = field(0, "Seed of weights, draws and augmentation.")
  method: Text = field("blt", "Name of the method; set it by :method=NAME.")
  num_devices: Count = field(
    0, "Devices to train on; 0: all of them.", resume="any"
  )
  dataset: DatasetConfig = DatasetConfig()
  model: ModelConfig = ModelConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  perturb: PerturbConfig = PerturbConfig()
  checkpoint: CheckpointConfig = CheckpointConfig()
  stage1: Stage1Config = Stage1Config()
  stage2: Stage2Config = Stage2Config(
    epochs=55,
    balanced=True,
    gamma=0.9,
    perturb=True,
    backbone_rate=0.01,
    drop_epochs=(23, 38, 52),
  )

  def stage(self, number: int) -> StageConfig:
    """The section of stage 1 or 2."""
    return {1: self.stage1, 2: self.stage2}[number]
