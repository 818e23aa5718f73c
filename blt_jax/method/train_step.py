"""One step of training and one of evaluation, as pure functions.

Both work on one device's share of a batch. They know the other devices only by
the name of an axis, so `jax.pmap` (or any other mapping with named axes)
spreads them over all devices. The random numbers of an image depend on its
place in the global batch (`rng`), so the number of devices changes nothing but
rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from blt_jax.method import losses, rng
from blt_jax.method.hallucinate import Array, Hallucinations, Sources
from blt_jax.method.rng import Stream

if TYPE_CHECKING:
  from blt_jax.method.averaging import Average

Metrics = dict[str, jax.Array]
LossFn = Callable[[jax.Array, jax.Array], jax.Array]


class TrainState(flax.struct.PyTreeNode):
  """The state that a training step takes and returns.

  Attributes:
    step: int32 scalar, steps made so far over both stages.
    params: the network's parameters, those that are trained.
    batch_stats: running statistics of batch normalisation; {} for a network
      that has none, or where they stay as they are.
    opt_state: the optimizer's state.
    confusion: int32 [C, C], [true, predicted] counts of the latest validation.
    rng: PRNG key of the run (`rng.run_key`); training does not change it.
    apply_fn: `model.apply`.
    frozen: {"params", "batch_stats"} that training does not change: no
      gradient is computed for them, and no checkpoint holds them. {} where
      everything is trained.
    average: moving average of params and batch_stats, None without one.
      Evaluation uses it; training, the gradient ascent included, does not.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: optax.OptState
  confusion: jax.Array
  rng: jax.Array
  apply_fn: Callable[..., Any] = flax.struct.field(pytree_node=False)
  frozen: Any = flax.struct.field(default_factory=dict)
  average: "Average | None" = None

  @property
  def variables(self) -> dict[str, Any]:
    """Parameters and running statistics, as `apply_fn` takes them."""
    return self.variables_with(self.params)

  def variables_with(self, params: Any) -> dict[str, Any]:
    """`variables` with other values of the parameters that are trained."""
    changing = {"params": params, "batch_stats": self.batch_stats}
    return merge(changing, self.frozen) if self.frozen else changing

  @property
  def evaluated(self) -> "TrainState":
    """This state with the averages, if there are any, as its variables."""
    if self.average is None:
      return self
    return self.replace(
      params=self.average.params, batch_stats=self.average.batch_stats
    )

  def arrays(self) -> dict[str, Any]:
    """The arrays of a checkpoint: all that training changes, by name."""
    names = ["step", "params", "batch_stats", "opt_state", "confusion"]
    if self.average is not None:
      names.append("average")
    return {name: getattr(self, name) for name in names}

  def with_arrays(self, arrays: Mapping[str, Any]) -> "TrainState":
    """This state with the values that `arrays` gave for another one."""
    return self.replace(**jax.tree.map(jnp.asarray, dict(arrays)))

  def logits(self, images: jax.Array) -> jax.Array:
    """The network in inference mode: float [n, h, w, c] -> float32 [n, C]."""
    return self.apply_fn(self.variables, images, train=False)


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict:
  """Two trees of nested dictionaries in one; `second` wins where both have it.

  Example:
    >>> merge({"a": {"b": 1}}, {"a": {"c": 2}})
    {'a': {'b': 1, 'c': 2}}
  """
  merged = dict(first)
  for name, value in second.items():
    if isinstance(value, Mapping) and name in merged:
      value = merge(merged[name], value)
    merged[name] = value
  return merged


class Batch(NamedTuple):
  """Training images, and those to hallucinate from.

  Attributes:
    image: what `preprocess_fn` takes, a tree of arrays with leading axis b.
    label: int32 [b].
    sources: the slots of `sampling.EpochPlan`; None for plain training.
  """

  image: Any
  label: Array
  sources: Sources | None = None


