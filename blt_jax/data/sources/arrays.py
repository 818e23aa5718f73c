"""Data sets from arrays in memory."""

from collections.abc import Sequence

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.sources.class_names import check_distinct
from blt_jax.data.sources.splits import NATURAL, SplitOptions, assemble

DIGITS_LT = SplitOptions(
  profile="exponential",
  max_per_class=120,
  imbalance=24.0,
  validation_per_class=20,
)
"""How the examples make the digits long-tailed."""


def load_digits_lt(options: SplitOptions = DIGITS_LT) -> Dataset:
  """scikit-learn's handwritten digits, made long-tailed.

  These are 1,797 real images of 8 x 8 pixels. Validation and test are exactly
  balanced. Of each class the test split takes as many images as the smallest
  one, which has 174, can spare: 34 with the defaults.

  Args:
    options: see SplitOptions; max_per_class and validation_per_class are 1 or
      more, and 173 together at most.

  With folds there is no such test split: all images are dealt.

  Returns:
    The Dataset; images are uint8 [n, 8, 8, 3].

  Raises:
    ValueError: no test image would be left.
  """
  from sklearn.datasets import load_digits

  digits = load_digits()
  grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
  pool = Split(digits.target, np.repeat(grey[..., None], 3, axis=-1))
  names = [str(name) for name in digits.target_names]
  if options.folds:
    return assemble(
      "digits_lt",
      names,
      train=pool,
      validation=None,
      test=None,
      options=options,
    )
  smallest = int(np.min(np.bincount(pool.labels)))
  largest, held_out = options.max_per_class, options.validation_per_class
  test_per_class = smallest - largest - held_out
  if largest < 1 or test_per_class < 1:
    raise ValueError(
      f"max_per_class is {largest} and validation_per_class is {held_out};"
      f" expected 1 or more each and at most {smallest - 1} together."
    )
  rest, test = longtail.hold_out(
    pool.labels, test_per_class, seed=options.split_seed
  )
  return assemble(
    "digits_lt",
    names,
    train=pool.take(rest),
    validation=None,
    test=pool.take(test),
    options=options,
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
  options: SplitOptions = NATURAL,
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
    options: see SplitOptions.

  Returns:
    The Dataset.

  Raises:
    ValueError: an array has the wrong type, shape, length or labels, or a class
      lacks images.
  """
  train = array_split("train", train_images, train_labels)
  validation = _optional_split(
    "validation", validation_images, validation_labels
  )
  test = _optional_split("test", test_images, test_labels)
  if class_names is None:
    class_names = [str(c) for c in range(int(np.max(train.labels)) + 1)]
  check_distinct((n, f"class {c}") for c, n in enumerate(class_names))
  check_labels("train", train, len(class_names))
  check_labels("validation", validation, len(class_names))
  check_labels("test", test, len(class_names))
  return assemble(
    name,
    class_names,
    train=train,
    validation=validation,
    test=test,
    options=options,
  )


def _optional_split(part: str, images, labels) -> Split | None:
  if (images is None) != (labels is None):
    raise ValueError(
      f"{part}_{'images' if images is None else 'labels'} is missing; expected"
      f" both {part}_images and {part}_labels or neither."
    )
  return None if images is None else array_split(part, images, labels)


def array_split(part: str, images, labels) -> Split:
  """A split in RGB from arrays as in `from_arrays`, checked.

  Raises:
    ValueError: an array has the wrong type, shape or length.
  """
  images, labels = np.asarray(images), np.asarray(labels)
  if images.ndim == 3:
    images = images[..., None]
  shape_ok = images.ndim == 4 and images.shape[-1] in (1, 3)
  if images.dtype != np.uint8 or not shape_ok:
    raise ValueError(
      f"{part}_images is {images.dtype} {list(images.shape)}; expected uint8"
      " [n, height, width, 3], [n, height, width, 1] or [n, height, width]."
    )
  if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
    raise ValueError(
      f"{part}_labels is {labels.dtype} {list(labels.shape)}; expected integers"
      f" [{len(images)}], one an image."
    )
  if not len(images):
    raise ValueError(f"{part}_images has no image; expected 1 or more.")
  if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
    raise ValueError(
      f"{part}_labels are {labels.min()} to {labels.max()}; expected 0 or more."
    )
  if images.shape[-1] == 1:
    images = np.repeat(images, 3, axis=-1)
  return Split(labels, images)


def check_labels(part: str, split: Split | None, num_classes: int) -> None:
  """Raises ValueError if a label of a split is not a class."""
  if split is not None and np.max(split.labels) >= num_classes:
    raise ValueError(
      f"{part}_labels go up to {np.max(split.labels)}; expected 0 to"
      f" {num_classes - 1}."
    )
