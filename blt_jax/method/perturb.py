"""Hard tail examples by gradient ascent on the image.

`perturb_image` is the ascent of one image, as the paper describes it.
`perturb_images` is its fast form for many images; the tests prove that both
give the same result. docs/method.md describes the method around them.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class PerturbResult(NamedTuple):
  """The result of the ascent for each image.

  Attributes:
    images: float [n, h, w, c], the perturbed images.
    num_updates: int32 [n], updates that each image received, 0..max_steps.
    reached: bool [n], whether S_target(image) > confidence in the end.
  """

  images: jax.Array
  num_updates: jax.Array
  reached: jax.Array


def perturb_image(
  logits_fn: Callable[[jax.Array], jax.Array],
  image: jax.Array,
  target: jax.Array,
  confidence: jax.Array,
  *,
  step_size: float = 0.7,
  max_steps: int = 15,
  momentum: float = 0.0,
) -> PerturbResult:
  """Moves one image towards its target class until that class is likely.

      x <- x + 0.7 grad_x z_c(x)   until S_c(x) > s, or 15 updates were made

  with the target class c, its logit z_c, its softmax probability S_c and the
  confidence s (paper, Algorithm 1 and supplement, section 1.3).

  Args:
    logits_fn: images [1, h, w, c] -> logits [1, classes].
    image: float [h, w, c].
    target: int scalar.
    confidence: float scalar.
    step_size: as in `perturb_images`.
    max_steps: as in `perturb_images`.
    momentum: as in `perturb_images`.

  Returns:
    A PerturbResult without the axis n.
  """

  def logit(x):
    return logits_fn(x[None])[0, target]

  def probability(x):
    return jax.nn.softmax(logits_fn(x[None])[0])[target]

  def goes_on(carry):
    x, _, num_updates = carry
    return (probability(x) <= confidence) & (num_updates < max_steps)

  def update(carry):
    x, velocity, num_updates = carry
    velocity = momentum * velocity + jax.grad(logit)(x)
    return x + step_size * velocity, velocity, num_updates + 1

  start = (image, jnp.zeros_like(image), jnp.int32(0))
  image, _, num_updates = jax.lax.while_loop(goes_on, update, start)
  return PerturbResult(image, num_updates, probability(image) > confidence)


def perturb_images(
  logits_fn: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  targets: jax.Array,
  confidences: jax.Array,
  *,
  step_size: float = 0.7,
  max_steps: int = 15,
  momentum: float = 0.0,
  widths: Sequence[int] = (),
) -> PerturbResult:
  """Moves each image towards its target class until that class is likely.

  With g the gradient of the target's logit with respect to the image,

      v <- momentum * v + g,    x <- x + step_size * v

  is repeated until the target's softmax probability exceeds the image's
  confidence or `max_steps` updates were made. The confidence is checked before
  each update, so an image that satisfies it already comes back bit-identical.
  Images do not influence one another (as long as `logits_fn` treats them one by
  one: run it in inference mode). A confidence below 0 switches an image off;
  where `logits_fn` gives NaN, an image is left as it is. The function works
  inside `jit`, `vmap`, `pmap` and `shard_map(..., check_vma=False)`. Arrays
  that are sharded with explicit axes need `shard_map`, because the images are
  gathered and sorted.

  This is `perturb_image` for each image, made fast. The images wait in a queue.
  `widths[0]` of them ascend at a time, in lanes; one that is done makes room
  for the next. When none is waiting and the lanes become empty, the rest moves
  to `widths[1]` lanes, and so on. Each width is a `lax.while_loop`, which can't
  be differentiated in reverse mode. Widths change the cost and not the result:
  without them all images ascend together, which takes max(num_updates) + 1
  forward and max(num_updates) backward passes of all of them. Gradients are
  computed with respect to the images only.

  `momentum=0` is the paper's text (supplement section 1.3 and Algorithm 1);
  `momentum=1` is the authors' release, which never resets the image gradient.

  Args:
    logits_fn: images [n, h, w, c] -> logits [n, classes], any JAX function.
    images: float [n, h, w, c], normalised as the model expects them. float32
      also for a model that computes in bfloat16: there small updates would be
      rounded away.
    targets: int [n], the class that each image is moved towards, 0..classes-1.
    confidences: float [n], probability at which an image is done, 0..1.
    step_size: factor of the update.
    max_steps: most updates an image can receive; 0 only checks the confidence.
    momentum: factor that carries the last update direction over, 0..1.
    widths: numbers of images to ascend at a time, each 1 or more and below the
      one before it. Numbers above n count as n; () means (n,).

  Returns:
    A PerturbResult.

  Raises:
    ValueError: if `images` are not floats, `targets` are not integers,
      `targets` or `confidences` is not of shape [n], `max_steps` is negative,
      or `widths` are not falling positive numbers.

  References:
    Kozerawski et al., BLT: Balancing Long-Tailed Datasets with
    Adversarially-Perturbed Images, ACCV 2020, section 3.2.

  Example:
    >>> images = jnp.zeros((2, 3, 1, 1))
    >>> targets, confidences = jnp.array([1, 2]), jnp.array([0.4, 0.8])
    >>> result = perturb_images(
    ...   lambda images: images.sum((2, 3)), images, targets, confidences
    ... )
    >>> print(result.num_updates, result.reached)
    [1 3] [ True  True]
    >>> print(result.images[0].ravel())
    [0.  0.7 0. ]
  """
  images, targets, confidences = map(
    jnp.asarray, (images, targets, confidences)
  )
  _check(images, targets, confidences, max_steps, widths)
  if not len(images):
    return PerturbResult(images, jnp.zeros(0, jnp.int32), jnp.zeros(0, bool))
  on = confidences >= 0
  problem = _Problem(
    logits_fn,
    targets,
    confidences,
    # Images that are switched off stand behind the others; none gets a lane.
    queue=jnp.argsort(~on, stable=True),
    waiting=on.sum(),
    step_size=step_size,
    max_steps=max_steps,
    momentum=momentum,
  )
  clipped = [min(width, len(images)) for width in widths or (len(images),)]
  distinct = list(dict.fromkeys(clipped))
  state = _first(problem, images, distinct[0])
  # Each width is kept until no more images are left than the next one takes.
  for width, enough in itertools.zip_longest(
    distinct, distinct[1:], fillvalue=0
  ):

    def more(state: _Ascent, enough: int = enough) -> jax.Array:
      return (state.lanes < len(images)).sum() > enough

    state = jax.lax.while_loop(
      more, functools.partial(_ascend, problem), _narrow(state, width)
    )
  return PerturbResult(state.images, state.num_updates, state.reached)


def halving_widths(num_images: int, *, narrowest: int = 1) -> tuple[int, ...]:
  """Widths for `perturb_images`: half the images, a quarter, an eighth, ...

  About half of all slots are used, and the numbers of their updates differ
  widely. So half as many lanes as slots are kept busy until few images are
  left, for which fewer lanes are enough. There are at most four widths, because
  each is compiled for itself.

  Args:
    num_images: n, 1 or more.
    narrowest: the last width, where n is large enough.

  Returns:
    Falling widths, at least one.
  """
  widths = [max(num_images // 2, 1)]
  while widths[-1] // 2 >= narrowest and len(widths) < 4:
    widths.append(widths[-1] // 2)
  return tuple(widths)


class _Problem(NamedTuple):
  """The constants of an ascent of n images.

  Attributes:
    logits_fn: images to logits.
    targets: int [n].
    confidences: float [n].
    queue: int32 [n], the images in the order of their turns.
    waiting: int32, how many images of the queue ascend; the rest is off.
    step_size: factor of the update.
    max_steps: most updates an image can receive.
    momentum: factor that carries the last update direction over.
  """

  logits_fn: Callable[[jax.Array], jax.Array]
  targets: jax.Array
  confidences: jax.Array
  queue: jax.Array
  waiting: jax.Array
  step_size: float
  max_steps: int
  momentum: float


class _Ascent(NamedTuple):
  """The carry of the ascent's while loop: n images, of which w ascend.

  Attributes:
    images: [n, h, w, c].
    num_updates: int32 [n].
    reached: bool [n].
    lanes: int32 [w], the image in each lane, n for an empty one.
    velocity: [w, h, w, c], of the images in the lanes; None without momentum.
    taken: int32, places of the queue that lanes have asked for.
  """

  images: jax.Array
  num_updates: jax.Array
  reached: jax.Array
  lanes: jax.Array
  velocity: jax.Array | None
  taken: jax.Array


def _check(
  images: jax.Array,
  targets: jax.Array,
  confidences: jax.Array,
  max_steps: int,
  widths: Sequence[int],
) -> None:
  """Raises the ValueErrors of `perturb_images`."""
  if not images.ndim or not jnp.issubdtype(images.dtype, jnp.floating):
    raise ValueError(
      f"images are {images.dtype}{list(images.shape)}; expected normalised "
      "floats [n, ...]."
    )
  if not jnp.issubdtype(targets.dtype, jnp.integer):
    raise ValueError(f"targets are {targets.dtype}; expected integers.")
  num_images = len(images)
  for name, array in (("targets", targets), ("confidences", confidences)):
    if jnp.shape(array) != (num_images,):
      raise ValueError(
        f"{name} has shape {jnp.shape(array)}; expected ({num_images},), one "
        "for each image."
      )
  if max_steps < 0:
    raise ValueError(f"max_steps is {max_steps}; expected 0 or more.")
  if min(widths, default=1) < 1 or sorted(set(widths))[::-1] != list(widths):
    raise ValueError(
      f"widths are {widths}; expected falling numbers, 1 or more."
    )


def _first(problem: _Problem, images: jax.Array, width: int) -> _Ascent:
  """The carry before any update: the queue's first images are in the lanes."""
  momentum = problem.momentum
  without = isinstance(momentum, int | float) and momentum == 0
  return _Ascent(
    images=images,
    num_updates=jnp.zeros(len(images), jnp.int32),
    reached=problem.confidences < 0,
    lanes=_enter(problem, jnp.arange(width)),
    velocity=None if without else jnp.zeros_like(images[:width]),
    taken=jnp.array(width),
  )


