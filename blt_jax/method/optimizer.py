"""SGD as the paper uses it, with a schedule for each part of the network."""

from collections.abc import Sequence
from typing import Any

import jax
import optax


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


def sgd(
  backbone_rate: optax.Schedule,
  classifier_rate: optax.Schedule,
  *,
  momentum: float = 0.9,
  weight_decay: float = 5e-4,
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

  Returns:
    Transformation for parameters with a top-level "classifier" entry.
  """
  rates = {
    "backbone": optax.scale_by_learning_rate(backbone_rate),
    "classifier": optax.scale_by_learning_rate(classifier_rate),
  }
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.trace(decay=momentum),
    optax.multi_transform(rates, _parts),
  )


def init(params: Any) -> optax.OptState:
  """The state of `sgd` before its first update, whatever its settings."""
  rate = optax.constant_schedule(0.0)
  return sgd(rate, rate).init(params)


def _parts(params: dict) -> dict:
  """Labels each parameter with the part whose learning rate it takes."""
  return {
    name: jax.tree.map(
      lambda _, part="classifier" if name == "classifier" else "backbone": part,
      subtree,
    )
    for name, subtree in params.items()
  }
