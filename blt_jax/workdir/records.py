"""What a run records of itself, for reports and for later runs.

metrics.csv, the confusion matrices, what was predicted for each image, and the
examples of hallucinated images. The first process writes for all of them.
"""

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from blt_jax.system import processes
from blt_jax.workdir import files
from blt_jax.workdir.progress import EpochRow

METRICS, CONFUSION, EXAMPLES = "metrics.csv", "confusion", "perturbed.npz"
SPLITS, PREDICTIONS, CLASSES = "splits.csv", "predictions", "classes.csv"
PARAMETERS = "parameters.txt"

_EPOCH = re.compile(r"stage(\d+)-epoch(\d+)\.npz")

_Arrays = TypeVar("_Arrays")


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

  @classmethod
  def of(cls, matrix: np.ndarray) -> Self:
    """The entries of a whole matrix: int [C, C], [true, predicted]."""
    true, predicted = np.nonzero(matrix)
    return cls(
      true.astype(np.int32),
      predicted.astype(np.int32),
      np.asarray(matrix)[true, predicted].astype(np.int32),
      len(matrix),
    )

  @classmethod
  def of_images(
    cls, label: np.ndarray, prediction: np.ndarray, *, num_classes: int
  ) -> Self:
    """The entries of n images, int [n] each; makes no whole matrix."""
    pairs, count = np.unique(
      label.astype(np.int64) * num_classes + prediction, return_counts=True
    )
    true, predicted = np.divmod(pairs, num_classes)
    return cls(
      true.astype(np.int32),
      predicted.astype(np.int32),
      count.astype(np.int32),
      num_classes,
    )

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

  def _sums(self, chosen: np.ndarray) -> np.ndarray:
    sums = np.zeros(self.num_classes, np.int64)
    np.add.at(sums, self.true[chosen], self.count[chosen].astype(np.int64))
    return sums


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
  """What a network says about the n images of a split, in the split's order.

  Attributes:
    row: int32 [n], the place of the image in the split, whose order is that of
      its rows in splits.csv: 0, 1, 2 ... without those that can't be read.
    label: int32 [n], the class of the image.
    prediction: int32 [n], the class that the network finds likeliest.
    in_top5: bool [n], whether the label is among the five likeliest.
    confidence: float32 [n], probability of the prediction, 0..1, as the network
      gives it (after `model.posthoc_tau`).
    log_likelihood: float32 [n], log of the label's probability, likewise.
    calibrated_confidence: float32 [n], with logits divided by the temperature.
    calibrated_log_likelihood: float32 [n], likewise.
  """

  row: np.ndarray
  label: np.ndarray
  prediction: np.ndarray
  in_top5: np.ndarray
  confidence: np.ndarray
  log_likelihood: np.ndarray
  calibrated_confidence: np.ndarray
  calibrated_log_likelihood: np.ndarray

  def __len__(self) -> int:
    return len(self.label)

  @classmethod
  def joined(cls, parts: Sequence[Self]) -> Self:
    """One or more parts in one, in their order."""
    return cls(
      **{
        field.name: np.concatenate([getattr(p, field.name) for p in parts])
        for field in dataclasses.fields(cls)
      }
    )

  @property
  def correct(self) -> np.ndarray:
    """Whether each prediction is right: bool [n]."""
    return self.prediction == self.label


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


def write_parameters(workdir: pathlib.Path, params: Mapping[str, Any]) -> None:
  """Writes parameters.txt: name, shape and type of each parameter."""
  if not processes.is_first():
    return
  from clu import parameter_overview  # Only a training needs it.

  table = parameter_overview.get_parameter_overview(params, include_stats=False)
  files.write_text(workdir / PARAMETERS, f"{table}\n")


def write_metrics(workdir: pathlib.Path, rows: Sequence[EpochRow]) -> None:
  """Writes metrics.csv, a row for each finished epoch; nothing without any."""
  if not rows or not processes.is_first():
    return
  text = io.StringIO(newline="")
  columns = [field.name for field in dataclasses.fields(EpochRow)]
  writer = csv.DictWriter(text, columns, lineterminator="\n")
  writer.writeheader()
  writer.writerows(dataclasses.asdict(row) for row in rows)
  files.write_text(workdir / METRICS, text.getvalue())