def _ascend(problem: _Problem, state: _Ascent) -> _Ascent:
  """Checks the images in the lanes and updates those that are not done."""
  lanes, num_images = state.lanes, len(problem.queue)
  current, target, confidence, made = (
    array.at[lanes].get(mode="clip")
    for array in (
      state.images,
      problem.targets,
      problem.confidences,
      state.num_updates,
    )
  )
  logits, pull_back = jax.vjp(problem.logits_fn, current)
  probabilities = jax.nn.softmax(logits.astype(jnp.float32))
  likely = probabilities[jnp.arange(len(lanes)), target]
  reached = likely > confidence
  # This is not ~reached: where the network gives NaN, both are False.
  needy = likely <= confidence
  updating = (lanes < num_images) & needy & (made < problem.max_steps)

  def update() -> tuple[jax.Array, jax.Array | None]:
    one_hot = jax.nn.one_hot(target, logits.shape[1], dtype=logits.dtype)
    (step,) = pull_back(one_hot)
    velocity = None
    if state.velocity is not None:
      step += (problem.momentum * state.velocity).astype(step.dtype)
      velocity = jnp.where(_like(updating, step), step, 0)
    rows = jnp.where(updating, lanes, num_images)
    moved = current + (problem.step_size * step).astype(current.dtype)
    return state.images.at[rows].set(moved, mode="drop"), velocity

  def rest() -> tuple[jax.Array, jax.Array | None]:
    return state.images, jax.tree.map(jnp.zeros_like, state.velocity)

  images, velocity = jax.lax.cond(jnp.any(updating), update, rest)
  places = state.taken + jnp.cumsum(~updating) - 1
  return _Ascent(
    images=images,
    num_updates=state.num_updates.at[lanes].add(
      updating.astype(jnp.int32), mode="drop"
    ),
    reached=state.reached.at[lanes].set(reached, mode="drop"),
    lanes=jnp.where(updating, lanes, _enter(problem, places)),
    velocity=velocity,
    taken=state.taken + (~updating).sum(),
  )


def _enter(problem: _Problem, places: jax.Array) -> jax.Array:
  """The images at places of the queue; n for places behind its end."""
  ahead = problem.queue.at[places].get(mode="clip")
  return jnp.where(places < problem.waiting, ahead, len(problem.queue))


def _narrow(state: _Ascent, width: int) -> _Ascent:
  """Keeps `width` lanes, the occupied ones first."""
  kept = jnp.argsort(state.lanes, stable=True)[:width]
  velocity = None if state.velocity is None else state.velocity[kept]
  return state._replace(lanes=state.lanes[kept], velocity=velocity)


def _like(mask: jax.Array, images: jax.Array) -> jax.Array:
  """Shapes a mask [n] so that it broadcasts over images [n, ...]."""
  return mask.reshape(mask.shape + (1,) * (images.ndim - 1))
