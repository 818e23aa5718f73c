"""A pass over a split in inference mode, and what it says about the model."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from blt_jax.method import metrics
from blt_jax.method.confusion import confusion_matrix
from blt_jax.method.train_step import EvalBatch, TrainState


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Counts of an evaluation pass.

  Attributes:
    confusion: int32 [C, C], [true, predicted].
    in_top5: int64 [C], images of each class that have it among their five
      likeliest classes.
  """

  confusion: np.ndarray
  in_top5: np.ndarray

  def summary(
    self, class_counts: np.ndarray, *, many_above: int, few_up_to: int
  ) -> dict[str, Any]:
    """Top-1 by shot group, and top-5 under "top5", in percent."""
    limits = {"many_above": many_above, "few_up_to": few_up_to}
    top5 = metrics.class_accuracies(self.in_top5, self.confusion.sum(axis=1))
    return {
      **metrics.shot_accuracies(self.confusion, class_counts, **limits),
      "top5": metrics.group_means(top5, class_counts, **limits),
    }


def evaluate(
  state: TrainState,
  batches: Iterable[EvalBatch],
  eval_fn: Callable[[TrainState, EvalBatch], Mapping[str, Any]],
) -> list[Evaluation]:
  """Evaluates every image of a split once.

  Returns:
    The counts over all images whose mask is True, for each way in which
    `eval_fn` adjusts the logits.
  """
  results = []
  for batch in batches:
    results.append(eval_fn(state, batch))
    # The host runs at most two batches ahead of the devices.
    if len(results) > 2:
      jax.block_until_ready(results[-3])
  outputs = jax.device_get(results)
  # Leaf by leaf, the outputs of all batches in one.
  merged = jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)
  num_classes = state.confusion.shape[0]
  mask = merged["mask"]
  labels = merged["label"][mask]
  return [
    Evaluation(
      np.asarray(confusion_matrix(labels, predictions[mask], num_classes)),
      np.bincount(labels[in_top5[mask]], minlength=num_classes),
    )
    for predictions, in_top5 in zip(
      merged["prediction"], merged["in_top5"], strict=True
    )
  ]