class EvalBatch(NamedTuple):
  """Images to classify.

  Attributes:
    image: what `normalize_fn` takes, a tree of arrays with leading axis b.
    label: int32 [b].
    mask: bool [b], False for padding.
  """

  image: Any
  label: Array
  mask: Array


def train_step(
  state: TrainState,
  batch: Batch,
  *,
  tx: optax.GradientTransformation,
  preprocess_fn: Callable[[jax.Array, Any], jax.Array],
  hallucinate_fn: Callable[..., Hallucinations],
  loss_fn: LossFn = losses.cross_entropy,
  class_weights: np.ndarray | None = None,
  average_decay: float = 0.0,
  axis_name: str = "batch",
) -> tuple[TrainState, Metrics]:
  """Hallucinates where the batch has slots for it, then makes one update.

  Batch statistics, loss and gradients are those of the whole batch over all
  devices; unused slots have no part in them. A network that drops something at
  random (EfficientNet drops blocks and features) draws it for each image in the
  update. The gradient ascent sees the network in inference mode.

  Args:
    state: the state before the step.
    batch: this device's share.
    tx: the optimizer that made `state.opt_state`.
    preprocess_fn: (rngs [n], images) -> float32 [n, h, w, 3], augments and
      normalises.
    hallucinate_fn: `hallucinate.hallucinate` with its settings, or
      `hallucinate.reuse`; called for a batch with sources only.
    loss_fn: (logits [n, C], labels [n]) -> float32 [n], the training loss. The
      gradient ascent does not use it.
    class_weights: float [C], above 0, the weight w of an image by its class:
      the loss is sum_i w_i loss_i / sum_i w_i over the whole batch. None for
      the plain mean.
    average_decay: see `averaging.after_step`; used if the state has an average.
    axis_name: axis over which devices are mapped.

  Returns:
    (state after the step, metrics of the whole batch). Sums are "loss" (times
    weight), "weight" and, with slots, "hallucinated", "updates" and "reached".
    Not sums are "gradient_norm" of the update and "largest_pixel", the greatest
    absolute value in the hallucinated images, infinite if one is NaN.
  """

  def keys_of(stream: Stream, numbers: jax.Array) -> jax.Array:
    return rng.step_keys(state.rng, state.step, stream, numbers)

  numbers = rng.image_numbers(len(batch.label), axis_name)
  images = preprocess_fn(keys_of(Stream.IMAGES, numbers), batch.image)
  labels = jnp.asarray(batch.label)
  weights = jnp.ones(len(labels), jnp.float32)
  counts, largest = {}, jnp.zeros(())
  if batch.sources is not None:
    slots = rng.slot_numbers(len(batch.sources.label), axis_name)
    extra = hallucinate_fn(
      keys_of(Stream.SLOTS, slots),
      state.logits,
      state.confusion,
      batch.sources,
    )
    behind = len(labels) * jax.lax.psum(1, axis_name)
    numbers = jnp.concatenate([numbers, behind + slots])
    images = jnp.concatenate([images, extra.images])
    labels = jnp.concatenate([labels, batch.sources.label])
    weights = jnp.concatenate([weights, extra.weight])
    counts, largest = _counts(extra), _largest_pixel(extra)
  state, loss, norm = _update(
    state,
    images,
    labels,
    weights,
    tx=tx,
    image_rngs=keys_of(Stream.NETWORK, numbers),
    loss_fn=loss_fn,
    class_weights=class_weights,
    axis_name=axis_name,
  )
  if state.average is not None:
    from blt_jax.method import averaging  # Few runs need it.

    average = averaging.after_step(
      state.average, state.params, state.batch_stats, decay=average_decay
    )
    state = state.replace(average=average)
  sums = {"loss": loss, "weight": weights.sum(), **counts}
  return state, {
    **jax.lax.psum(sums, axis_name),
    "gradient_norm": norm,
    "largest_pixel": jax.lax.pmax(largest, axis_name),
  }


