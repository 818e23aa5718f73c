"""Where images come from: one loader a source, each returning a Dataset.

Sources in memory and TFDS are here. image_lists.py, image_files.py (folders)
and inaturalist.py hold the rest, which can be called from here as well.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.dataset import Dataset, Split, assemble
from blt_jax.data.sources import tfds_records
from blt_jax.data.sources.image_folders import load_image_folder
from blt_jax.data.sources.image_lists import load_image_lists
from blt_jax.data.sources.inaturalist import load_inaturalist
from blt_jax.data.sources.npz import read_npz

__all__ = [
  "Dataset",
  "Split",
  "from_arrays",
  "load_digits_lt",
  "load_image_folder",
  "load_image_lists",
  "load_inaturalist",
  "load_npz",
  "load_tfds",
]


def load_digits_lt(
  *,
  max_per_class: int = 120,
  imbalance: float = 24.0,
  validation_per_class: int = 20,
  profile: str = "exponential",
  split_seed: int = 0,
) -> Dataset:
  """scikit-learn's handwritten digits, made long-tailed.

  1,797 real 8 x 8 images that come with scikit-learn. Validation and test are
  exactly balanced; test has as many images a class as the smallest class (174)
  can give beside the others: 34 with the defaults.

  Args:
    max_per_class: training images of the largest class, 1..153.
    imbalance: largest over smallest class, >= 1.
    validation_per_class: >= 1.
    profile: "exponential" or "step".
    split_seed: of the choice of images.

  Returns:
    The Dataset; images are uint8 [n, 8, 8, 3].

  Raises:
    ValueError: no test image would be left, or an argument is not allowed.
  """
  from sklearn.datasets import load_digits

  digits = load_digits()
  grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
  pool = Split(digits.target, np.repeat(grey[..., None], 3, axis=-1))
  smallest = int(np.min(np.bincount(pool.labels)))
  test_per_class = smallest - max_per_class - validation_per_class
  if max_per_class < 1 or test_per_class < 1:
    raise ValueError(
      f"max_per_class = {max_per_class} with validation_per_class ="
      f" {validation_per_class}; allowed: 1 or more,"
      f" and {smallest - 1} together"
    )
  rest, test = longtail.hold_out(pool.labels, test_per_class, seed=split_seed)
  return assemble(
    "digits_lt",
    [str(name) for name in digits.target_names],
    train=pool.take(rest),
    validation=None,
    test=pool.take(test),
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def from_arrays(
  train_images: np.ndarray,
  train_labels: np.ndarray,
  *,
  validation_images: np.ndarray | None = None,
  validation_labels: np.ndarray | None = None,
  test_images: np.ndarray | None = None,
  test_labels: np.ndarray | None = None,
  class_names: Sequence[str] | None = None,
  name: str = "arrays",
  profile: str = "natural",
  max_per_class: int = 0,
  imbalance: float = 100.0,
  validation_per_class: int = 0,
  split_seed: int = 0,
) -> Dataset:
  """A data set from arrays in memory.

  Args:
    train_images: uint8 [n, h, w, 3]; [n, h, w] or [n, h, w, 1] is grey.
    train_labels: int [n], 0 <= label < C.
    validation_images: as train_images; None holds validation_per_class images
      a class out of training.
    validation_labels: as train_labels; None with validation_images.
    test_images: as train_images; None tests on the validation split.
    test_labels: as train_labels; None with test_images.
    class_names: [C]; None names classes by number, as many as training has.
    name: of the data set.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: images a class held out; 0 with a validation split.
    split_seed: of the choice of images.

  Returns:
    The Dataset.

  Raises:
    ValueError: an array has the wrong type, shape, length or labels, or a class
      lacks images.
  """
  train = _array_split("train", train_images, train_labels)
  validation = _optional_split(
    "validation", validation_images, validation_labels
  )
  test = _optional_split("test", test_images, test_labels)
  if class_names is None:
    class_names = [str(c) for c in range(int(np.max(train.labels)) + 1)]
  _check_labels("train", train, len(class_names))
  _check_labels("validation", validation, len(class_names))
  _check_labels("test", test, len(class_names))
  return assemble(
    name,
    class_names,
    train=train,
    validation=validation,
    test=test,
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def load_npz(path: str, **options) -> Dataset:
  """A data set from one .npz file.

  Args:
    path: of a file with the arrays train_images and train_labels, and, if it
      has them, validation_images, validation_labels, test_images, test_labels
      and class_names; each as in from_arrays.
    **options: from_arrays's name (default: the file's), profile, max_per_class,
      imbalance, validation_per_class and split_seed.

  Returns:
    The Dataset.

  Raises:
    ValueError: the file can't be read, lacks an array, or from_arrays objects.
  """
  arrays = read_npz(path)
  parts = ("train", "validation", "test")
  keys = [f"{part}_{kind}" for part in parts for kind in ("images", "labels")]
  missing = [key for key in keys[:2] if key not in arrays]
  if missing:
    raise ValueError(
      f"{path}: no array {missing[0]!r}; it has {sorted(arrays)}; needed:"
      f" {keys[:2]}, allowed: {keys[2:]} and 'class_names'"
    )
  names = arrays.get("class_names")
  stem = os.path.splitext(os.path.basename(path))[0]
  given: dict[str, Any] = {key: arrays[key] for key in keys if key in arrays}
  try:
    return from_arrays(
      **given,
      class_names=None if names is None else [str(name) for name in names],
      **{"name": stem, **options},
    )
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from None


def load_tfds(
  name: str,
  *,
  data_dir: str | None = None,
  manual_dir: str | None = None,
  download: bool = True,
  train_split: str = "train",
  validation_split: str = "validation",
  test_split: str = "test",
  profile: str = "exponential",
  max_per_class: int = 0,
  imbalance: float = 100.0,
  validation_per_class: int = 50,
  split_seed: int = 0,
) -> Dataset:
  """A TensorFlow Datasets image set, made long-tailed unless it is already.

  Images of one size of at most 64 x 64 pixels ("cifar10", "cifar100") are read
  into memory. Others ("imagenet_lt") stay in their record files, of which only
  the images that a batch holds are read; these files have to be array_record,
  which is what the data set is prepared as if it is not yet.

  Args:
    name: of the TFDS data set; it has features "image" and "label".
    data_dir: where TFDS keeps prepared data; None is its own default.
    manual_dir: folder of the archives that TFDS can't download; None is its
      own default.
    download: whether to download and prepare what is not prepared.
    train_split: TFDS name of the split to train on.
    validation_split: TFDS name of the split to validate on; a data set without
      it has validation images held out of training.
    test_split: TFDS name of the split to test on.
    profile: of the class counts, see longtail.profile_counts.
    max_per_class: size of the largest class; 0 means as large as possible.
    imbalance: largest over smallest class, >= 1; unused by "natural".
    validation_per_class: images a class held out of training, >= 1; unused
      with a validation split.
    split_seed: of the choice of images.

  Returns:
    The Dataset, images in memory or records.

  Raises:
    ValueError: TFDS can't provide the data, or a class lacks images.
  """
  builder = tfds_records.prepared_builder(
    name, data_dir=data_dir, manual_dir=manual_dir, download=download
  )
  validation = None
  if validation_split in builder.info.splits:
    validation = _tfds_split(builder, validation_split)
  return assemble(
    name,
    builder.info.features["label"].names,
    train=_tfds_split(builder, train_split),
    validation=validation,
    test=_tfds_split(builder, test_split),
    profile=profile,
    max_per_class=max_per_class,
    imbalance=imbalance,
    validation_per_class=validation_per_class,
    split_seed=split_seed,
  )


def _tfds_split(builder: Any, split: str) -> Split:
  """A split in memory or as records, whatever the data set's images allow."""
  if not tfds_records.fits_memory(builder):
    records = tfds_records.TfdsRecords(builder, split)
    labels = tfds_records.read_labels(builder, split, records)
    return Split(labels, records=records)
  arrays = _read_tfds(builder, split)
  in_memory = _array_split(split, arrays["image"], arrays["label"])
  _check_labels(split, in_memory, builder.info.features["label"].num_classes)
  return in_memory


