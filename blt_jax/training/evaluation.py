"""A pass over a split in inference mode, and what it says about the model."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.method import metrics, train_step
from blt_jax.method.confusion import confusion_matrix
from blt_jax.method.train_step import EvalBatch, TrainState
from blt_jax.training import build, devices
from blt_jax.workdir.records import Predictions

_EvalFn = Callable[[TrainState, EvalBatch], Mapping[str, Any]]

# The host runs so many batches ahead of the devices.
_AHEAD = 2


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


class Kept(NamedTuple):
  """Logits of some images, to fit a temperature to.

  Attributes:
    logits: float32 [k, C].
    labels: int32 [k].
  """

  logits: np.ndarray
  labels: np.ndarray


def build_eval_step(
  config: Config,
  adjust_fns: Sequence[Callable[[jax.Array], jax.Array] | None] = (None,),
  *,
  with_logits: bool = False,
  five_crop: bool = False,
) -> Callable:
  """`eval_step` mapped over the devices: (state, batch) -> outputs."""
  average_fn = None
  if five_crop:
    from blt_jax.data.five_crop import mean_logits  # Few runs need it.

    size = config.dataset.image_size
    average_fn = functools.partial(mean_logits, size=size)
  step = functools.partial(
    train_step.eval_step,
    normalize_fn=build.build_normalize(config),
    average_fn=average_fn,
    adjust_fns=adjust_fns,
    with_logits=with_logits,
    axis_name=devices.AXIS,
  )
  return devices.over_devices(step, config)


def evaluate(
  state: TrainState, batches: Iterable[EvalBatch], eval_fn: _EvalFn
) -> list[Evaluation]:
  """Evaluates every image of a split once.

  Returns:
    The counts over all images whose mask is True, for each way in which
    `eval_fn` adjusts the logits.
  """
  results = list(outputs(state, batches, eval_fn, without={"logits"}))
  # Leaf by leaf, the outputs of all batches in one.
  merged = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
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


def predict(
  state: TrainState,
  batches: Iterable[EvalBatch],
  eval_fn: _EvalFn,
  *,
  temperature: float,
  kept: np.ndarray,
) -> tuple[Predictions, Kept]:
  """Predicts every image of a split once.

  The logits come to the host batch by batch, where little is left of them.

  Args:
    state: its parameters and running statistics are used.
    batches: of the whole split, in order.
    eval_fn: `eval_step` with logits and one way to adjust them.
    temperature: above 0, of the calibrated confidences.
    kept: bool [n], images of the split whose logits are returned as well.

  Returns:
    (what is predicted for the images whose mask is True, the logits of those of
    them that were to be kept).
  """
  from blt_jax.training import calibration  # Needed once, at the end.

  parts = []
  shape = (int(kept.sum()), state.confusion.shape[0])
  logits, labels = np.empty(shape, np.float32), np.empty(shape[0], np.int32)
  start = filled = 0
  for found in outputs(state, batches, eval_fn):
    mask = found["mask"]
    row = start + np.flatnonzero(mask)
    start += len(mask)
    part = calibration.reduce(
      found["logits"][0][mask],
      row=row,
      label=found["label"][mask],
      prediction=found["prediction"][0][mask],
      in_top5=found["in_top5"][0][mask],
      temperature=temperature,
    )
    parts.append(part)
    chosen = kept[row]
    some = slice(filled, filled + int(chosen.sum()))
    logits[some] = found["logits"][0][mask][chosen]
    labels[some] = part.label[chosen]
    filled = some.stop
  kept_logits = Kept(logits[:filled], labels[:filled])
  return Predictions.joined(parts), kept_logits


def outputs(
  state: TrainState,
  batches: Iterable[EvalBatch],
  eval_fn: _EvalFn,
  *,
  without: frozenset[str] | set[str] = frozenset(),
) -> Iterator[dict[str, Any]]:
  """The outputs of each batch, on the host; some of them are left out.

  Args:
    state: what `eval_fn` takes first.
    batches: what it takes then.
    eval_fn: mapped over the devices.
    without: names of outputs that stay on the devices.
  """
  ahead: collections.deque[dict[str, Any]] = collections.deque()
  for batch in batches:
    found = eval_fn(state, batch)
    ahead.append({k: found[k] for k in found if k not in without})
    if len(ahead) > _AHEAD:
      yield jax.device_get(ahead.popleft())
  while ahead:
    yield jax.device_get(ahead.popleft())
