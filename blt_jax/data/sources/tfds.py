"""Data sets of TensorFlow Datasets, in memory or read record by record."""

import contextlib
import logging
import os
from typing import Any

import numpy as np

from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.sources.arrays import array_split, check_labels
from blt_jax.data.sources.splits import SplitOptions, assemble

_log = logging.getLogger(__name__)

_LARGEST_IN_MEMORY = 64 * 64
"""Most pixels of an image, for its data set to be read into memory."""

LONG_TAILED = SplitOptions(profile="exponential", validation_per_class=50)
"""Makes a balanced data set long-tailed, with 50 validation images a class."""


def load_tfds(
  name: str,
  *,
  data_dir: str | None = None,
  manual_dir: str | None = None,
  options: SplitOptions = LONG_TAILED,
) -> Dataset:
  """A TensorFlow Datasets image set, made long-tailed unless it is already.

  Images of one size of at most 64 x 64 pixels ("cifar10", "cifar100") are read
  into memory. Others ("imagenet_lt") stay in their record files, from which
  only the images of a batch are read. These have to be array_record files;
  a data set that is not yet prepared is prepared as such.

  Args:
    name: of the TFDS data set; it has features "image" and "label" and splits
      "train" and "test". Without a split "validation", validation images are
      held out of training.
    data_dir: where TFDS keeps prepared data; None is its own default.
    manual_dir: folder of the archives that TFDS can't download; None is its
      own default.
    options: see SplitOptions.

  Returns:
    The Dataset, images in memory or records.

  Raises:
    ValueError: TFDS can't provide the data, or a class lacks images.
  """
  builder = prepared_builder(name, data_dir=data_dir, manual_dir=manual_dir)
  validation = None
  if "validation" in builder.info.splits:
    validation = _tfds_split(builder, "validation")
  return assemble(
    name,
    builder.info.features["label"].names,
    train=_tfds_split(builder, "train"),
    validation=validation,
    test=_tfds_split(builder, "test"),
    options=options,
  )


def _tfds_split(builder: Any, split: str) -> Split:
  """A split: in memory if the data set's images are small, else records."""
  if not fits_memory(builder):
    records = TfdsRecords(builder, split)
    labels = read_labels(builder, split, records)
    return Split(labels, records=records)
  arrays = _read_tfds(builder, split)
  in_memory = array_split(split, arrays["image"], arrays["label"])
  check_labels(split, in_memory, builder.info.features["label"].num_classes)
  return in_memory


def _read_tfds(builder: Any, split: str) -> dict[str, np.ndarray]:
  import tensorflow_datasets as tfds

  try:
    return tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
  except Exception as error:
    raise ValueError(
      f"TFDS data set {builder.name!r}: split {split!r} can't be read into"
      f" arrays ({error}); expected one of {sorted(builder.info.splits)}."
    ) from error


class TfdsRecords:
  """The encoded images of a prepared data set's split, with random access."""

  def __init__(self, builder: Any, split: str):
    """Opens a split; nothing is read.

    Args:
      builder: of a prepared TFDS data set, see prepared_builder.
      split: TFDS name of the split.

    Raises:
      ValueError: there is no such split, or its format has no random access.
    """
    import tensorflow_datasets as tfds

    _check_format(builder)
    self._title = f"TFDS data set {builder.name!r}: split {split!r}"
    try:
      self._source = builder.as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
      )
    except Exception as error:  # TFDS raises anything.
      raise ValueError(
        f"{self._title} can't be opened ({error}); expected one of"
        f" {sorted(builder.info.splits)}."
      ) from error

  def __len__(self) -> int:
    return len(self._source)

  def read(self, indices: np.ndarray) -> list[bytes]:
    """The encoded images at positions int [k], in that order.

    Raises:
      ValueError: a record can't be read; names the split and the positions.
    """
    return [record["image"] for record in self._read(indices)]

  def name(self, index: int) -> str:
    """The name of a record, for a message."""
    return f"{self._title}, record {index}"

  def labels(self, *, at_once: int = 256) -> np.ndarray:
    """Reads every record once for its label: int32 [n]."""
    labels = np.empty(len(self), np.int32)
    for start in range(0, len(self), at_once):
      indices = np.arange(start, min(start + at_once, len(self)))
      labels[indices] = [record["label"] for record in self._read(indices)]
    return labels

  def _read(self, indices: np.ndarray) -> list[dict[str, Any]]:
    keys = np.asarray(indices).tolist()
    try:
      return self._source.__getitems__(keys)
    except Exception as error:
      raise ValueError(
        f"{self._title}: records {keys[:3]}... can't be read ({error})."
      ) from error


