"""Examples of hallucinated images that a run leaves for its report."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.config import Config
from blt_jax.method.hallucinate import Hallucinations, Sources
from blt_jax.method.rng import Stream
from blt_jax.method.train_step import TrainState
from blt_jax.training import devices, offline
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import tail_classes
from blt_jax.workdir.records import Examples

MAX_EXAMPLES = 24


def make_examples(feeder: Feeder, state: TrainState) -> Examples | None:
  """Hallucinates examples with a state.

  Each example is what a step of training would have made of its image: a fresh
  crop, augmented and normalised, moved towards a class that the state's
  confusion matrix gives, by the configuration's ascent. A method that never
  hallucinates gets them as well, so that reports can compare.

  Returns:
    At most MAX_EXAMPLES; None when no class was ever confused.
  """
  config, labels = feeder.config, feeder.dataset.train.labels
  chosen = choose_sources(
    labels,
    tail=tail_classes(config, feeder.dataset.class_counts),
    usable=_usable(config.perturb.targets, state.confusion),
    seed=config.seed,
  )
  if not len(chosen):
    return None
  size = -(-len(chosen) // feeder.devices) * feeder.devices
  (batch,) = feeder.sources(chosen, batch_size=size)
  made = jax.device_get(_examples_step(config)(state, batch))
  hallucinated, label, probabilities = jax.tree.map(
    lambda array: array[: len(chosen)], made
  )
  std = np.asarray(config.dataset.std, np.float32)
  mean = np.asarray(config.dataset.mean, np.float32)
  return Examples(
    original=hallucinated.original * std + mean,
    perturbed=hallucinated.images * std + mean,
    label=label,
    target=hallucinated.target,
    confidence=hallucinated.confidence,
    before=probabilities[:, 0],
    after=probabilities[:, 1],
    num_updates=hallucinated.num_updates,
    reached=hallucinated.reached,
  )


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


def _usable(targets: str, confusion: jax.Array) -> np.ndarray:
  """Bool [C], classes that a target can be drawn for."""
  if targets != "confusion":
    return np.ones(len(confusion), bool)
  return np.asarray(confusion.sum(axis=1) > confusion.diagonal())


def _examples_step(config: Config) -> Callable:
  """(state, (numbers, sources)) -> what the examples are made of.

  These are the Hallucinations, their labels, and the softmax probabilities of
  their targets before and after the ascent, float32 [n, 2].
  """
  # All with one width: each further one would take longer to compile than it
  # saves in the one call.
  make = offline.build_offline_hallucinate(
    config, stream=Stream.EXAMPLES, narrowest=MAX_EXAMPLES
  )

  def step(state: TrainState, batch: tuple[jax.Array, Sources]):
    made = make(state, batch)
    examples = (made, batch[1].label, _probabilities(state, made))
    return jax.lax.all_gather(examples, devices.AXIS, tiled=True)

  return devices.over_devices(step, config)


def _probabilities(state: TrainState, made: Hallucinations) -> jax.Array:
  """Softmax probabilities of the targets, before and after: float32 [n, 2]."""
  # In one pass: the program compiles faster with one network less in it.
  images = jnp.concatenate([made.original, made.images])
  probabilities = jax.nn.softmax(state.logits(images))
  targets = jnp.tile(made.target, 2)[:, None]
  found = jnp.take_along_axis(probabilities, targets, axis=1)
  return found.reshape(2, -1).T
