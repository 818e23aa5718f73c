"""The end of a run: how good its best and its last epoch are.

Everything that is known of an epoch follows from what it predicts for each
validation and each test image.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from blt_jax.method import metrics
from blt_jax.method.train_step import EvalBatch, TrainState
from blt_jax.system import console, processes
from blt_jax.training import calibration, measures
from blt_jax.training.evaluation import Kept
from blt_jax.training.run import Run
from blt_jax.training.stages import shot_limits
from blt_jax.workdir import files, records
from blt_jax.workdir.progress import EpochRow
from blt_jax.workdir.records import Predictions

_Guard = Callable[[Iterator[EvalBatch]], Iterator[EvalBatch]]


@dataclasses.dataclass(frozen=True, eq=False)
class Tested:
  """An epoch and what it predicts.

  Attributes:
    row: of the epoch.
    temperature: fitted to validation images, 1 where none could be.
    predictions: on "validation" and "test".
  """

  row: EpochRow
  temperature: float
  predictions: dict[str, Predictions]


def test_epoch(
  run: Run, state: TrainState, row: EpochRow, *, guard: _Guard
) -> Tested:
  """Predicts validation, fits the temperature to it, then predicts the test.

  Args:
    run: of the epoch.
    state: of the epoch.
    row: of the epoch.
    guard: the batches pass through it.
  """
  found, kept = run.predict(
    state,
    "validation",
    stage=row.stage,
    guard=guard,
    keep=calibration.most_images(run.dataset.num_classes),
  )
  temperature = _fit(found, kept, name=f"stage {row.stage} epoch {row.epoch}")
  if len(kept.labels) == len(found):
    found = calibration.calibrated(found, kept.logits, temperature)
  else:
    found, _ = run.predict(
      state,
      "validation",
      stage=row.stage,
      guard=guard,
      temperature=temperature,
    )
  del kept
  tested, _ = run.predict(
    state, "test", stage=row.stage, guard=guard, temperature=temperature
  )
  return Tested(row, temperature, {"validation": found, "test": tested})


def _fit(found: Predictions, kept: Kept, *, name: str) -> float:
  """The temperature; says what is unusual about it."""
  if len(kept.labels) < len(found):
    console.say(
      f"temperature of {name}: fitted to {len(kept.labels)} of the "
      f"{len(found)} validation images, evenly spread, as many as fit into "
      "memory"
    )
  temperature = calibration.fit_temperature(kept.logits, kept.labels)
  if temperature is None:
    console.say(
      f"temperature of {name}: none fits the validation images, of which "
      f"{np.count_nonzero(found.correct)} of {len(found)} are right; "
      "probabilities stay as the network gives them"
    )
    return 1.0
  return temperature


def results(run: Run, found: Mapping[str, Tested]) -> dict[str, Any]:
  """What results.json holds.

  Args:
    run: of the epochs.
    found: the "best" and the "last" epoch, which may be the same.
  """
  config, dataset = run.config, run.dataset
  best = _summary(run, found["best"])
  is_last = found["last"] is found["best"]
  return {
    "method": config.method,
    "dataset": config.dataset.name,
    "seed": config.seed,
    "device": f"{len(run.devices)} x {run.devices[0].device_kind}",
    "class_counts": [int(count) for count in run.class_counts],
    "class_names": list(dataset.class_names),
    "test_set": measures.test_set(
      run.class_counts,
      dataset.counts["test"],
      is_validation=dataset.test is dataset.validation,
    ),
    "prior": config.dataset.prior,
    "five_crop": config.dataset.five_crop,
    "best": best,
    "last": best if is_last else _summary(run, found["last"]),
  }


def _summary(run: Run, tested: Tested) -> dict[str, Any]:
  """What results.json holds of an epoch."""
  found = {
    split: measures.measures(
      predictions,
      run.class_counts,
      shares=run.target_shares,
      **shot_limits(run.config),
    )
    for split, predictions in tested.predictions.items()
  }
  row = tested.row
  now = found["validation"]
  different = [
    f"{group} {before:.2f} then, {now[group]:.2f}"
    for group in metrics.GROUPS
    for before in (row.validation[group],)
    if _differ(before, now[group])
  ]
  # After an epoch it was the centre crop's, now it may be that of five crops.
  if different and not run.config.dataset.five_crop:
    console.say(
      f"note: validation of stage {row.stage} epoch {row.epoch} is not what it "
      f"was after the epoch: {', '.join(different)} now. Another device, or "
      "another version of a library, computes with other rounding."
    )
  return {
    "stage": row.stage,
    "epoch": row.epoch,
    "temperature": tested.temperature,
    **found,
  }


def _differ(first: float, second: float) -> bool:
  """Whether two accuracies are of different answers; NaN equals NaN."""
  return not np.isclose(first, second, rtol=1e-9, equal_nan=True)


def write(run: Run, workdir: pathlib.Path, found: Mapping[str, Tested]) -> None:
  """Writes what is known of each image, each pair of classes and each class.

  Args:
    run: of the epochs.
    workdir: of the run.
    found: the "best" and the "last" epoch, which may be the same.
  """
  num_classes = run.dataset.num_classes
  for which, tested in found.items():
    predictions = tested.predictions["test"]
    confusion = records.Confusion.of_images(
      predictions.label, predictions.prediction, num_classes=num_classes
    )
    records.write_confusion(workdir, f"test-{which}", confusion)
    for split, predictions in tested.predictions.items():
      name = f"{split}-{which}"
      if which == "last" and tested is found["best"]:
        # Left by a run that had fewer epochs, and another best one.
        records.remove_predictions(workdir, name)
      else:
        records.write_predictions(workdir, name, predictions)
  if processes.is_first():
    scores = measures.class_scores(
      found["best"].predictions["test"], num_classes, shares=run.target_shares
    )
    dataset = run.dataset
    text = measures.classes_csv(scores, dataset.class_names, dataset.counts)
    files.write_text(workdir / records.CLASSES, text)
