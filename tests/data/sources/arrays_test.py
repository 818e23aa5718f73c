"""Digits and arrays: what they load, and what is said about bad arrays."""

import dataclasses

import numpy as np
import pytest

from blt_jax.data import sources
from blt_jax.data.sources import SplitOptions
from blt_jax.data.sources.arrays import DIGITS_LT

HOLD_OUT_ONE = SplitOptions(validation_per_class=1)


def _images(count, size=4, seed=0):
  shape = (count, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_digits_have_the_profile_and_balanced_splits():
  digits = sources.load_digits_lt()
  expected = [120, 84, 59, 41, 29, 20, 14, 10, 7, 5]
  np.testing.assert_array_equal(digits.class_counts, expected)
  np.testing.assert_array_equal(
    np.bincount(digits.validation.labels), 10 * [20]
  )
  np.testing.assert_array_equal(np.bincount(digits.test.labels), 10 * [34])
  assert digits.class_names == tuple("0123456789")


def test_digits_are_rgb_over_the_whole_range():
  images = sources.load_digits_lt().train.images
  assert images.shape[1:] == (8, 8, 3)
  assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 255)
  np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_digits_splits_share_no_image():
  digits = sources.load_digits_lt()
  parts = (digits.train, digits.validation, digits.test)
  rows = np.concatenate([part.images.reshape(len(part), -1) for part in parts])
  assert len(np.unique(rows, axis=0)) == len(rows)


def test_digits_test_split_is_the_same_for_every_imbalance():
  flat = sources.load_digits_lt(dataclasses.replace(DIGITS_LT, imbalance=1))
  np.testing.assert_array_equal(
    flat.test.images, sources.load_digits_lt().test.images
  )


def test_digits_refuse_a_profile_without_test_images():
  with pytest.raises(ValueError, match="max_per_class is 160 .* 173 together"):
    sources.load_digits_lt(dataclasses.replace(DIGITS_LT, max_per_class=160))


def test_arrays_keep_given_splits():
  dataset = sources.from_arrays(
    _images(5),
    np.array([0, 1, 1, 0, 1]),
    validation_images=_images(2),
    validation_labels=np.array([0, 1]),
    test_images=_images(3),
    test_labels=np.array([0, 1, 1]),
    class_names=["cat", "dog"],
  )
  sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
  assert sizes == [5, 2, 3]
  np.testing.assert_array_equal(dataset.class_counts, [2, 3])
  assert (dataset.class_names, dataset.num_classes) == (("cat", "dog"), 2)


@pytest.mark.parametrize("shape", [(6, 4, 4), (6, 4, 4, 1)])
def test_grey_arrays_become_rgb(shape):
  grey = _images(6)[..., 0]
  dataset = sources.from_arrays(
    grey.reshape(shape), np.array([0, 1] * 3), options=HOLD_OUT_ONE
  )
  assert dataset.train.images.shape == (4, 4, 4, 3)
  assert dataset.test is dataset.validation


def test_arrays_by_profile():
  dataset = sources.from_arrays(
    _images(60),
    np.repeat([0, 1, 2], 20),
    options=SplitOptions(profile="step", imbalance=5, validation_per_class=4),
  )
  np.testing.assert_array_equal(dataset.class_counts, [16, 3, 3])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), 3 * [4])


@pytest.mark.parametrize(
  "change, message",
  [
    (
      {"train_images": np.zeros((4, 2, 2, 3))},
      r"train_images is float64 \[4, 2, 2, 3\]; expected uint8",
    ),
    (
      {"train_images": np.zeros((4, 2, 2, 4), np.uint8)},
      r"train_images is uint8 \[4, 2, 2, 4\]",
    ),
    ({"train_labels": np.array([0, 1, 0])}, r"train_labels is int64 \[3\]"),
    ({"train_labels": np.array([0.0, 1, 0, 1])}, "train_labels is float64"),
    ({"train_labels": np.array([0, -1, 0, 1])}, "train_labels are -1 to 1"),
    (
      {"train_labels": np.array([0, 2, 0, 2])},
      r"class 1 \(1\) has no training",
    ),
    ({"class_names": ["a"]}, "train_labels go up to 1; expected 0 to 0"),
    (
      {"validation_labels": None},
      "validation_labels is missing; expected both",
    ),
    (
      {"validation_labels": np.array([5, 0])},
      "validation_labels go up to 5; expected 0 to 1",
    ),
    (
      {"test_images": _images(0), "test_labels": np.zeros(0, int)},
      "test_images has no image",
    ),
    (
      {"validation_images": None, "validation_labels": None},
      "validation_per_class is 0 and there is no",
    ),
  ],
)
def test_bad_arrays_are_named(change, message):
  arguments = {
    "train_images": _images(4),
    "train_labels": np.array([0, 1, 0, 1]),
    "validation_images": _images(2),
    "validation_labels": np.array([0, 1]),
  }
  with pytest.raises(ValueError, match=message):
    sources.from_arrays(**{**arguments, **change})


def test_profile_that_leaves_no_validation_is_refused():
  with pytest.raises(ValueError, match="leaves no image over for validation"):
    sources.from_arrays(
      _images(4),
      np.array([0, 1, 0, 1]),
      options=SplitOptions(
        profile="step", max_per_class=2, imbalance=1, validation_per_class=1
      ),
    )
