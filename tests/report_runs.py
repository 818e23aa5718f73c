"""Work directories made by hand, for the tests of reports."""

import csv
import io
import pathlib

import numpy as np

from blt_jax.config import check_config
from blt_jax.method import metrics
from blt_jax.report import record
from blt_jax.workdir import directory, files, records
from configs import digits_lt
from tests.rows import make_row

COUNTS = (120, 60, 5, 5)
NAMES = ("ant", "bee", "cat", "dog")
# Of classes.csv.
COLUMNS = (
  *("class", "train", "validation", "test"),
  *("recall", "precision", "f1", "top5", "confused_with"),
)
# Rows are true classes: 90, 80, 50 and 0 percent are right.
CONFUSION = ((9, 1, 0, 0), (2, 8, 0, 0), (3, 2, 5, 0), (4, 6, 0, 0))


ROWS = (
  make_row(1, 1, 12, val_overall=40.0),
  make_row(1, 2, 24, val_overall=50.0),
  make_row(2, 1, 36, val_overall=60.0),
  make_row(2, 2, 48, val_overall=60.0),
  make_row(2, 3, 60),
)


def make_run(
  folder: pathlib.Path,
  *,
  variant: str = "",
  counts=COUNTS,
  names=NAMES,
  confusion=CONFUSION,
  rows=ROWS,
  finished: bool = True,
  recorded: bool = True,
  examples: int = 5,
) -> record.RunRecord:
  """Makes the work directory of a run and reads it.

  Args:
    folder: made.
    variant: of configs/digits_lt.py.
    counts: training images of each class.
    names: of the classes.
    confusion: the same on validation and test images.
    rows: of metrics.csv.
    finished: whether there is a results.json.
    recorded: whether there are classes, confusion matrices, predictions and
      examples.
    examples: how many of these.
  """
  directory.claim(folder, check_config(digits_lt.get_config(variant)))
  confusion = np.array(confusion)
  if rows:
    records.write_metrics(folder, rows)
  if recorded:
    splits = ("training", "validation", "test")
    directory.check_classes(folder, dict.fromkeys(splits, counts), names)
    for row in rows:
      name = records.epoch_name(row.stage, row.epoch)
      records.write_confusion(folder, name, confusion)
  if finished:
    for which in ("best", "last") if recorded else ():
      records.write_confusion(folder, f"test-{which}", confusion)
    if recorded:
      _write_examples(folder, examples, len(counts))
      _write_predictions(folder, confusion)
      _write_classes(folder, confusion, counts, names)
    split = _measured(confusion, counts)
    both = {"temperature": 1.25, "validation": split, "test": split}
    results = {
      "method": "blt",
      "class_counts": list(counts),
      "class_names": list(names),
      "best": {"stage": 2, "epoch": 1, **both},
      "last": {"stage": 2, "epoch": 3, **both},
      "test_set": {
        "kind": "balanced",
        "images": int(confusion.sum()),
        "classes": len(counts),
        "is_validation": False,
      },
      "prior": "",
    }
    files.write_json(folder / directory.RESULTS, results)
  return record.read_run(folder)


def _write_examples(folder: pathlib.Path, number: int, num_classes: int):
  """Grey images; the one of number i is brightened by i percent in i steps."""
  steps = np.arange(number, dtype=np.int32)
  original = np.full((number, 8, 8, 3), 0.5, np.float32)
  share = np.linspace(0.1, 0.2, number, dtype=np.float32)
  np.savez(
    folder / records.EXAMPLES,
    original=original,
    perturbed=original + 0.01 * steps[:, None, None, None],
    label=num_classes - 1 - steps % 2,
    target=np.zeros(number, np.int32),
    confidence=2 * share,
    before=share,
    after=3 * share,
    num_updates=steps,
    reached=steps != 4,
  )


def _measured(confusion, counts):
  """Measures of a split; those beside the accuracies are made up."""
  tested = metrics.shot_accuracies(confusion, np.array(counts))
  ends = {
    group: [max(value - 5, 0), min(value + 5, 100)]
    for group, value in tested.items()
  }
  one = {"nll": 0.75, "ece": 0.125}
  groups = {group: one for group in ("many", "medium", "few")}
  return {
    **tested,
    "top5": {group: 100.0 for group in tested},
    "accuracy": 55.0,
    "macro_f1": 54.0,
    "weighted_f1": 53.0,
    **one,
    "interval": ends,
    "groups": groups,
    "calibrated": {
      "nll": 0.5,
      "ece": 0.0625,
      "groups": {g: {"nll": 0.5, "ece": 0.0625} for g in groups},
    },
  }


def predictions_of(confusion) -> records.Predictions:
  """Images in the order of their classes; the right ones are surer."""
  confusion = np.array(confusion)
  true, predicted = np.nonzero(confusion)
  count = confusion[true, predicted]
  label, prediction = np.repeat(true, count), np.repeat(predicted, count)
  place = np.arange(len(label))
  spread = (place * 37 % 101) / 101
  confidence = 0.3 + 0.4 * spread + 0.25 * (label == prediction)
  likelihood = np.log(np.where(label == prediction, confidence, 0.1))
  return records.Predictions(
    row=place.astype(np.int32),
    label=label.astype(np.int32),
    prediction=prediction.astype(np.int32),
    in_top5=np.ones(len(label), bool),
    confidence=confidence.astype(np.float32),
    log_likelihood=likelihood.astype(np.float32),
    calibrated_confidence=(0.9 * confidence).astype(np.float32),
    calibrated_log_likelihood=likelihood.astype(np.float32),
  )


def _write_predictions(folder, confusion):
  for name in ("validation-best", "test-best"):
    records.write_predictions(folder, name, predictions_of(confusion))


def _write_classes(folder, confusion, counts, names):
  """classes.csv with the test images of a confusion matrix."""
  totals, taken = confusion.sum(axis=1), confusion.sum(axis=0)
  recall, precision = (
    metrics.class_accuracies(np.diag(confusion), number)
    for number in (totals, taken)
  )
  wrong = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
  rows = [
    (
      name,
      counts[c],
      3,
      totals[c],
      *("" if np.isnan(v) else f"{v:.2f}" for v in (recall[c], precision[c])),
      "50.00",
      "100.00",
      names[wrong[c].argmax()] if wrong[c].any() else "",
    )
    for c, name in enumerate(names)
  ]
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
  writer.writerows([COLUMNS, *rows])
  files.write_text(folder / records.CLASSES, text.getvalue())
