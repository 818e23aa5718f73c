"""From the slots of a batch to hallucinated images (paper, Algorithm 1)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from blt_jax.method.confusion import sample_confusing_classes
from blt_jax.method.perturb import halving_widths, perturb_images
from blt_jax.method.train_step import Batch, Hallucinations, TrainState

# No probability is below 0: an image with this confidence is done at once.
_OFF = -1.0


def hallucinate(
  rngs: jax.Array,
  state: TrainState,
  batch: Batch,
  *,
  preprocess_fn: Callable[[jax.Array, jax.Array], jax.Array],
  confidence: Sequence[float] = (0.15, 0.25),
  confidence_choices: Sequence[float] = (),
  targets: str = "confusion",
  ascent: Mapping[str, Any] | None = None,
  narrowest: int = 1,
) -> Hallucinations:
  """Turns a batch's source images into hard examples of their own class.

  Each used slot draws the class that its label is confused with and its target
  confidence, and its freshly augmented image is moved towards that class with
  the network in inference mode and its parameters frozen. A slot whose class
  was never confused stays unused.

  Args:
    rngs: PRNG keys [k], one a slot.
    state: supplies the network and the confusion matrix.
    batch: "source_image" uint8 [k, h, w, 3], "source_label" int32 [k],
      "source_used" bool [k].
    preprocess_fn: (rngs [k], uint8 [k, h, w, 3]) -> float32 [k, h, w, 3].
    confidence: (low, high), range of the uniformly drawn target confidence.
    confidence_choices: when not empty, the confidence is one of these instead,
      as in the authors' release.
    targets: "confusion" draws the target from the confusion matrix, "random"
      takes any other class with equal probability.
    ascent: further arguments of `perturb_images`; max_steps=0 leaves the images
      augmented but not perturbed.
    narrowest: fewest images to ascend at a time: 1 where an image more costs
      what it computes, more where its time disappears beside a device's delays.

  Returns:
    Hallucinations of k slots.
  """
  labels, used = batch["source_label"], batch["source_used"]
  keys = jax.vmap(lambda rng: jax.random.split(rng, 3))(rngs)
  if targets == "confusion":
    target, confused = jax.vmap(_confusing_class, in_axes=(0, None, 0))(
      keys[:, 0], state.confusion, labels
    )
    used = used & confused
  else:
    num_classes = state.confusion.shape[0]
    target = jax.vmap(_other_class, in_axes=(0, 0, None))(
      keys[:, 0], labels, num_classes
    )
  drawn = jax.vmap(
    lambda rng: draw_confidence(rng, confidence, choices=confidence_choices)
  )(keys[:, 1])
  result = perturb_images(
    state.logits,
    preprocess_fn(keys[:, 2], batch["source_image"]),
    target,
    jnp.where(used, drawn, _OFF),
    widths=halving_widths(len(labels), narrowest=narrowest),
    **(ascent or {}),
  )
  return Hallucinations(
    images=result.images,
    weight=used.astype(jnp.float32),
    num_updates=result.num_updates,
    reached=result.reached & used,
  )


def reuse(rngs: jax.Array, state: TrainState, batch: Batch) -> Hallucinations:
  """Takes source images that were hallucinated before as they are.

  For the methods static_targeted and static_random (paper, Fig. 5c).

  Args:
    rngs: unused.
    state: unused.
    batch: "source_image" float32 [k, h, w, 3], "source_used" bool [k].

  Returns:
    Hallucinations without any update.
  """
  del rngs, state
  used = batch["source_used"]
  return Hallucinations(
    images=batch["source_image"],
    weight=used.astype(jnp.float32),
    num_updates=jnp.zeros(used.shape, jnp.int32),
    reached=jnp.zeros(used.shape, bool),
  )


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
