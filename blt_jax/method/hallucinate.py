"""From source images to hallucinated ones (paper, Algorithm 1)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.method.confusion import sample_confusing_classes
from blt_jax.method.perturb import (
  PerturbResult,
  halving_widths,
  perturb_images,
)
from blt_jax.method.rng import Stream, fold

# `perturb_images` leaves an image with a confidence below 0 as it is.
_OFF = -1.0

# An array of a batch: NumPy's before a step, JAX's within it.
Array = jax.Array | np.ndarray
LogitsFn = Callable[[jax.Array], jax.Array]


class Sources(NamedTuple):
  """Slots of a batch: training images to hallucinate from.

  Attributes:
    image: what `preprocess_fn` takes, a tree of arrays with leading axis k.
    label: int32 [k], the classes of the images.
    used: bool [k]; a slot that is not used holds an ordinary training image.
  """

  image: Any
  label: Array
  used: Array


class Hallucinations(NamedTuple):
  """Hallucinated training images and how they came about.

  Attributes:
    images: float32 [k, h, w, 3], normalised.
    weight: float32 [k], 1 for an image that counts and 0 for an unused slot.
    num_updates: int32 [k], updates of the gradient ascent, 0 for unused slots.
    reached: bool [k], whether the ascent reached its confidence.
    original: float32 [k, h, w, 3], the augmented images that it began with.
    target: int32 [k], the classes that the images were moved towards.
    confidence: float32 [k], the probabilities of the targets to be reached.
  """

  images: jax.Array
  weight: jax.Array
  num_updates: jax.Array
  reached: jax.Array
  original: jax.Array
  target: jax.Array
  confidence: jax.Array


def hallucinate(
  rngs: jax.Array,
  logits_fn: LogitsFn,
  confusion: jax.Array,
  sources: Sources,
  *,
  preprocess_fn: Callable[[jax.Array, Any], jax.Array],
  confidence: Sequence[float] = (0.15, 0.25),
  confidence_choices: Sequence[float] = (),
  targets: str = "confusion",
  ascent: Mapping[str, Any] | None = None,
  narrowest: int = 1,
) -> Hallucinations:
  """Turns source images into hard examples of their own class.

  Each used slot draws the class that its label is confused with and its target
  confidence, and its freshly augmented image is moved towards that class. A
  slot whose class was never confused stays unused.

  Args:
    rngs: PRNG keys [k], one a slot.
    logits_fn: the network in inference mode, its parameters frozen: float32
      [n, h, w, 3] -> float32 [n, C].
    confusion: int32 [C, C], [true, predicted] counts of the latest validation.
    sources: k slots.
    preprocess_fn: (rngs [k], sources.image) -> float32 [k, h, w, 3].
    confidence: (low, high), range of the uniformly drawn target confidence.
    confidence_choices: when not empty, the confidence is one of these instead,
      as in the authors' release.
    targets: "confusion" draws the target from the confusion matrix, "random"
      takes any other class with equal probability.
    ascent: further arguments of `perturb_images`. max_steps=0 leaves the images
      augmented but not perturbed; nothing is computed to say whether they have
      reached their confidence.
    narrowest: smallest number of images to ascend at a time: 1 where every
      image adds to the time of a pass, as on a CPU; more where the launch of a
      pass takes longer than a few images, as on a GPU.

  Returns:
    Hallucinations of k slots.
  """
  labels, used = sources.label, sources.used

  def keys_of(stream: Stream) -> jax.Array:
    return jax.vmap(lambda key: fold(key, stream))(rngs)

  if targets == "confusion":
    target, confused = jax.vmap(_confusing_class, in_axes=(0, None, 0))(
      keys_of(Stream.TARGET), confusion, labels
    )
    used = used & confused
  else:
    target = jax.vmap(_other_class, in_axes=(0, 0, None))(
      keys_of(Stream.TARGET), labels, len(confusion)
    )
  drawn = jax.vmap(
    lambda rng: draw_confidence(rng, confidence, choices=confidence_choices)
  )(keys_of(Stream.CONFIDENCE))
  original = preprocess_fn(keys_of(Stream.AUGMENTATION), sources.image)
  result = _ascend(
    logits_fn,
    original,
    target,
    jnp.where(used, drawn, _OFF),
    widths=halving_widths(len(labels), narrowest=narrowest),
    **(ascent or {}),
  )
  return Hallucinations(
    images=result.images,
    weight=jnp.asarray(used, jnp.float32),
    num_updates=result.num_updates,
    reached=result.reached & used,
    original=original,
    target=target,
    confidence=drawn,
  )


def reuse(
  rngs: jax.Array,
  logits_fn: LogitsFn,
  confusion: jax.Array,
  sources: Sources,
) -> Hallucinations:
  """Uses source images that were hallucinated before, unchanged.

  For the methods static_targeted and static_random (paper, Fig. 5c).

  Args:
    rngs: unused.
    logits_fn: unused.
    confusion: unused.
    sources: k slots with images float32 [k, h, w, 3].

  Returns:
    Hallucinations without any update.
  """
  del rngs, logits_fn, confusion
  shape = sources.used.shape
  return Hallucinations(
    images=sources.image,
    weight=jnp.asarray(sources.used, jnp.float32),
    num_updates=jnp.zeros(shape, jnp.int32),
    reached=jnp.zeros(shape, bool),
    original=sources.image,
    target=jnp.asarray(sources.label, jnp.int32),
    confidence=jnp.zeros(shape, jnp.float32),
  )


@jax.named_scope("ascend")
def _ascend(
  logits_fn: LogitsFn, images: jax.Array, *arguments: jax.Array, **options: Any
) -> PerturbResult:
  """`perturb_images`, but without a pass of the network if max_steps is 0."""
  if options.get("max_steps") == 0:
    return PerturbResult(
      images,
      num_updates=jnp.zeros(len(images), jnp.int32),
      reached=jnp.zeros(len(images), bool),
    )
  return perturb_images(logits_fn, images, *arguments, **options)


def draw_confidence(
  rng: jax.Array, confidence: Sequence[float], *, choices: Sequence[float] = ()
) -> jax.Array:
  """Draws one target confidence: float32 scalar.

  Args:
    rng: PRNG key.
    confidence: (low, high) of the uniform distribution.
    choices: when not empty, one of these with equal probability instead.
  """
  if choices:
    return jax.random.choice(rng, jnp.asarray(choices, jnp.float32))
  low, high = confidence
  return jax.random.uniform(rng, minval=low, maxval=high)


def _confusing_class(rng, confusion, label):
  """`sample_confusing_classes` for one label."""
  target, confused = sample_confusing_classes(rng, confusion, label[None])
  return target[0], confused[0]


def _other_class(rng, label, num_classes):
  """Any class but the label, with equal probability."""
  return (label + jax.random.randint(rng, (), 1, num_classes)) % num_classes