def _read_tfds(builder: Any, split: str) -> dict[str, np.ndarray]:
  import tensorflow_datasets as tfds

  try:
    return tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
  except Exception as error:
    raise ValueError(
      f"TFDS data set {builder.name!r}: split {split!r} can't be read into"
      f" arrays ({error}); its splits are {sorted(builder.info.splits)}"
    ) from error


def _optional_split(part: str, images, labels) -> Split | None:
  if (images is None) != (labels is None):
    raise ValueError(
      f"{part}_images and {part}_labels: one is missing; allowed: both or none"
    )
  return None if images is None else _array_split(part, images, labels)


def _array_split(part: str, images, labels) -> Split:
  images, labels = np.asarray(images), np.asarray(labels)
  if images.ndim == 3:
    images = images[..., None]
  shape_ok = images.ndim == 4 and images.shape[-1] in (1, 3)
  if images.dtype != np.uint8 or not shape_ok:
    raise ValueError(
      f"{part}_images: {images.dtype} {list(images.shape)}; allowed: uint8"
      " [n, height, width, 3], [n, height, width, 1] or [n, height, width]"
    )
  if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
    raise ValueError(
      f"{part}_labels: {labels.dtype} {list(labels.shape)}; allowed: integers"
      f" [{len(images)}], one an image"
    )
  if not len(images):
    raise ValueError(f"{part}_images: no image; allowed: 1 or more")
  if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
    raise ValueError(
      f"{part}_labels: {labels.min()} to {labels.max()}; allowed: 0 or more"
    )
  if images.shape[-1] == 1:
    images = np.repeat(images, 3, axis=-1)
  return Split(labels, images)


def _check_labels(part: str, split: Split | None, num_classes: int) -> None:
  if split is not None and np.max(split.labels) >= num_classes:
    raise ValueError(
      f"{part}_labels: {np.max(split.labels)}; allowed: 0 to {num_classes - 1}"
    )
