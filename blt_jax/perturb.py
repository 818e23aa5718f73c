"""Hard tail examples by gradient ascent on the image (algorithm.md, step 6)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class PerturbResult(NamedTuple):
  """What the ascent made of each image.

  Attributes:
    images: float [n, h, w, c], the perturbed images.
    num_updates: int32 [n], updates that each image received, 0..max_steps.
    reached: bool [n], whether S_target(image) > confidence in the end.
  """

  images: jax.Array
  num_updates: jax.Array
  reached: jax.Array


class _Ascent(NamedTuple):
  """The carry of the ascent's while loop."""

  images: jax.Array
  velocity: jax.Array
  num_updates: jax.Array
  reached: jax.Array
  running: jax.Array


def perturb_images(
  logits_fn: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  targets: jax.Array,
  confidences: jax.Array,
  *,
  step_size: float = 0.7,
  max_steps: int = 15,
  momentum: float = 0.0,
) -> PerturbResult:
  """Moves each image towards its target class until that class is likely.

  With g the gradient of the target's logit with respect to the image,

      v <- momentum * v + g,    x <- x + step_size * v

  is repeated until the target's softmax probability exceeds the image's
  confidence or `max_steps` updates were made. The confidence is checked before
  each update, so an image that satisfies it already comes back bit-identical.
  Images do not influence one another (as long as `logits_fn` treats them one by
  one: run it in inference mode). A confidence below 0 switches an image off.

  The whole batch runs in one `lax.while_loop` that ends with the last
  unfinished image; finished images are frozen. It takes max(num_updates) + 1
  forward and max(num_updates) backward passes, and only the gradient with
  respect to the images is computed. The loop can't be differentiated in reverse
  mode.

  `momentum=0` is the paper's text (supplement section 1.3 and Algorithm 1);
  `momentum=1` is the authors' release, which never resets the image gradient.

  Args:
    logits_fn: images [n, h, w, c] -> logits [n, classes], any JAX function.
    images: float [n, h, w, c], normalised as the model expects them.
    targets: int [n], the class that each image is moved towards.
    confidences: float [n], probability at which an image is done, 0..1.
    step_size: factor of the update.
    max_steps: most updates an image can receive; 0 only checks the confidence.
    momentum: factor that carries the last update direction over, 0..1.

  Returns:
    A PerturbResult.

  Raises:
    ValueError: if `targets` or `confidences` is not of shape [n], or
      `max_steps` is negative.

  References:
    Kozerawski et al., BLT: Balancing Long-Tailed Datasets with
    Adversarially-Perturbed Images, ACCV 2020, section 3.2.
  """
  num_images = images.shape[0]
  for name, array in (("targets", targets), ("confidences", confidences)):
    if jnp.shape(array) != (num_images,):
      raise ValueError(
        f"{name} has shape {jnp.shape(array)}; {num_images} images need "
        f"({num_images},)."
      )
  if max_steps < 0:
    raise ValueError(f"max_steps is {max_steps}; it must be 0 or more.")
  if not num_images:
    return PerturbResult(images, jnp.zeros(0, jnp.int32), jnp.zeros(0, bool))
  rows = jnp.arange(num_images)

  def ascend(state: _Ascent) -> _Ascent:
    logits, pull_back = jax.vjp(logits_fn, state.images)
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    reached = state.reached | (probabilities[rows, targets] > confidences)
    updating = ~reached & (state.num_updates < max_steps)
    running = jnp.any(updating)

    def update() -> tuple[jax.Array, jax.Array]:
      one_hot = jax.nn.one_hot(targets, logits.shape[1], dtype=logits.dtype)
      (gradient,) = pull_back(one_hot)
      velocity = momentum * state.velocity + gradient
      moved = state.images + step_size * velocity
      return jnp.where(_like(updating, moved), moved, state.images), velocity

    new_images, velocity = jax.lax.cond(
      running, update, lambda: (state.images, state.velocity)
    )
    return _Ascent(
      images=new_images,
      velocity=velocity,
      num_updates=state.num_updates + updating,
      reached=reached,
      running=running,
    )

  final = jax.lax.while_loop(
    lambda state: state.running,
    ascend,
    _Ascent(
      images=images,
      velocity=jnp.zeros_like(images),
      num_updates=jnp.zeros(num_images, jnp.int32),
      reached=jnp.zeros(num_images, bool),
      running=jnp.array(True),
    ),
  )
  return PerturbResult(final.images, final.num_updates, final.reached)


def _like(mask: jax.Array, images: jax.Array) -> jax.Array:
  """Shapes a mask [n] so that it broadcasts over images [n, ...]."""
  return mask.reshape(mask.shape + (1,) * (images.ndim - 1))
