"""How much arithmetic a network and its training need, in FLOPs.

A FLOP is one floating-point operation, so that a multiply-add counts as two.
Everything is counted from compiled programs. XLA counts the body of a loop once
however often it runs; so the gradient ascent, the only loop here, is taken
apart, and its body multiplied by the number of its updates.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.method import losses

GIGA = 1e9


@dataclasses.dataclass(frozen=True)
class StepFlops:
  """FLOPs of a training step.

  Attributes:
    update: forward and backward pass over all images, hallucinated ones
      included, and the statistics; without the optimizer.
    ascent_update: one update of the gradient ascent on all slots.
    ascent_check: the last look at the confidence, a forward pass of all slots.
  """

  update: float
  ascent_update: float
  ascent_check: float

  def total(self, updates: float) -> float:
    """FLOPs of the whole step.

    Args:
      updates: passes of the ascent, 0 or more: the most updates that any image
        of the batch receives, since all slots run until the last is done. The
        mean over the steps of a run need not be whole.

    Returns:
      update + updates * ascent_update + ascent_check.

    Raises:
      ValueError: if `updates` is negative.
    """
    if not updates >= 0:
      raise ValueError(f"updates is {updates}; it must be 0 or more.")
    return self.update + updates * self.ascent_update + self.ascent_check


def count(function: Callable[..., Any], *arguments: Any) -> float:
  """FLOPs of a function, compiled for the default device.

  Additions with the zeros of a padding are not counted, and a loop is counted
  as if it ran once.

  Args:
    function: any JAX function.
    *arguments: arrays or `jax.ShapeDtypeStruct`s, in trees.

  Returns:
    The FLOPs of one call.
  """
  compiled = jax.jit(function).lower(*arguments).compile()
  costs: Any = compiled.cost_analysis()
  return float(costs.get("flops", 0.0))


def forward(model: nn.Module, image_size: int, *, images: int = 1) -> float:
  """FLOPs of a forward pass in inference mode.

  Args:
    model: from `create_model`.
    image_size: side of the square images, pixels.
    images: number of images.

  Returns:
    FLOPs of all images.
  """
  batch = _images(images, image_size)
  return count(
    functools.partial(_logits, model), _variables(model, batch), batch
  )


def training_step(
  model: nn.Module, image_size: int, *, images: int, slots: int = 0
) -> StepFlops:
  """FLOPs of a training step on one device, augmentation left out.

  Args:
    model: from `create_model`, without an axis name.
    image_size: side of the square images, pixels.
    images: real images of the batch.
    slots: hallucinated slots of the batch; 0 for plain training.

  Returns:
    StepFlops; its ascent counts nothing without slots.
  """
  batch = _images(images + slots, image_size)
  variables = _variables(model, batch)
  labels = jax.ShapeDtypeStruct((images + slots,), jnp.int32)
  update = count(_update_of(model), variables, batch, labels)
  if not slots:
    return StepFlops(update, 0.0, 0.0)
  batch = _images(slots, image_size)
  targets = jax.ShapeDtypeStruct((slots,), jnp.int32)
  return StepFlops(
    update=update,
    ascent_update=count(_ascent_of(model), variables, batch, targets),
    ascent_check=forward(model, image_size, images=slots),
  )


def _update_of(model: nn.Module) -> Callable:
  """The gradients of a batch, as `train_step` takes them."""

  def gradients(variables, images, labels):
    def loss_fn(params):
      logits, updates = model.apply(
        {**variables, "params": params},
        images,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(0)},
      )
      return losses.cross_entropy(logits, labels).mean(), updates

    return jax.grad(loss_fn, has_aux=True)(variables["params"])

  return gradients


def _ascent_of(model: nn.Module) -> Callable:
  """One update of the ascent, as the loop of `perturb_images` makes it."""

  def ascend(variables, images, targets):
    logits, pull_back = jax.vjp(
      functools.partial(_logits, model, variables), images
    )
    one_hot = jax.nn.one_hot(targets, logits.shape[1], dtype=logits.dtype)
    (gradient,) = pull_back(one_hot)
    return images + 0.7 * gradient, jax.nn.softmax(logits)

  return ascend


def _logits(model: nn.Module, variables: Any, images: jax.Array) -> Any:
  return model.apply(variables, images, train=False)


def _images(number: int, size: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((number, size, size, 3), jnp.float32)


def _variables(model: nn.Module, images: jax.ShapeDtypeStruct) -> Any:
  """Shapes of a model's variables; nothing is computed."""
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), images)
