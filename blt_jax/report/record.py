"""What a work directory tells about its run, finished or not."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from blt_jax.config import GIVEN, Config
from blt_jax.data import longtail
from blt_jax.method import metrics
from blt_jax.workdir import directory, files, given, records
from blt_jax.workdir.progress import EpochRow
from blt_jax.workdir.records import Confusion, Examples, Predictions

# What results.json holds of a split.
MEASURES = (
  *metrics.GROUPS,
  *("top5", "accuracy", "macro_f1", "interval", "groups", "calibrated"),
)

# Confusions and predictions of the best epoch: those that are shown, and those
# that thresholds are chosen on.
TESTED, CHOSEN_ON = "test-best", "validation-best"


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """A row of classes.csv: a class at the best epoch, on the test images.

  Attributes:
    train: training images, and so on for the other splits.
    validation: see there.
    test: see there.
    recall: percent, NaN where it is not defined, and so on for the others.
    precision: see there.
    f1: see there.
    top5: see there.
    confused_with: the class that it is most taken for, "" for none.
  """

  train: int
  validation: int
  test: int
  recall: float
  precision: float
  f1: float
  top5: float
  confused_with: str


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
  """A run as its work directory tells it.

  Attributes:
    workdir: the work directory.
    config: its configuration.
    results: what results.json holds, None for a run that is not finished.
    rows: metrics.csv, a row a finished epoch.
  """

  workdir: pathlib.Path
  config: Config
  results: dict[str, Any] | None
  rows: list[EpochRow]

  @property
  def network(self) -> str:
    """The backbone; the class of a network that a program handed in."""
    name = self.config.model.backbone
    if name == GIVEN:
      name = given.network(self.workdir).partition("(")[0]
    return name

  @property
  def origin(self) -> str:
    """Data set, method, network and seed, for captions."""
    config = self.config
    return (
      f"{config.dataset.name}, {config.method}, {self.network}, "
      f"seed {config.seed}"
    )

  def entries(self, name: str) -> Confusion | None:
    """A confusion matrix as its non-zero entries, or None without the file.

    Raises:
      ValueError: when the file is damaged.
    """
    return records.read_confusion(self.workdir, name)

  def validation_entries(self, stage: int) -> dict[int, Confusion]:
    """Confusion on validation after each epoch of a stage, as entries."""
    epochs = {}
    for epoch in records.recorded_epochs(self.workdir, stage):
      entries = self.entries(records.epoch_name(stage, epoch))
      assert entries is not None
      epochs[epoch] = entries
    return epochs

  def predictions(self, name: str) -> Predictions | None:
    """What was predicted for each image of a split, None without the file.

    Raises:
      ValueError: when the file is damaged.
    """
    if name not in self._predictions:
      found = records.read_predictions(self.workdir, name)
      most = max(found.label.max(), found.prediction.max()) if found else 0
      if found and most >= len(self.class_counts):
        raise ValueError(
          f"{self.workdir / records.PREDICTIONS / name}.npz has class {most}; "
          f"expected one of 0 to {len(self.class_counts) - 1}."
        )
      self._predictions[name] = found
    return self._predictions[name]

  @functools.cached_property
  def tested_paths(self) -> list[str]:
    """Files of the test images as in splits.csv; none where it has none."""
    path = self.workdir / records.SPLITS
    parts: dict[str, list[str]] = {}
    if path.exists():
      with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
          part = parts.setdefault(row.get("split") or "", [])
          part.append(row.get("path") or "")
    # Where one split is validation and test, it is written as the former.
    return parts.get("test", parts.get("validation", []))

  def class_accuracies(self, name: str = TESTED) -> np.ndarray | None:
    """Accuracy of each class, float64 [C] in percent; None as `entries`."""
    entries = self.entries(name)
    if entries is None:
      return None
    return metrics.class_accuracies(entries.correct(), entries.totals())

  @functools.cached_property
  def classes(self) -> list[ClassRow] | None:
    """Measures of each class, [C]; None without classes.csv.

    Raises:
      ValueError: when the file is damaged.
    """
    path = self.workdir / records.CLASSES
    if not path.exists():
      return None
    with path.open(newline="", encoding="utf-8") as file:
      try:
        found = [_class_row(row) for row in csv.DictReader(file)]
      except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
          f"{path} is not a table of classes ({error!r}); expected what a run "
          "writes."
        ) from None
    if len(found) != len(self.class_counts):
      raise ValueError(
        f"{path} has {len(found)} classes; expected {len(self.class_counts)}, "
        "as in results.json."
      )
    return found

  @functools.cached_property
  def examples(self) -> Examples | None:
    """Perturbed images, or None for a run that kept none."""
    return records.read_examples(self.workdir)

  @functools.cached_property
  def class_counts(self) -> np.ndarray:
    """Training images of each class, int64 [C]; empty if not recorded."""
    return np.asarray(self._classes.get("class_counts", []), np.int64)

  @functools.cached_property
  def class_names(self) -> list[str]:
    """Names of the classes, [C]; their numbers where no names are recorded."""
    numbers = [str(number) for number in range(len(self.class_counts))]
    return list(self._classes.get("class_names", numbers))

  @functools.cached_property
  def groups(self) -> dict[str, np.ndarray]:
    """Bool [C] of each shot group: "many", "medium" and "few"."""
    dataset = self.config.dataset
    return longtail.shot_groups(
      self.class_counts,
      many_above=dataset.many_above,
      few_up_to=dataset.few_up_to,
    )

  @functools.cached_property
  def _predictions(self) -> dict[str, Predictions | None]:
    return {}

  @functools.cached_property
  def _classes(self) -> dict[str, Any]:
    """What holds class counts and names: results.json, else classes.json."""
    if self.results is not None:
      return self.results
    path = self.workdir / directory.CLASSES
    content = files.read_object(path) or {}
    _check_classes(path, content)
    return content


def _class_row(row: Mapping[str, str]) -> ClassRow:
  train, validation, test = (
    int(row[name]) for name in ("train", "validation", "test")
  )
  recall, precision, f1, top5 = (
    float(row[name] or "nan") for name in ("recall", "precision", "f1", "top5")
  )
  return ClassRow(
    train,
    validation,
    test,
    recall=recall,
    precision=precision,
    f1=f1,
    top5=top5,
    confused_with=row["confused_with"],
  )


def read_run(workdir: str | pathlib.Path) -> RunRecord:
  """Reads the record of a run.

  Raises:
    ValueError: when the directory holds no run, or a file is damaged.
  """
  folder = pathlib.Path(workdir)
  config = directory.read_config(folder)
  results = directory.read_results(folder)
  if results is not None:
    _check_classes(folder / directory.RESULTS, results)
  return RunRecord(folder, config, results, records.read_metrics(folder))


def check_finished(run: RunRecord) -> None:
  """Raises ValueError unless results.json, if any, has what a report shows."""
  if run.results is None:
    return
  needed = []
  for which in ("best", "last"):
    epoch = run.results.get(which)
    epoch = epoch if isinstance(epoch, dict) else {}
    for split in ("validation", "test"):
      values = epoch.get(split)
      values = values if isinstance(values, dict) else {}
      needed += [f"{which}.{split}.{n}" for n in MEASURES if n not in values]
    needed += [
      f"{which}.{n}" for n in ("epoch", "temperature") if n not in epoch
    ]
  needed += [name for name in ("test_set", "prior") if name not in run.results]
  if needed:
    raise ValueError(
      f"{run.workdir / directory.RESULTS} lacks {needed[0]}; expected what a "
      "finished run writes."
    )


def _check_classes(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  """Raises ValueError unless there are counts of classes, and names if any."""
  counts = content.get("class_counts", [])
  names = content.get("class_names", [""] * len(counts))
  if not (
    isinstance(counts, list)
    and all(type(n) is int and 0 <= n < 2**31 for n in counts)
    and isinstance(names, list)
    and all(isinstance(name, str) for name in names)
    and len(names) == len(counts)
  ):
    raise ValueError(
      f"{path} has bad class_counts or class_names; expected a whole number "
      "and a name for each class."
    )
