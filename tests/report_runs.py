"""Work directories made by hand, for the tests of reports."""

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
    recorded: whether there are classes, confusion matrices and examples.
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
    tested = metrics.shot_accuracies(confusion, np.array(counts))
    split = {**tested, "top5": {group: 100.0 for group in tested}}
    results = {
      "method": "blt",
      "class_counts": list(counts),
      "class_names": list(names),
      "best": {"stage": 2, "epoch": 1, "validation": split, "test": split},
      "last": {"stage": 2, "epoch": 3, "validation": split, "test": split},
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
