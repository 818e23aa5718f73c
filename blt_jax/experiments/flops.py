"""How much arithmetic a network needs for an image, in FLOPs.

A FLOP is one floating-point operation, so that a multiply-add counts as two.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

GIGA = 1e9


def forward(model: nn.Module, image_size: int) -> float:
  """FLOPs of a forward pass of one image in inference mode."""
  image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
  apply = functools.partial(model.apply, train=False)
  init = functools.partial(model.init, train=False)
  return count(apply, jax.eval_shape(init, jax.random.key(0), image), image)


def count(function: Callable[..., Any], *arguments: Any) -> float:
  """FLOPs of a function, compiled for the processor.

  XLA does not count what cuDNN computes on a GPU. Additions with the zeros of a
  padding are not counted, and a loop is counted as if it ran once.

  Args:
    function: any JAX function.
    *arguments: arrays or `jax.ShapeDtypeStruct`s, in trees.
  """
  with jax.default_device(jax.devices("cpu")[0]):
    compiled = jax.jit(function).lower(*arguments).compile()
  costs: Any = compiled.cost_analysis()
  return float(costs.get("flops", 0.0))
