"""SGD as the paper uses it, and AdamW; each part of a network has its rate."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

# The names from the top of the parameters to one of them -> its factor.
FactorFn = Callable[[tuple[str, ...]], float]


def step_schedule(
  base_rate: float, drop_epochs: Sequence[int], *, steps_per_epoch: int
) -> optax.Schedule:
  """A learning rate that is multiplied by 0.1 after each of some epochs.

  `drop_epochs=(25, 32)` trains epochs 1..25 with the base rate, 26..32 with a
  tenth and the rest with a hundredth of it. The authors' release steps its
  scheduler before the epoch, so its rates drop one epoch earlier.

  Args:
    base_rate: learning rate of the first epoch.
    drop_epochs: epochs, counted from 1, after which the rate drops.
    steps_per_epoch: training steps of one epoch.

  Returns:
    Schedule from the step count (0 for the first step) to the learning rate.
  """
  drops = {epoch * steps_per_epoch: 0.1 for epoch in drop_epochs}
  return optax.piecewise_constant_schedule(base_rate, drops)


def cosine_schedule(
  base_rate: float, *, steps: int, warmup_steps: int = 0
) -> optax.Schedule:
  """A learning rate that falls to 0 along half a cosine (Loshchilov 2017).

      base_rate * (1 + cos(pi (t - w) / (T - w))) / 2

  in step t of T, from 0, after w steps of `warmed_up`, in which it stays.

  Args:
    base_rate: learning rate that it falls from.
    steps: T; the last step, T - 1, has a rate that is just above 0.
    warmup_steps: w, at most T.

  Returns:
    Schedule as in `step_schedule`.
  """
  fall = optax.cosine_decay_schedule(base_rate, max(steps - warmup_steps, 1))
  return lambda count: fall(jnp.maximum(count - warmup_steps, 0))


def warmed_up(schedule: optax.Schedule, steps: int) -> optax.Schedule:
  """A schedule whose first steps have 1 / steps, 2 / steps, ... of the rate.

  Args:
    schedule: the learning rate.
    steps: number of these steps; 0 for none.

  Returns:
    Schedule as in `step_schedule`; its step `steps - 1` is the first one with
    the whole rate.
  """
  if not steps:
    return schedule
  return lambda count: jnp.minimum((count + 1) / steps, 1) * schedule(count)


def sgd(
  backbone_rate: optax.Schedule,
  classifier_rate: optax.Schedule,
  *,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
  factor_fn: FactorFn | None = None,
) -> optax.GradientTransformation:
  """SGD with coupled weight decay and one learning rate for each part.

      g <- grad + weight_decay * w,  v <- momentum * v + g,  w <- w - rate * v

  This is PyTorch's SGD: the decay is an L2 penalty on every parameter, added to
  the gradient before the momentum.

  Args:
    backbone_rate: schedule for everything but the classifier.
    classifier_rate: schedule for the parameters under "classifier".
    momentum: factor of the velocity.
    weight_decay: factor of the L2 penalty.
    factor_fn: a parameter's factor of its rate; None for 1.

  Returns:
    Transformation for parameters that lie under "classifier" or another name.
  """
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.trace(decay=momentum),
    *_factors(factor_fn),
    _rates(backbone_rate, classifier_rate),
  )


def adamw(
  backbone_rate: optax.Schedule,
  classifier_rate: optax.Schedule,
  *,
  weight_decay: float,
  factor_fn: FactorFn | None = None,
) -> optax.GradientTransformation:
  """AdamW (Loshchilov and Hutter 2019) with a learning rate for each part.

      m <- 0.9 m + 0.1 grad,  v <- 0.999 v + 0.001 grad^2
      w <- w - rate * (m / (1 - 0.9^t) / (sqrt(v / (1 - 0.999^t)) + 1e-8)
                       + weight_decay * w)

  This is PyTorch's and optax's AdamW: the decay has no part in the moments and
  is multiplied by the rate. As timm does it, biases, factors and offsets of
  normalisations, layer scale, position embeddings and tokens are not decayed:
  only what is called "kernel" is.

  Args:
    backbone_rate: see `sgd`.
    classifier_rate: see `sgd`.
    weight_decay: factor of the decay.
    factor_fn: see `sgd`; it scales the decay with the rate.

  Returns:
    Transformation as of `sgd`.
  """
  return optax.chain(
    optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
    optax.add_decayed_weights(weight_decay, mask=_kernels),
    *_factors(factor_fn),
    _rates(backbone_rate, classifier_rate),
  )


def _rates(
  backbone_rate: optax.Schedule, classifier_rate: optax.Schedule
) -> optax.GradientTransformation:
  """Multiplies updates by minus the learning rates."""
  rates = {
    "backbone": optax.scale_by_learning_rate(backbone_rate),
    "classifier": optax.scale_by_learning_rate(classifier_rate),
  }
  return optax.multi_transform(rates, _parts)


def _factors(
  factor_fn: FactorFn | None,
) -> list[optax.GradientTransformation]:
  """Multiplies updates by their parameters' factors; [] without any."""
  if factor_fn is None:
    return []

  def scale(updates: Any, params: Any) -> Any:
    del params
    return jax.tree_util.tree_map_with_path(
      lambda path, update: factor_fn(_names(path)) * update, updates
    )

  return [optax.stateless(scale)]


def _kernels(params: Any) -> Any:
  """Which parameters are kernels."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: _names(path)[-1] == "kernel", params
  )


def _names(path: Sequence[Any]) -> tuple[str, ...]:
  """The names of JAX's path to a parameter."""
  return tuple(key.key for key in path)


def _parts(params: dict) -> dict:
  """Labels each parameter with the part whose learning rate it takes."""
  return {
    name: jax.tree.map(
      lambda _, part="classifier" if name == "classifier" else "backbone": part,
      subtree,
    )
    for name, subtree in params.items()
  }