def prepared_builder(
  name: str, *, data_dir: str | None, manual_dir: str | None
) -> Any:
  """The TFDS builder of a data set, which is downloaded and prepared if needed.

  Data sets that do not fit into memory are prepared as array_record files,
  which have random access.

  Raises:
    ValueError: TFDS can't provide the data.
  """
  from blt_jax.data.lazy_tensorflow import tensorflow

  tensorflow()
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, data_dir=data_dir)
    _check_features(builder)
    if not builder.is_prepared():
      _prepare(builder, manual_dir)
  except Exception as error:  # TFDS raises its own errors, urllib's and more.
    # For an unknown name TFDS lists all data sets, in thousands of letters.
    found, _, _ = str(error).partition("Available datasets:")
    raise ValueError(
      f"TFDS data set {name!r} is not available:"
      f" {found or type(error).__name__}"
    ) from error
  return builder


def fits_memory(builder: Any) -> bool:
  """Whether all images have one size, of 64 x 64 pixels at most."""
  height, width = builder.info.features["image"].shape[:2]
  return None not in (height, width) and height * width <= _LARGEST_IN_MEMORY


def read_labels(builder: Any, split: str, records: TfdsRecords) -> np.ndarray:
  """The labels of a split, int32 [n].

  The labels are part of the records, so the first time every record is read,
  some thousands a second. The labels are then written to labels-<split>.npy
  beside the records, if that folder is writable, and read from there.

  Raises:
    ValueError: a record can't be read, or a label is not one of the classes.
  """
  path = os.path.join(str(builder.data_dir), f"labels-{split}.npy")
  labels = _load_labels(path, len(records))
  if labels is None:
    _log.warning(
      "%s: reads the labels of %d %s images", builder.name, len(records), split
    )
    labels = records.labels()
    _save_labels(path, labels)
  num_classes = builder.info.features["label"].num_classes
  wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
  if len(wrong):
    raise ValueError(
      f"{records.name(int(wrong[0]))}: label is {labels[wrong[0]]}; expected 0"
      f" to {num_classes - 1}."
    )
  return labels


def _prepare(builder: Any, manual_dir: str | None) -> None:
  import tensorflow_datasets as tfds

  # TFDS tries a download again for minutes, with a warning each time.
  logging.getLogger("urllib3").setLevel(logging.ERROR)
  _log.warning("TFDS downloads %s to %s", builder.name, builder.data_dir)
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
    file_format=None if fits_memory(builder) else "array_record",
  )


def _check_features(builder: Any) -> None:
  import tensorflow_datasets as tfds

  features = builder.info.features
  kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
  for key, kind in kinds.items():
    there = isinstance(features, tfds.features.FeaturesDict) and key in features
    if not there or not isinstance(features[key], kind):
      raise ValueError(f"it has no feature {key!r} of type {kind.__name__}")


def _check_format(builder: Any) -> None:
  formats = {f.value for f in builder.info.available_file_formats()}
  if "array_record" not in formats:
    raise ValueError(
      f"TFDS data set {builder.name!r} is prepared in {builder.data_dir} as"
      f" {', '.join(sorted(formats))}, without random access; expected"
      " array_record. Move that folder away or name another data_dir"
      " (config.dataset.root), so that it is prepared as array_record."
    )


def _load_labels(path: str, length: int) -> np.ndarray | None:
  """Labels that an earlier run wrote, None if there are none that fit."""
  try:
    labels = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError):
    return None
  fits = labels.shape == (length,) and labels.dtype == np.int32
  return labels if fits else None


def _save_labels(path: str, labels: np.ndarray) -> None:
  """Writes labels if the folder is writable; no process reads half a file."""
  unfinished = f"{path}.{os.getpid()}"
  try:
    with open(unfinished, "wb") as file:
      np.save(file, labels)
    os.replace(unfinished, path)
  except OSError as error:
    _log.info("%s: labels are not kept (%s)", path, error)
    with contextlib.suppress(OSError):
      os.remove(unfinished)
