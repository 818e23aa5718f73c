"""What the step benchmark measures: a state and batches of a real epoch."""

import ast
import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import step_profiles
from blt_jax.config import Config, check_config, with_values
from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Dataset
from blt_jax.data.input_pipeline import Crops
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.method.train_step import Batch, Sources, TrainState
from blt_jax.training import build
from blt_jax.training import devices as mapping
from blt_jax.training.stages import Stage, build_stages
from blt_jax.workdir import directory
from blt_jax.workdir.checkpoint import FOLDER, Checkpoints

# A made-up confusion matrix takes each class for so many others.
_CONFUSED_WITH = 3


@dataclasses.dataclass(frozen=True)
class Options:
  """What to measure; None leaves a value as the configuration has it.

  Attributes:
    profile: one of step_profiles.PROFILES; unused with a run.
    run: work directory of a trained run, "" for a network from scratch.
    checkpoint: of the run: "best", "stage1" (its end) or "latest".
    batches: most batches to make.
    backbone: a name of blt_jax.models.BACKBONES.
    image_size: side of the images, pixels.
    batch: B, real images of a batch, over all devices.
    p: share of the tail draws to hallucinate for, 0..1.
    gamma: of the balanced sampler.
    momentum: of the ascent, 0..1.
    dtype: "float32" or "bfloat16".
    devices: number of devices.
    augment: False turns flip, rotation and jitter off.
    fields: further "section.field=value" of the configuration.
  """

  profile: str = "cifar10_lt"
  run: str = ""
  checkpoint: str = "best"
  batches: int = 16
  backbone: str | None = None
  image_size: int | None = None
  batch: int | None = None
  p: float | None = None
  gamma: float | None = None
  momentum: float | None = None
  dtype: str | None = None
  devices: int | None = None
  augment: bool = True
  fields: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """A state and batches to measure steps on.

  Attributes:
    config: the configuration.
    class_counts: int64 [C].
    stage: the stage that hallucinates.
    state: what every step starts from, on all devices.
    batches: host batches with slots, not dealt to devices.
    trained: whether weights, confusion matrix and images are a run's, so that
      the number of updates is realistic.
  """

  config: Config
  class_counts: np.ndarray
  stage: Stage
  state: TrainState
  batches: list[Batch]
  trained: bool


def make_problem(options: Options) -> Problem:
  """The problem that the options describe; the same options give the same.

  Raises:
    ValueError: for options that can't work; names them.
  """
  config = make_config(options)
  dataset = None
  if options.run:
    dataset = build.build_dataset(config)
    class_counts = dataset.class_counts
    labels = dataset.train.labels
  else:
    class_counts = step_profiles.profile_counts(options.profile)
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
  devices = len(mapping.devices_of(config))
  stage = build_stages(config, class_counts, devices=devices)[-1]
  if not stage.capacity:
    raise ValueError("the last stage of the configuration hallucinates nothing")
  plan = _plan(config, stage, labels)
  rows = range(min(options.batches, len(plan)))
  batches = [
    _random_batch(config, plan, row, labels)
    if dataset is None
    else _real_batch(config, plan, row, dataset)
    for row in rows
  ]
  state = _state(options, config, stage, class_counts)
  return Problem(
    config=config,
    class_counts=class_counts,
    stage=stage,
    state=mapping.place(state, config),
    batches=batches,
    trained=bool(options.run),
  )


def make_config(options: Options) -> Config:
  """The configuration of a profile or a run, with the options applied.

  Raises:
    ValueError: for a field that does not exist or a value of another type.
  """
  if options.run:
    config = directory.read_config(pathlib.Path(options.run))
  else:
    config = check_config(step_profiles.profile_config(options.profile))
  changes: dict[str, Any] = {
    "model.backbone": options.backbone,
    "model.dtype": options.dtype,
    "dataset.image_size": options.image_size,
    "stage1.batch_size": options.batch,
    "stage2.batch_size": options.batch,
    "stage2.gamma": options.gamma,
    "perturb.p": options.p,
    "perturb.momentum": options.momentum,
    "num_devices": options.devices,
  }
  if not options.augment:
    names = ("flip", "rotation", "brightness", "contrast", "saturation")
    changes.update({f"dataset.{name}": 0.0 for name in names})
  changes = {k: v for k, v in changes.items() if v is not None}
  changes |= _parse(options.fields)
  try:
    return with_values(config, changes)
  except ValueError as error:
    raise ValueError(f"--set: {error}") from None