def _counts(extra: Hallucinations) -> Metrics:
  """Sums over the hallucinated images that count."""
  return {
    "hallucinated": extra.weight.sum(),
    "updates": (extra.num_updates * extra.weight).sum(),
    "reached": (extra.reached * extra.weight).sum(),
  }


def _largest_pixel(extra: Hallucinations) -> jax.Array:
  """Greatest absolute value in the images that count, infinite for NaN."""
  used = extra.weight[:, None, None, None] > 0
  pixels = jnp.where(jnp.isnan(extra.images), jnp.inf, extra.images)
  return jnp.where(used, jnp.abs(pixels), 0).max(initial=0)


@jax.named_scope("update")
def _update(
  state: TrainState,
  images: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  tx: optax.GradientTransformation,
  image_rngs: jax.Array,
  loss_fn: LossFn,
  class_weights: np.ndarray | None,
  axis_name: str,
) -> tuple[TrainState, jax.Array, jax.Array]:
  """One optimizer update.

  Returns:
    (the state after it, this device's share of the mean loss times the images
    of the batch, the norm of the gradient).
  """
  num_images = jax.lax.psum(weights.sum(), axis_name)
  parts, total_weight = weights, num_images
  if class_weights is not None:
    parts = weights * jnp.asarray(class_weights, jnp.float32)[labels]
    total_weight = jax.lax.psum(parts.sum(), axis_name)

  def mean_loss(params):
    logits, updates = state.apply_fn(
      state.variables_with(params),
      images,
      train=True,
      mask=weights > 0,
      image_rngs=image_rngs,
      mutable=[] if state.frozen else ["batch_stats"],
    )
    values = loss_fn(logits, labels)
    loss = losses.weighted_mean(values, parts, total_weight=total_weight)
    return loss, updates.get("batch_stats", {})

  (loss, batch_stats), grads = jax.value_and_grad(mean_loss, has_aux=True)(
    state.params
  )
  grads = jax.lax.psum(grads, axis_name)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, loss * num_images, optax.tree.norm(grads)


@jax.named_scope("evaluate")
def eval_step(
  state: TrainState,
  batch: EvalBatch,
  *,
  normalize_fn: Callable[[Any], jax.Array],
  average_fn: Callable[[Any, jax.Array], jax.Array] | None = None,
  adjust_fns: Sequence[Callable[[jax.Array], jax.Array] | None] = (None,),
  with_logits: bool = False,
  axis_name: str = "batch",
) -> Mapping[str, Any]:
  """Classifies a batch in inference mode.

  Args:
    state: the state; its parameters and running statistics are used, or the
      averages of them where it has any.
    batch: this device's share.
    normalize_fn: images -> float32 [n, h, w, 3].
    average_fn: (the network, these images) -> float32 [n, C], the mean of its
      logits over several crops of an image; None for one view, the whole.
    adjust_fns: functions float32 [n, C] -> float32 [n, C]. Each changes the
      logits in its own way before the classes are chosen; None leaves them
      unchanged.
    with_logits: whether the logits are returned, too.
    axis_name: axis over which devices are mapped.

  Returns:
    For the whole batch of n images: "label" int32 [n], "mask" bool [n], and
    for each of `adjust_fns` "prediction" int32 [n], "in_top5" bool [n] and, if
    asked for, "logits" float32 [n, C].
  """
  network, images = state.evaluated.logits, normalize_fn(batch.image)
  logits = average_fn(network, images) if average_fn else network(images)
  adjusted = [logits if fn is None else fn(logits) for fn in adjust_fns]
  likeliest = [
    jax.lax.top_k(each, min(5, logits.shape[1]))[1] for each in adjusted
  ]
  outputs = {
    "label": batch.label,
    "mask": batch.mask,
    "prediction": [best[:, 0] for best in likeliest],
    "in_top5": [
      jnp.any(best == batch.label[:, None], axis=1) for best in likeliest
    ],
    **({"logits": adjusted} if with_logits else {}),
  }
  return jax.lax.all_gather(outputs, axis_name, tiled=True)