def read_metrics(workdir: pathlib.Path) -> list[EpochRow]:
  """The rows of metrics.csv; none before the first epoch.

  Raises:
    ValueError: when it lacks a column, or a field is not a number.
  """
  path = workdir / METRICS
  if not path.exists():
    return []
  columns: dict[str, Any] = {
    field.name: field.type for field in dataclasses.fields(EpochRow)
  }
  with path.open(newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    missing = [n for n in columns if n not in (reader.fieldnames or ())]
    if missing:
      raise ValueError(
        f"{path} has no column {missing[0]!r}; expected {', '.join(columns)}."
      )
    try:
      return [
        EpochRow(**{name: kind(row[name]) for name, kind in columns.items()})
        for row in reader
      ]
    except (TypeError, ValueError) as error:
      raise ValueError(
        f"{path} is not a table of numbers ({error}); expected what a run "
        "writes."
      ) from None


def epoch_name(stage: int, epoch: int) -> str:
  """The name of the validation confusion of an epoch."""
  return f"stage{stage}-epoch{epoch:03d}"


def write_confusion(
  workdir: pathlib.Path, name: str, confusion: np.ndarray | Confusion
) -> None:
  """Writes a confusion matrix as its non-zero entries, in place of an old one.

  Args:
    workdir: of the run.
    name: "test-best", "test-last" or an `epoch_name` (validation).
    confusion: int [C, C], [true, predicted], or its entries.
  """
  entries = (
    confusion if isinstance(confusion, Confusion) else Confusion.of(confusion)
  )
  _write(workdir / CONFUSION / f"{name}.npz", vars(entries))


def read_confusion(workdir: pathlib.Path, name: str) -> Confusion | None:
  """The confusion matrix that was written under a name, None without it.

  Raises:
    ValueError: when the file is damaged.
  """
  path = workdir / CONFUSION / f"{name}.npz"
  entries = _read(Confusion, path)
  if entries is None:
    return None
  num_classes = int(entries.num_classes)
  for classes in (entries.true, entries.predicted):
    if np.any((classes < 0) | (classes >= num_classes)):
      raise ValueError(
        f"{path} has a class that is none of 0 to {num_classes - 1}; "
        "expected what a run writes."
      )
  return dataclasses.replace(entries, num_classes=num_classes)


def write_predictions(
  workdir: pathlib.Path, name: str, predictions: Predictions
) -> None:
  """Writes predictions/NAME.npz.

  Args:
    workdir: of the run.
    name: "validation-best", "test-best", "validation-last" or "test-last"; the
      latter two only where the last epoch is not the best.
    predictions: of the images of the split.
  """
  _write(workdir / PREDICTIONS / f"{name}.npz", vars(predictions))


def remove_predictions(workdir: pathlib.Path, name: str) -> None:
  """Removes the predictions of a name, if there are any."""
  if processes.is_first():
    (workdir / PREDICTIONS / f"{name}.npz").unlink(missing_ok=True)


def read_predictions(workdir: pathlib.Path, name: str) -> Predictions | None:
  """The predictions that were written under a name, None without them.

  Raises:
    ValueError: when the file is damaged.
  """
  path = workdir / PREDICTIONS / f"{name}.npz"
  found = _read(Predictions, path)
  if found is None:
    return None
  for field in ("row", "label", "prediction"):
    numbers = getattr(found, field)
    if numbers.dtype.kind not in "iu" or np.any(numbers < 0):
      raise ValueError(
        f"{path} has numbers in {field} that are below 0 or not whole; "
        "expected what a run writes."
      )
  return found


def recorded_epochs(workdir: pathlib.Path, stage: int) -> list[int]:
  """Epochs of a stage whose validation confusion was written, in order."""
  found = (
    _EPOCH.fullmatch(path.name) for path in (workdir / CONFUSION).glob("*.npz")
  )
  return sorted(int(m[2]) for m in found if m and int(m[1]) == stage)


def copy_stage1_confusions(workdir: pathlib.Path, other: pathlib.Path) -> None:
  """Copies stage 1's confusion matrices of another run, as many as it has."""
  if not processes.is_first():
    return
  for path in sorted((other / CONFUSION).glob("stage1-epoch*.npz")):
    (workdir / CONFUSION).mkdir(exist_ok=True)
    files.write_bytes(workdir / CONFUSION / path.name, path.read_bytes())


def write_examples(workdir: pathlib.Path, examples: Examples | None) -> None:
  """Writes perturbed.npz; nothing without examples."""
  if examples is not None:
    _write(workdir / EXAMPLES, vars(examples))


def read_examples(workdir: pathlib.Path) -> Examples | None:
  """The examples of perturbed.npz, None without it.

  Raises:
    ValueError: when the file is damaged.
  """
  return _read(Examples, workdir / EXAMPLES)


def _write(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
  if processes.is_first():
    path.parent.mkdir(exist_ok=True)
    files.write_npz(path, arrays)


def _read(kind: type[_Arrays], path: pathlib.Path) -> _Arrays | None:
  """The arrays of a file as a dataclass; all have the same length.

  Raises:
    ValueError: when the file can't be read, or arrays are missing, unknown or
      of different lengths.
  """
  try:
    with np.load(path, allow_pickle=False) as content:
      arrays = dict(content)
  except FileNotFoundError:
    return None
  # NumPy and zipfile raise errors of many types for what is damaged.
  except Exception as error:
    raise ValueError(
      f"{path} can't be read ({error}); expected arrays that a run wrote."
    ) from None
  names = [field.name for field in dataclasses.fields(kind)]  # type: ignore
  if sorted(names) != sorted(arrays):
    raise ValueError(
      f"{path} holds {sorted(arrays)}; expected the arrays {sorted(names)}."
    )
  lengths = {len(array) for array in arrays.values() if np.ndim(array)}
  if len(lengths) != 1:
    raise ValueError(
      f"{path} has arrays of {sorted(lengths)} entries; expected arrays of "
      "equal length."
    )
  return kind(**arrays)
