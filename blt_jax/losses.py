"""The training loss."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, *, margin: float = 0.0
) -> jax.Array:
  """Cross entropy of each image, with an optional additive margin.

      loss_i = -log softmax(z_i - margin * onehot(y_i))[y_i]

  A margin above 0 is the large-margin softmax of the paper's text; 0, plain
  cross entropy, is the authors' release and the default.

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    margin: subtracted from the true class's logit, 0 or more.

  Returns:
    float32 [n], 0 or more.
  """
  logits = logits.astype(jnp.float32)
  if margin:
    logits = logits - margin * jax.nn.one_hot(labels, logits.shape[1])
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def weighted_mean(
  values: jax.Array,
  weights: jax.Array,
  *,
  total_weight: jax.Array | None = None,
) -> jax.Array:
  """Mean of the values by weight; an image of weight 0 has no part in it.

      sum_i w_i v_i / max(sum_i w_i, tiny)

  Args:
    values: float [n].
    weights: float [n], 0 or more.
    total_weight: float scalar in place of the sum of `weights`: over several
      devices each takes its share of the mean by dividing by the weight of all.

  Returns:
    float32 scalar, 0 when nothing has any weight.
  """
  if total_weight is None:
    total_weight = weights.sum()
  total = jnp.where(weights > 0, values * weights, 0.0).sum()
  return total / jnp.maximum(total_weight, jnp.finfo(jnp.float32).tiny)
