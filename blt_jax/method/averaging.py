"""The moving average of a network's weights, which is what is evaluated."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Average(NamedTuple):
  """An exponential moving average over the steps of a stage.

  Attributes:
    params: of the parameters that are trained.
    batch_stats: of the running statistics, as timm averages them.
    steps: int32 scalar, steps that it has seen.
  """

  params: Any
  batch_stats: Any
  steps: jax.Array


def begin(params: Any, batch_stats: Any) -> Average:
  """An average that has seen no step: copies of what a stage begins with."""
  # A step may consume its arguments, so none of them may be there twice.
  params, batch_stats = _copies((params, batch_stats))
  return Average(params, batch_stats, jnp.zeros((), jnp.int32))


def after_step(
  average: Average, params: Any, batch_stats: Any, *, decay: float
) -> Average:
  """The average after one more step.

      a <- d a + (1 - d) w,    d = min(decay, (1 + t) / (10 + t))

  in step t, from 1. The first steps weigh more, as TensorFlow's
  `ExponentialMovingAverage(num_updates=)` has it: otherwise a short training
  would be evaluated with much of the weights that it began with.

  Args:
    average: before the step.
    params: after it.
    batch_stats: after it.
    decay: 0 up to 1.
  """
  steps = average.steps + 1
  share = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))
  return Average(
    optax.incremental_update(params, average.params, share),
    optax.incremental_update(batch_stats, average.batch_stats, share),
    steps,
  )


@jax.jit
def _copies(tree: Any) -> Any:
  return jax.tree.map(jnp.copy, tree)
