"""A pass over a split in inference mode, and what it says about the model."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from blt_jax.method import metrics
from blt_jax.method.confusion import confusion_matrix
from blt_jax.method.train_step import EvalBatch, Metrics, TrainState


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Counts of an evaluation pass.

  Attributes:
    confusion: int32 [C, C], [true, predicted].
    in_top5: int64 [C], images of each class with it among the five likeliest.
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
  eval_fn: Callable[[TrainState, EvalBatch], Metrics],
) -> Evaluation:
  """Evaluates every image of a split once.

  Args:
    state: parameters and running statistics; its confusion matrix gives the
      number of classes.
    batches: device batches.
    eval_fn: `train_step.eval_step`, mapped over devices.

  Returns:
    The counts over all images whose mask is True.
  """
  results = []
  for batch in batches:
    results.append(eval_fn(state, batch))
    # The host runs at most two batches ahead of the devices.
    if len(results) > 2:
      jax.block_until_ready(results[-3])
  outputs = jax.device_get(results)
  merged: Mapping[str, np.ndarray] = {
    name: np.concatenate([output[name] for output in outputs])
    for name in outputs[0]
  }
  num_classes = state.confusion.shape[0]
  mask = merged["mask"]
  labels, predictions = merged["label"][mask], merged["prediction"][mask]
  confusion = np.asarray(confusion_matrix(labels, predictions, num_classes))
  in_top5 = np.bincount(labels[merged["in_top5"][mask]], minlength=num_classes)
  return Evaluation(confusion, in_top5)