def _parse(fields: Sequence[str]) -> dict[str, Any]:
  """{"section.field": value} of "section.field=value" strings."""
  parsed = {}
  for field in fields:
    name, _, text = field.partition("=")
    try:
      parsed[name] = ast.literal_eval(text)
    except (ValueError, SyntaxError):
      parsed[name] = text
  return parsed


def without_slots(batch: Batch) -> Batch:
  """The batch as plain training has it."""
  return batch._replace(sources=None)


def on_canvases(batch: Batch, side: int | None) -> Batch:
  """The batch as it travels where the device resizes.

  The same arithmetic whatever the crops' sizes are, since shapes are static.

  Args:
    batch: of images of the network's size.
    side: of the canvases, pixels; None returns the batch as it is.
  """
  if side is None:
    return batch
  sources = batch.sources
  if sources is not None:
    sources = sources._replace(image=_crops(sources.image, side))
  return batch._replace(image=_crops(batch.image, side), sources=sources)


def _crops(images: np.ndarray, side: int) -> Crops:
  """Images in the upper left corners of canvases."""
  pixels = np.zeros((len(images), side, side, 3), np.uint8)
  pixels[:, : images.shape[1], : images.shape[2]] = images
  sizes = np.array(images.shape[1:3], np.int32)
  return Crops(pixels, np.tile(sizes, (len(images), 1)))


def _plan(config, stage: Stage, labels: np.ndarray) -> sampling.EpochPlan:
  """The first epoch of the stage that hallucinates."""
  perturb = config.perturb
  return sampling.epoch_plan(
    labels,
    seed=config.seed,
    stage=stage.number,
    epoch=perturb.start_epoch,
    batch_size=stage.batch_size,
    gamma=stage.gamma,
    hallucinate=sampling.HallucinationPlan(
      tail=stage.tail,
      p=perturb.p,
      capacity=stage.capacity,
      rounding=perturb.rounding,
    ),
  )


def _random_batch(config, plan, row: int, labels: np.ndarray) -> Batch:
  """Uniform noise with the labels of a plan's batch."""
  size = config.dataset.image_size
  rng = np.random.default_rng([config.seed, row])
  count = plan.indices.shape[1] + plan.sources.shape[1]
  pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
  return _batch(plan, row, pixels, labels)


def _real_batch(config, plan, row: int, dataset: Dataset) -> Batch:
  """Random resized crops of the images of a plan's batch."""
  batches = input_pipeline.train_batches(
    dataset.train,
    plan.tail(row),
    image_size=config.dataset.image_size,
    crop_scale=config.dataset.crop_scale,
    source_crop_scale=config.perturb.crop_scale,
    crop_ratio=config.dataset.crop_ratio,
    reader=PillowReader,
  )
  with contextlib.closing(batches):
    batch = next(batches)
  pixels = np.concatenate([batch.image, batch.source_image])
  return _batch(plan, row, pixels, dataset.train.labels)


def _batch(plan, row: int, pixels, labels) -> Batch:
  """What `train_step` takes, of the pixels of images and sources."""
  size = plan.indices.shape[1]
  sources = Sources(
    pixels[size:],
    labels[plan.sources[row]].astype(np.int32),
    plan.used[row],
  )
  label = labels[plan.indices[row]].astype(np.int32)
  return Batch(pixels[:size], label, sources)


def _state(options, config, stage: Stage, class_counts) -> TrainState:
  """A run's state, or a fresh one with a made-up confusion matrix."""
  num_classes = len(class_counts)
  model = build.build_model(config, num_classes)
  state = build.init_state(config, model, num_classes)
  if options.run:
    return _restore(options, state, class_counts)
  confusion = np.zeros((num_classes, num_classes), np.int32)
  each = np.arange(num_classes)
  for shift in range(1, min(_CONFUSED_WITH, num_classes - 1) + 1):
    confusion[each, (each + shift) % num_classes] = shift
  return state.replace(confusion=jnp.asarray(confusion))


def _restore(options, state: TrainState, class_counts) -> TrainState:
  """The state of a run's checkpoint."""
  folder = pathlib.Path(options.run)
  # As the run had it: options may change what a step is.
  original = make_config(Options(run=options.run))
  stages = build_stages(original, class_counts, devices=1)
  step = None
  if options.checkpoint == "stage1":
    step = stages[0].epochs * stages[0].steps
  with Checkpoints(folder / FOLDER, read_only=True) as checkpoints:
    restored, progress = checkpoints.restore(state, step=step)
    if options.checkpoint == "best":
      restored, _ = checkpoints.restore_best(state, progress)
  return restored
