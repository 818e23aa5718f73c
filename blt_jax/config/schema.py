"""Every field of a configuration: its type, rule, default and a line of help.

A type is annotated with the rule that a value has to meet. The fields that
configs/*.py change, the checks, the output of `--help` and the table in
docs/configuration.md all follow from these classes. Importing this module does
not import JAX, so that `--help` and messages about flags are quick.
"""

import dataclasses
from typing import Annotated, Literal, TypeVar

from blt_jax.config.rules import (
  NAME,
  PATH,
  SWITCH,
  TEXT,
  interval,
  number,
  one_of,
  several,
  span,
  whole,
)
from blt_jax.data.longtail import PROFILES
from blt_jax.data.reading.decode import MAX_PIXELS
from blt_jax.data.reading.substitutes import ON_ERROR
from blt_jax.data.sources import SOURCES
from blt_jax.models import BACKBONES, CLASSIFIERS

LOSSES = (
  "cross_entropy",
  "focal",
  "class_balanced",
  "balanced_softmax",
  "logit_adjustment",
  "ldam",
)
T = TypeVar("T")


def field(
  default: T,
  help: str,
  *,
  left_open: T | None = None,
  resume: Literal["same", "any", "more", "moved"] = "same",
) -> T:
  """A field of the schema.

  Args:
    default: its value in a configuration that does not set it.
    help: a line for users.
    left_open: the value that lets training/choose.py choose, if there is one.
    resume: what the value may be when a run is resumed: the same, any, or at
      least as much ("more"). "any" is for fields that do not change the result.
      "moved" is for places of the images: any that holds the same classes with
      the same numbers of images, and config.json then has the new place.
  """
  metadata = {"help": help, "left_open": left_open, "resume": resume}
  return dataclasses.field(default=default, metadata=metadata)


