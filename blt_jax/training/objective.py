"""The loss of a configuration, and how it adjusts logits at evaluation."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.data import sampling
from blt_jax.method import losses
from blt_jax.method.losses import class_balanced_weights, per_class


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
  """What a training step minimises.

  Attributes:
    loss_fn: (logits [n, C], labels [n]) -> float32 [n].
    class_weights: float64 [C] of the weighted mean over a batch, None for the
      plain mean.
  """

  loss_fn: Callable[[jax.Array, jax.Array], jax.Array]
  class_weights: np.ndarray | None = None


def build_objective(
  config: Config,
  class_counts: np.ndarray,
  *,
  target: np.ndarray | None,
  gamma: float | None = None,
  reweighted: bool = False,
) -> Objective:
  """The loss of `model.loss`, for training counts int [C].

  Balanced softmax and logit adjustment take the class distribution of the
  stage's sampler: they are to undo what the network sees, and it sees natural
  frequencies only under natural sampling. They correct to the frequencies of
  `target`. The other losses take the training counts, as in their papers.

  Args:
    config: the configuration.
    class_counts: int [C], training images of each class.
    target: float64 [C] or None, `prior.target_shares` of `dataset.prior`.
    gamma: of the stage's sampler, None for natural sampling.
    reweighted: whether the mean over a batch has the deferred weights.

  Raises:
    ValueError: when the loss depends on the counts and a class has no image.
  """
  weights = None
  if reweighted:
    counts = _above_0(config, class_counts)
    weights = class_balanced_weights(counts, config.model.class_balanced_beta)
  loss_fn = _loss_fn(config, class_counts, gamma, target)
  return Objective(loss_fn, weights)


def _loss_fn(
  config: Config,
  class_counts: np.ndarray,
  gamma: float | None,
  target: np.ndarray | None,
) -> Callable:
  """The `Objective.loss_fn` of a configuration."""
  model = config.model
  if model.loss == "cross_entropy":
    return functools.partial(losses.cross_entropy, margin=model.margin)
  if model.loss == "focal":
    return functools.partial(losses.focal, gamma=model.focal_gamma)
  counts = _above_0(config, class_counts)
  if model.loss == "class_balanced":
    return functools.partial(
      losses.class_balanced,
      class_counts=counts,
      beta=model.class_balanced_beta,
    )
  if model.loss == "ldam":
    return _ldam_fn(config, counts)
  is_balanced = model.loss == "balanced_softmax"
  return functools.partial(
    losses.logit_adjustment,
    class_probabilities=sampling.class_probabilities(counts, gamma or 0.0),
    target_probabilities=_to_correct_to(config, target),
    tau=1.0 if is_balanced else model.logit_adjustment_tau,
  )


def _to_correct_to(
  config: Config, target: np.ndarray | None
) -> np.ndarray | None:
  """The shares that logits are corrected to; None for equal ones."""
  return None if config.dataset.prior == "balanced" else target


def _ldam_fn(config: Config, class_counts: np.ndarray) -> Callable:
  """LDAM of cosines: the squashing-cosine classifier without its scale.

  Its logits are alpha times (squashed) cosines. The loss has a scale of its
  own in alpha's place; margins are in the unit of a cosine, as in the paper.
  """
  model = config.model
  unit = model.alpha if model.classifier == "squashing_cosine" else 1.0

  def loss_fn(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return losses.ldam(
      logits / unit,
      labels,
      class_counts=class_counts,
      max_margin=model.ldam_max_margin,
      scale=model.ldam_scale,
    )

  return loss_fn


def _above_0(config: Config, class_counts: np.ndarray) -> np.ndarray:
  """The counts, for a loss that can't take 0; raises ValueError for one."""
  return per_class(
    f"config.model.loss is {config.model.loss!r}, but the number of training "
    "images",
    class_counts,
  )


def build_adjustment(
  config: Config,
  class_counts: np.ndarray,
  *,
  target: np.ndarray | None,
  gamma: float | None,
) -> Callable[[jax.Array], jax.Array] | None:
  """The post-hoc adjustment of logits, float [n, C]; None if it is off.

  It corrects from the class frequencies that the network was trained with,
  which are those of its stage's sampler, to those of `target`, as
  `build_objective` takes it.

  Raises:
    ValueError: when a class has no training image.
  """
  tau = config.model.posthoc_tau
  if not tau:
    return None
  counts = per_class(
    f"config.model.posthoc_tau is {tau}, but the number of training images",
    class_counts,
  )
  return functools.partial(
    losses.adjust_logits,
    class_probabilities=sampling.class_probabilities(counts, gamma or 0.0),
    target_probabilities=_to_correct_to(config, target),
    tau=tau,
  )
