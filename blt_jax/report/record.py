"""What a work directory tells about its run, finished or not."""

import csv
import dataclasses
import functools
import json
import pathlib
import re
from typing import Any

import numpy as np

from blt_jax.config import Config
from blt_jax.data import longtail
from blt_jax.data.sources.npz import read_npz
from blt_jax.method import metrics
from blt_jax.report import validate
from blt_jax.workdir import directory

CONFUSION, EXAMPLES = "confusion", "perturbed.npz"

_EPOCH = re.compile(r"stage(\d+)-epoch(\d+)\.npz")


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
  """The non-zero entries of a confusion matrix.

  Attributes:
    true: int32 [k], true classes.
    predicted: int32 [k], predicted classes.
    count: int32 [k], images of the one that were taken for the other.
    num_classes: C.
  """

  true: np.ndarray
  predicted: np.ndarray
  count: np.ndarray
  num_classes: int

  def matrix(self) -> np.ndarray:
    """The whole matrix: int64 [C, C], [true, predicted]."""
    whole = np.zeros((self.num_classes, self.num_classes), np.int64)
    whole[self.true, self.predicted] = self.count
    return whole

  def totals(self) -> np.ndarray:
    """Images of each class: int64 [C]."""
    return self._sums(np.ones(len(self.true), bool))

  def correct(self) -> np.ndarray:
    """Images of each class that were classified correctly: int64 [C]."""
    return self._sums(self.true == self.predicted)

  def class_accuracies(self) -> np.ndarray:
    """Accuracy of each class: float64 [C], percent, NaN without images."""
    return metrics.class_accuracies(self.correct(), self.totals())

  def _sums(self, chosen: np.ndarray) -> np.ndarray:
    sums = np.zeros(self.num_classes, np.int64)
    np.add.at(sums, self.true[chosen], self.count[chosen].astype(np.int64))
    return sums


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """Images hallucinated with the best checkpoint, n of them.

  Attributes:
    original: float32 [n, h, w, 3], augmented images in 0..1.
    perturbed: float32 [n, h, w, 3], after the ascent; may leave 0..1 a little.
    label: int32 [n], the class of the image.
    target: int32 [n], the class that it was moved towards.
    confidence: float32 [n], the probability that was to be reached, 0..1.
    before: float32 [n], softmax probability of the target in the original.
    after: float32 [n], the same in the perturbed image.
    num_updates: int32 [n], updates of the ascent.
    reached: bool [n], whether the confidence was reached.
  """

  original: np.ndarray
  perturbed: np.ndarray
  label: np.ndarray
  target: np.ndarray
  confidence: np.ndarray
  before: np.ndarray
  after: np.ndarray
  num_updates: np.ndarray
  reached: np.ndarray

  def __len__(self) -> int:
    return len(self.label)


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
  """A run as its work directory tells it.

  Attributes:
    workdir: the work directory.
    config: its configuration.
    results: what results.json holds, None for a run that is not finished.
    rows: metrics.csv, a row a finished epoch; NaN for an empty field.
  """

  workdir: pathlib.Path
  config: Config
  results: dict[str, Any] | None
  rows: list[dict[str, float]]

  @property
  def origin(self) -> str:
    """Data set, method, backbone and seed, for captions."""
    config = self.config
    return (
      f"{config.dataset.name}, {config.method}, {config.model.backbone}, "
      f"seed {config.seed}"
    )

  def entries(self, name: str) -> Confusion | None:
    """A confusion matrix as its non-zero entries, or None without the file.

    Args:
      name: "test-best", "test-last" or "stage2-epoch003" (validation).

    Raises:
      ValueError: when the file is damaged.
    """
    content = _read_npz(self.workdir / CONFUSION / f"{name}.npz")
    if content is None:
      return None
    path = self.workdir / CONFUSION / f"{name}.npz"
    entries = validate.arrays_of(Confusion, path, content)
    num_classes = int(entries.num_classes)
    for classes in (entries.true, entries.predicted):
      if np.any((classes < 0) | (classes >= num_classes)):
        raise ValueError(
          f"{path} has a class that is none of 0 to {num_classes - 1}; "
          "expected what a run writes."
        )
    return dataclasses.replace(entries, num_classes=num_classes)

  def confusion(self, name: str) -> np.ndarray | None:
    """A whole confusion matrix: int64 [C, C]; see `entries`."""
    entries = self.entries(name)
    return None if entries is None else entries.matrix()

  def validation_entries(self, stage: int) -> dict[int, Confusion]:
    """Confusion on validation after each epoch of a stage, as entries."""
    epochs = {}
    for path in sorted((self.workdir / CONFUSION).glob("stage*.npz")):
      match = _EPOCH.fullmatch(path.name)
      if match and int(match[1]) == stage:
        entries = self.entries(path.stem)
        assert entries is not None
        epochs[int(match[2])] = entries
    return dict(sorted(epochs.items()))

  def validation_confusions(self, stage: int) -> dict[int, np.ndarray]:
    """Confusion on validation after each epoch of a stage.

    Args:
      stage: 1 or 2.

    Returns:
      {epoch: int64 [C, C]} in the order of the epochs. For thousands of classes
      these fill the memory; `validation_entries` does not.
    """
    entries = self.validation_entries(stage)
    return {epoch: found.matrix() for epoch, found in entries.items()}

  def class_accuracies(self, name: str = "test-best") -> np.ndarray | None:
    """Accuracy of each class, float64 [C] in percent, or None: `entries`."""
    entries = self.entries(name)
    return None if entries is None else entries.class_accuracies()

  @functools.cached_property
  def examples(self) -> Examples | None:
    """Perturbed images, or None for a run that kept none."""
    content = _read_npz(self.workdir / EXAMPLES)
    path = self.workdir / EXAMPLES
    if content is None:
      return None
    return validate.arrays_of(Examples, path, content)

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
  def _classes(self) -> dict[str, Any]:
    """Whatever holds the class counts and names: results.json first."""
    if self.results is not None:
      return self.results
    path = self.workdir / directory.CLASSES
    if not path.exists():
      return {}
    try:
      content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
      raise ValueError(f"{path} is not JSON: {error}.") from None
    validate.check_classes(path, content)
    return content


def read_run(workdir: str | pathlib.Path) -> RunRecord:
  """Reads the record of a run.

  Args:
    workdir: work directory of a run, finished or not.

  Returns:
    A RunRecord. Confusion matrices and examples are read when asked for.

  Raises:
    ValueError: when the directory holds no run, or a file is damaged.
  """
  folder = pathlib.Path(workdir)
  config = directory.read_config(folder)
  results = directory.read_results(folder)
  if results is not None:
    validate.check_classes(folder / directory.RESULTS, results)
  rows = _read_rows(folder / directory.METRICS)
  return RunRecord(folder, config, results, rows)


def _read_rows(path: pathlib.Path) -> list[dict[str, float]]:
  """metrics.csv as numbers; no rows where it does not exist yet."""
  if not path.exists():
    return []
  with path.open(newline="") as file:
    try:
      return [
        {name: float(value or "nan") for name, value in row.items()}
        for row in csv.DictReader(file)
      ]
    except (TypeError, ValueError) as error:
      raise ValueError(
        f"{path} is not a table of numbers, as a run writes it: {error}."
      ) from None


def _read_npz(path: pathlib.Path) -> dict[str, Any] | None:
  """The arrays of a file, None without it."""
  return dict(read_npz(path)) if path.exists() else None
