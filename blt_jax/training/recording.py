"""Examples of hallucinated images that a run leaves for its report."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from blt_jax.method.hallucinate import Sources
from blt_jax.method.rng import Stream
from blt_jax.method.train_step import TrainState
from blt_jax.training import build
from blt_jax.training import devices as mapping
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import tail_classes
from blt_jax.workdir import records

MAX_EXAMPLES = 24


def write_examples(
  workdir: pathlib.Path, feeder: Feeder, state: TrainState
) -> None:
  """Hallucinates examples with a state and writes them to perturbed.npz.

  Each example is what a step of training would have made of its image: a fresh
  crop, augmented and normalised, moved towards a class that the state's
  confusion matrix gives, by the configuration's ascent. A method that never
  hallucinates gets them as well, so that reports can compare.

  Args:
    workdir: of the run.
    feeder: reads the images.
    state: network and confusion matrix of the epoch to show.
  """
  examples = records.Examples(**_make_examples(feeder, state))
  records.write_examples(workdir, examples)


def choose_sources(
  labels: np.ndarray, *, tail: np.ndarray, usable: np.ndarray, seed: int
) -> np.ndarray:
  """Which training images the examples are made from.

  The tail's classes take turns, the smallest first; where they are more than
  there are examples, those chosen are spread evenly over the tail. Other
  classes come in only when no class of the tail is usable.

  Args:
    labels: int [N], classes of the training images.
    tail: bool [C], the classes to hallucinate for.
    usable: bool [C], the classes that have a target.
    seed: of the order of a class's images.

  Returns:
    int64 [n], distinct positions in `labels`, n <= MAX_EXAMPLES.
  """
  counts = np.bincount(labels, minlength=len(tail))
  chosen = np.flatnonzero(tail & usable & (counts > 0))
  if not len(chosen):
    chosen = np.flatnonzero(usable & (counts > 0))
  chosen = chosen[np.argsort(counts[chosen], kind="stable")]
  if len(chosen) > MAX_EXAMPLES:
    places = np.linspace(0, len(chosen) - 1, MAX_EXAMPLES)
    chosen = chosen[np.round(places).astype(int)]
  rng = np.random.default_rng(seed)
  images = [rng.permutation(np.flatnonzero(labels == c)) for c in chosen]
  turns = [
    own[turn]
    for turn in range(MAX_EXAMPLES)
    for own in images
    if turn < len(own)
  ]
  return np.asarray(turns[:MAX_EXAMPLES], np.int64)


def _make_examples(feeder: Feeder, state: TrainState) -> dict[str, np.ndarray]:
  """The arrays of perturbed.npz."""
  config, labels = feeder.config, feeder.dataset.train.labels
  sources = choose_sources(
    labels,
    tail=tail_classes(config, feeder.dataset.class_counts),
    usable=_usable(config.perturb.targets, state.confusion),
    seed=config.seed,
  )
  size = config.dataset.image_size
  if not len(sources):
    none = {name: np.zeros(0, kind) for name, kind in _KINDS.items()}
    images = np.zeros((0, size, size, 3), np.float32)
    return {"original": images, "perturbed": images, **none}
  size = -(-len(sources) // feeder.devices) * feeder.devices
  (batch,) = feeder.sources(sources, batch_size=size)
  made = jax.device_get(_examples_step(config)(state, batch))
  made = {name: array[: len(sources)] for name, array in made.items()}
  for name in ("original", "perturbed"):
    pixels = made[name] * np.asarray(config.dataset.std, np.float32)
    made[name] = pixels + np.asarray(config.dataset.mean, np.float32)
  return made


# Arrays beside the images, for a run whose classes were never confused.
_KINDS = {
  "label": np.int32,
  "target": np.int32,
  "confidence": np.float32,
  "before": np.float32,
  "after": np.float32,
  "num_updates": np.int32,
  "reached": bool,
}


def _usable(targets: str, confusion: jax.Array) -> np.ndarray:
  """Bool [C], classes that a target can be drawn for."""
  if targets != "confusion":
    return np.ones(len(confusion), bool)
  return np.asarray(confusion.sum(axis=1) > confusion.diagonal())


def _examples_step(config) -> Callable:
  """(state, (numbers, sources)) -> the arrays of their examples."""
  make = build.build_offline_hallucinate(config, stream=Stream.EXAMPLES)

  def step(
    state: TrainState, batch: tuple[np.ndarray, Sources]
  ) -> dict[str, jax.Array]:
    made = make(state, batch)
    before, after = _probabilities(
      state, made.original, made.images, made.target
    )
    arrays = {
      "original": made.original,
      "perturbed": made.images,
      "label": batch[1].label,
      "target": made.target,
      "confidence": made.confidence,
      "before": before,
      "after": after,
      "num_updates": made.num_updates,
      "reached": made.reached,
    }
    return jax.lax.all_gather(arrays, mapping.AXIS, tiled=True)

  return mapping.over_devices(step, config)


def _probabilities(
  state: TrainState,
  original: jax.Array,
  perturbed: jax.Array,
  target: jax.Array,
) -> jax.Array:
  """Softmax probability of the target, before and after: float32 [2, n]."""
  # In one pass: the program compiles faster with one network less in it.
  images = jax.numpy.concatenate([original, perturbed])
  probabilities = jax.nn.softmax(state.logits(images))
  targets = jax.numpy.tile(target, 2)[:, None]
  found = jax.numpy.take_along_axis(probabilities, targets, axis=1)
  return found.reshape(2, -1)