# Types of fields, each with its rule.
Text = Annotated[str, TEXT]
Path = Annotated[str, PATH]
Switch = Annotated[bool, SWITCH]
Count = Annotated[int, whole(0)]
Positive = Annotated[int, whole(1)]
Amount = Annotated[float, number(0)]
PositiveAmount = Annotated[float, number(0, above=True)]
Share = Annotated[float, number(0, 1)]
UpTo10 = Annotated[float, number(0, 10)]
Range = Annotated[tuple[float, float], interval(0, 1)]
AreaRange = Annotated[tuple[float, float], interval(0, 1, above=True)]
RatioRange = Annotated[tuple[float, float], interval(0, 100, above=True)]


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
  """Images, their split, and how they are cropped and augmented."""

  name: Annotated[str, NAME] = field(
    "", "Name in results and reports; for TFDS the builder's name."
  )
  source: Annotated[str, one_of(*SOURCES)] = field(
    "", "Where the images come from; see docs/data.md."
  )
  root: Path = field(
    "", "Folder of the images (TFDS: data_dir), or .npz file.", resume="moved"
  )
  manual_dir: Path = field(
    "", "TFDS: folder of archives it can't download.", resume="moved"
  )
  train_list: Path = field(
    "", "List of 'path label', or iNaturalist's JSON.", resume="moved"
  )
  validation_list: Path = field(
    "",
    "Like train_list; without it validation_per_class images are held out.",
    resume="moved",
  )
  test_list: Path = field(
    "",
    "Like train_list; without it the validation images are the test.",
    resume="moved",
  )
  table: Path = field(
    "",
    "image_table: a CSV, TSV, JSON lines or COCO file; see docs/data.md.",
    resume="moved",
  )
  path: Text = field(
    "", "image_table: column of the images' paths; empty: found by its name."
  )
  label: Text = field(
    "", "image_table: column of the classes, numbers or names; empty: as path."
  )
  split: Text = field(
    "", "image_table: column of train, val, test; empty: as path; none: unused."
  )
  group: Text = field(
    "", "image_table: column of cameras, patients, ...; else as split."
  )
  class_names: Path = field(
    "", "Lists: file of names; see docs/data.md.", resume="moved"
  )
  class_folders: Switch = field(
    False, "image_list: check that the folders of the images are the classes."
  )
  flat_folders: Annotated[tuple[str, ...], several(TEXT)] = field(
    (), "image_list: folders in which val/cat/1.jpg may lie at val/1.jpg."
  )
  drop_below: Count = field(0, "Lists: drop classes left with fewer images.")
  profile: Annotated[str, one_of(*PROFILES)] = field(
    "natural", "Shape of the training counts over the classes."
  )
  max_per_class: Count = field(0, "Images of the largest class of a profile.")
  imbalance: Annotated[float, number(1)] = field(
    100.0, "Largest class of a profile divided by the smallest."
  )
  validation_per_class: Count = field(
    0, "Images of each class to hold out for validation."
  )
  test_per_class: Count = field(
    0, "Folders without test/, tables: images of each class to hold out."
  )
  split_seed: Count = field(0, "Chooses the images of profiles and splits.")
  folds: Count = field(
    0, "Deals all images into so many folds, each a test set; 0: none."
  )
  fold: Count = field(0, "Which of the folds is the test, from 1; 0: none.")
  on_error: Annotated[str, one_of(*ON_ERROR)] = field(
    "replace", "An unreadable image: take another of its class, or stop."
  )
  max_pixels: Annotated[int, whole(1, MAX_PIXELS)] = field(
    MAX_PIXELS, "A larger image counts as unreadable."
  )
  max_unreadable: Count = field(
    0,
    "Unreadable images of a split before the run stops; 0: 1 % of the split or "
    "10 images, whichever is more.",
    resume="any",
  )
  background: Annotated[
    tuple[int, int, int], several(whole(0, 255), length=3)
  ] = field(
    (255, 255, 255), "Red, green, blue that lie under transparent pixels."
  )
  exif_orientation: Switch = field(
    False, "Turn images as their EXIF data say; photographs need it."
  )
  grey_range: Annotated[tuple[float, ...], span()] = field(
    (),
    "Values that become black and white in grey images of more than 8 bits; "
    "found from the training images unless it is given.",
    left_open=(),
  )
  many_above: Count = field(
    100, "A class with more training images is many-shot."
  )
  few_up_to: Count = field(
    20, "A class with at most this many is few-shot: the tail."
  )
  prior: Path = field(
    "",
    "How frequent classes are where the network is used, for the measures and "
    "the losses' correction: natural (as in training), balanced, or a CSV file "
    "of class,share or class,count. Empty: the test images as they are, and a "
    "correction to equal classes.",
  )
  image_size: Annotated[int, whole(8)] = field(
    224, "Side of the square that the network sees, pixels.", left_open=0
  )
  resize_size: Annotated[int, whole(8)] = field(
    0,
    "Short side before evaluation's centre crop, pixels; 0: image_size * 256 / "
    "224.",
    left_open=0,
  )
  crop_scale: AreaRange = field(
    (0.08, 1.0), "Area of a training crop / area of the image."
  )
  resize_on: Annotated[str, one_of("auto", "host", "device")] = field(
    "auto", "Where training crops are resized; auto: device, unless a CPU."
  )
  crop_ratio: RatioRange = field(
    (3 / 4, 4 / 3), "Width / height of a training crop."
  )
  flip: Share = field(0.5, "Probability of a horizontal flip.")
  rotation: Annotated[float, number(0, 180)] = field(
    10.0, "Largest rotation either way, degrees."
  )
  brightness: Share = field(0.4, "b: a factor is drawn from 1 - b to 1 + b.")
  contrast: Share = field(0.4, "c: as brightness, from 1 - c to 1 + c.")
  saturation: Share = field(0.4, "s: as brightness, from 1 - s to 1 + s.")
  mean: Annotated[
    tuple[float, float, float], several(number(0, 1), length=3)
  ] = field((0.485, 0.456, 0.406), "Subtracted from red, green, blue in 0..1.")
  std: Annotated[
    tuple[float, float, float], several(number(0, 10, above=True), length=3)
  ] = field((0.229, 0.224, 0.225), "Divisor of each of them after that.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The network and its loss."""

  backbone: Annotated[str, one_of(*BACKBONES)] = field(
    "resnet10", "The network up to its features.", left_open="auto"
  )
  classifier: Annotated[str, one_of(*CLASSIFIERS)] = field(
    "squashing_cosine", "The last layer."
  )
  hidden: Positive = field(
    512, "Width of the layer between backbone and classifier."
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
  init_from: Path = field(
    "", "safetensors file of backbone weights to begin with."
  )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """Stochastic gradient descent."""

  momentum: Share = field(0.9, "Momentum.")
  weight_decay: Amount = field(5e-4, "L2 on every parameter.")
  rate_batch_size: Count = field(
    256,
    "Batch size that the learning rates are for; other batches scale them in "
    "proportion. 0: do not scale them.",
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
