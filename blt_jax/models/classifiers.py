"""Classifiers: features to logits."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class SquashingCosine(nn.Module):
  """The squashing-cosine classifier of the paper.

      z_c = alpha * |f| / (beta + |f|) * cos(f, w_c)

  Features of zeros have logits of zero and finite gradients, where the released
  code divides 0 by 0. The released code's alpha is 16, the paper's 20.

  Attributes:
    num_classes: 1 or more.
    alpha: scale of the logits, above 0; they lie within -alpha..alpha.
    beta: squashing of short features, above 0.

  Example:
    >>> variables = {"params": {"kernel": jnp.eye(2)}}
    >>> SquashingCosine(2).apply(variables, jnp.array([[1.5, 0.0]])).tolist()
    [[15.0, 0.0]]
  """

  num_classes: int
  alpha: float = 20.0
  beta: float = 0.5

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """Logits, float32 [n, num_classes], of features [n, d]."""
    size = features.shape[-1]
    kernel = self.param(
      "kernel", _uniform(1 / math.sqrt(size)), (size, self.num_classes)
    )
    features = features.astype(jnp.float32)
    # f |f| / (|f| (beta + |f|)) is f / (beta + |f|): no division by |f|.
    squashed = features / (self.beta + _safe_norm(features, axis=1))
    norms = _safe_norm(kernel, axis=0)
    directions = kernel / jnp.where(norms > 0, norms, 1)
    return self.alpha * (squashed @ directions)


class Linear(nn.Module):
  """x W + b, with the initial values of PyTorch's Linear.

  Weights and biases start uniform in +-1 / sqrt(inputs).

  Attributes:
    features: size of the output.
    dtype: type of the computation and of the output.
  """

  features: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Outputs, [n, features] of `dtype`, of inputs [n, d]."""
    size = x.shape[-1]
    init = _uniform(1 / math.sqrt(size))
    kernel = self.param("kernel", init, (size, self.features))
    bias = self.param("bias", init, (self.features,))
    y = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return y + bias.astype(self.dtype).reshape(1, -1)


def _safe_norm(x: jax.Array, *, axis: int) -> jax.Array:
  """Euclidean norm along an axis; its gradient at 0 is 0, not NaN."""
  squares = jnp.square(x).sum(axis, keepdims=True)
  positive = squares > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def _uniform(bound: float) -> Callable[..., jax.Array]:
  """Initialiser: uniform in -bound..bound."""

  def init(
    rng: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
  ) -> jax.Array:
    return jax.random.uniform(rng, shape, dtype, -bound, bound)

  return init
