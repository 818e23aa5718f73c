"""Every stream of random numbers that is drawn on the devices.

A key is made from another one by folding in a number. So an image's numbers
depend on its place in the global batch and on the step alone: neither the
number of devices nor an interruption changes them. `data.epoch_plan.Stream`
names what the host draws: the images of a batch and their crops.
"""

import enum

import jax
import jax.numpy as jnp

# The implementation of keys. It is named so that another default of JAX does
# not change the numbers of a run that is resumed.
_IMPLEMENTATION = "threefry2x32"


class Stream(enum.Enum):
  """Uses of keys: (the key that it is made from, the number folded in)."""

  INIT = ("seed", 0)
  """Initial weights."""
  RUN = ("seed", 1)
  """The key of a run, `TrainState.rng`."""
  IMAGES = ("step", 0)
  """Augmentation of the images of a batch, a key for each of them."""
  SLOTS = ("step", 1)
  """Hallucination, a key for each slot."""
  NETWORK = ("step", 1_000_003)
  """Random drops of the network, a key for each image and slot."""
  STATIC_IMAGES = ("run", 2**31)
  """Static images. No step has this number: a step's number is an int32."""
  EXAMPLES = ("run", 2**31 + 1)
  """Examples of hallucination for a report."""
  TARGET = ("slot", 0)
  """The class that a slot's image is moved towards."""
  CONFIDENCE = ("slot", 1)
  """The probability of that class at which the ascent ends."""
  AUGMENTATION = ("slot", 2)
  """Augmentation of a slot's image."""


def init_key(seed: int, *, draw: int = 0) -> jax.Array:
  """PRNG key of the initial weights.

  Args:
    seed: the run's seed.
    draw: each number gives other weights for the same seed.
  """
  return fold(_seed_key(seed, draw), Stream.INIT)


def run_key(seed: int) -> jax.Array:
  """PRNG key of a run, from which every later key is made.

  Raises:
    ValueError: when JAX is set to draw other numbers from the same keys.
  """
  if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
    raise ValueError(
      "jax_threefry_partitionable is False; expected True, JAX's default, so "
      "that a resumed run draws the same random numbers as before."
    )
  return fold(_seed_key(seed, 0), Stream.RUN)


def fold(key: jax.Array, stream: Stream) -> jax.Array:
  """The key of a stream, from the key that the stream belongs to."""
  return jax.random.fold_in(key, stream.value[1])


def step_keys(
  run: jax.Array, step: jax.Array, stream: Stream, numbers: jax.Array
) -> jax.Array:
  """PRNG keys [n] of a step's images or slots.

  Args:
    run: PRNG key of the run.
    step: int32 scalar, the number of the step.
    stream: IMAGES, SLOTS or NETWORK.
    numbers: int [n], places in the global batch.
  """
  return _fold_each(fold(jax.random.fold_in(run, step), stream), numbers)


def outside_keys(
  run: jax.Array, stream: Stream, numbers: jax.Array
) -> jax.Array:
  """PRNG keys [n] of images that no step of training draws.

  Args:
    run: PRNG key of the run.
    stream: STATIC_IMAGES or EXAMPLES.
    numbers: int [n], one for each image.
  """
  return _fold_each(fold(run, stream), numbers)


def image_numbers(num_images: int, axis_name: str) -> jax.Array:
  """Places of this device's images in the global batch: int32 [num_images].

  Images go to the devices in blocks.
  """
  first = jax.lax.axis_index(axis_name) * num_images
  return first + jnp.arange(num_images)


def slot_numbers(num_slots: int, axis_name: str) -> jax.Array:
  """Places of this device's slots among all slots: int32 [num_slots].

  Slots are dealt to the devices in turn, because the used ones come first: so
  every device has its fair share of the gradient ascent.
  """
  devices = jax.lax.psum(1, axis_name)
  return jax.lax.axis_index(axis_name) + devices * jnp.arange(num_slots)


def _seed_key(seed: int, draw: int) -> jax.Array:
  key = jax.random.key(seed, impl=_IMPLEMENTATION)
  return jax.random.fold_in(key, draw)


def _fold_each(key: jax.Array, numbers: jax.Array) -> jax.Array:
  """One key for each of the numbers [n]."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
