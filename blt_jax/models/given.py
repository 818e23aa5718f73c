"""A network of the caller's own, called as those of `create_model` are."""

import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Collections of variables that a training step knows.
_COLLECTIONS = {"params", "batch_stats"}


class Given:
  """Wraps any Flax Linen module whose call is `(images, *, train)` -> logits.

  What the module draws at random, such as dropout, follows from the seed and
  the step. Where its call has these arguments it also gets

      mask        bool [n], False where an image has no part in the loss; None
                  outside of training
      image_rngs  PRNG keys [n], one an image; None in inference

  Running statistics become means over the devices, as every device has the
  statistics of its share unless the module's normalisations have the axis name.
  """

  def __init__(self, module: nn.Module, *, axis_name: str | None = None):
    """Wraps a module.

    Args:
      module: the network.
      axis_name: the mapped axis of a training step, or None.

    Raises:
      ValueError: it is no Linen module, or its call takes no `train`.
    """
    if not isinstance(module, nn.Module):
      kind = module.__name__ if isinstance(module, type) else type(module)
      raise ValueError(
        f"model is {kind}; expected an instance of a Flax Linen module "
        "(flax.linen.Module)."
      )
    taken = inspect.signature(module.__call__).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    if "train" not in taken and not takes_all:
      raise ValueError(
        f"model is a {type(module).__name__}, whose __call__ takes "
        f"{', '.join(taken) or 'nothing'}; expected __call__(images, *, train)."
      )
    self.module = module
    self.takes_mask = "mask" in taken or takes_all
    self._takes_rngs = "image_rngs" in taken or takes_all
    self._axis_name = axis_name

  def init(self, rng: jax.Array, images: jax.Array, *, train: bool) -> Any:
    """Fresh variables, as the module's `init` gives them."""
    return self.module.init(rng, images, train=train, **self._options())

  def apply(
    self,
    variables: Any,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
    mutable: Any = False,
  ) -> Any:
    """Float32 logits [n, C]; with `mutable` also the updates, as Flax's."""
    options = self._options(mask, image_rngs)
    if image_rngs is not None:
      # Flax takes this key where a stream, such as "dropout", has none.
      options["rngs"] = {"params": image_rngs[0]}
    found: Any = self.module.apply(
      variables, images, train=train, mutable=mutable, **options
    )
    if not mutable:
      return found.astype(jnp.float32)
    logits, updates = found
    if self._axis_name:
      updates = jax.lax.pmean(updates, self._axis_name)
    return logits.astype(jnp.float32), updates

  def _options(
    self, mask: jax.Array | None = None, image_rngs: jax.Array | None = None
  ) -> dict[str, Any]:
    """What the module's call takes beside images and `train`."""
    options: dict[str, Any] = {}
    if self.takes_mask:
      options["mask"] = mask
    if self._takes_rngs:
      options["image_rngs"] = image_rngs
    return options

  def check(self, *, image_size: int, num_classes: int) -> None:
    """Refuses a network that a run can't train; computes nothing.

    Raises:
      ValueError: it gives something else than a logit for each class, or has
        variables that a training step does not know.
    """
    images = jnp.zeros((1, image_size, image_size, 3), jnp.float32)
    key = jax.random.key(0)

    def call(key: jax.Array) -> tuple[Any, Any]:
      variables = self.init(key, images, train=False)
      return variables, self.module.apply(
        variables, images, train=False, **self._options()
      )

    variables, logits = jax.eval_shape(call, key)
    name = type(self.module).__name__
    others = sorted(set(variables) - _COLLECTIONS)
    if others or not variables.get("params"):
      raise ValueError(
        f"model is a {name}, whose variables are {', '.join(variables)}; "
        "expected params and, where it normalises by batches, batch_stats, "
        "alone."
      )
    shape = getattr(logits, "shape", None)
    if shape != (1, num_classes):
      found = type(logits).__name__ if shape is None else list(shape)
      raise ValueError(
        f"model is a {name}, which gives {found} for one image of {image_size} "
        f"x {image_size} pixels; expected [1, {num_classes}], a logit for each "
        "class."
      )
