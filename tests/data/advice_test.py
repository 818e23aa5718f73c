"""Remarks about classes that are too few or too small to be measured."""

import numpy as np
import pytest

from blt_jax.data import advice


def _notes(training, validation=20, test=20, **options):
  """Notes about classes a, b, ...; test=None: tested on validation."""
  training = np.array(training)
  counts = {"training": training}
  for part, images in (("validation", validation), ("test", test)):
    if images is not None:
      counts[part] = np.broadcast_to(images, training.shape)
  few = training <= 20
  return advice.notes(
    counts,
    [chr(ord("a") + c) for c in range(len(training))],
    **{
      "many_above": 100,
      "few_up_to": 20,
      "hallucinated": few,
      "confusing": True,
      **options,
    },
  )


LONG = [200, 50, 20, 15, 10, 8, 5]


def test_sound_data_set_gets_no_remark():
  assert _notes(LONG) == []


def test_demo_gets_no_remark():
  assert _notes([120, 84, 59, 41, 29, 20, 14, 10, 7, 5], 20, 34) == []


def test_missing_tail_gets_a_remark_with_advice():
  (note,) = _notes([90, 35, 200])
  assert note == (
    "no class is few-shot, up to 20 training images (config.dataset.few_up_to);"
    " the smallest, b, has 35. Nothing is hallucinated: raise"
    " config.dataset.few_up_to to 35 or more, or train with method=neither"
  )


def test_both_limits_are_to_be_raised_if_all_classes_are_many_shot():
  (note,) = _notes([900, 350])
  assert "few_up_to to 350 or more and config.dataset.many_above" in note


def test_missing_tail_gets_no_remark_without_hallucination():
  assert _notes([90, 35, 200], hallucinated=None) == []


def test_missing_tail_gets_no_remark_if_all_classes_are_hallucinated_for():
  assert _notes([90, 35], hallucinated=np.ones(2, bool)) == []


def test_missing_head_gets_a_remark():
  (note,) = _notes([20, 15, 12, 10, 5])
  assert note.startswith("every class is few-shot")
  assert "the largest, a, has 20" in note
  assert "lower config.dataset.few_up_to" in note


def test_equal_small_classes_get_no_remark_on_the_head():
  assert _notes(6 * [10]) == []


def test_small_measured_tail_gets_a_remark_with_step_and_error():
  validation, test = _notes([200, 20, 10, 5], 5, [9, 2, 4, 5])
  assert validation == (
    "validation of the few-shot classes: 15 images of 3 classes. One image"
    " moves their accuracy by up to 6.7 points, and its standard error is up to"
    " 12.9: smaller differences tell nothing. Measure on more images, or"
    " average over several splits"
  )
  assert test.startswith("test of the few-shot classes: 11 images of 3 classes")
  assert "up to 16.7 points" in test


def test_equal_validation_and_test_get_one_remark():
  (note,) = _notes([200, 20, 10, 5], 5, [9, 5, 5, 5])
  assert note.startswith(
    "validation and test of the few-shot classes: 15 images of 3 classes each."
  )


def test_standard_error_is_that_of_a_simulation():
  images = np.array([5, 2, 9])
  rng = np.random.default_rng(0)
  accuracies = rng.binomial(images, 0.5, (100_000, 3)) / images
  simulated = 100 * accuracies.mean(axis=1).std()
  assert advice.standard_error(images) == pytest.approx(simulated, rel=0.01)


def test_classes_without_validation_are_named_and_not_hallucinated_for():
  (note,) = _notes(LONG, [40, 40, 40, 40, 40, 0, 0])
  assert note == (
    "2 of 7 classes have no validation image (f, g): the accuracies leave them"
    " out, and as no confusion is seen, none is hallucinated for them"
  )


def test_only_classes_of_the_tail_would_be_hallucinated_for():
  (note,) = _notes(LONG, [40, 0, 40, 40, 40, 0, 40])
  assert note.endswith("none is hallucinated for 1 of them")


@pytest.mark.parametrize(
  "options", [{"confusing": False}, {"hallucinated": None}]
)
def test_random_targets_need_no_confusion(options):
  (note,) = _notes(LONG, [40, 40, 40, 40, 40, 0, 0], **options)
  assert note.endswith("the accuracies leave them out")


def test_classes_without_any_measurement_get_one_remark():
  images = [40, 40, 40, 40, 40, 0, 0]
  (note,) = _notes(LONG, images, images)
  assert "have no validation and no test image (f, g)" in note


def test_at_most_three_classes_are_named():
  (note,) = _notes(LONG, [100, 100, 200, 0, 0, 0, 0])
  assert "(d, e, f, ...)" in note


def test_testing_on_validation_gets_a_remark():
  (note,) = _notes(LONG, test=None)
  assert note.startswith("the test images are the validation images")


def test_names_that_differ_in_case_get_a_remark():
  counts = dict.fromkeys(("training", "validation", "test"), np.array([200, 9]))
  names = ("Lynx", "lynx")
  limits = {"many_above": 100, "few_up_to": 20}
  (note,) = advice.notes(
    counts, names, **limits, hallucinated=None, confusing=False
  )[-1:]
  assert note.startswith(
    "1 of 2 classes have the name of another in other lett"
  )
  assert "(Lynx, lynx)" in note
