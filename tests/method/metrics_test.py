import math

import numpy as np

from blt_jax.method import metrics

COUNTS = np.array([500, 101, 100, 21, 20, 1])


def test_accuracies_are_means_of_classes_not_of_images():
  confusion = np.diag([90, 1, 1, 1, 1, 0])
  confusion[0, 1] = 10  # class 0: 90 of 100
  confusion[5, 0] = 4  # class 5: 0 of 4
  accuracies = metrics.shot_accuracies(confusion, COUNTS)
  assert accuracies == {
    "overall": (90 + 400) / 6,
    "many": 95.0,
    "medium": 100.0,
    "few": 50.0,
  }


def test_limits_move_classes_between_groups():
  confusion = np.diag([1, 1, 1, 1, 0, 0]) + np.eye(6, k=-1, dtype=int)
  inclusive = metrics.shot_accuracies(confusion, COUNTS, few_up_to=20)
  exclusive = metrics.shot_accuracies(confusion, COUNTS, few_up_to=19)
  assert inclusive["few"] == exclusive["few"] == 0.0
  assert inclusive["medium"] == 50.0
  np.testing.assert_allclose(exclusive["medium"], 100 / 3)


def test_class_without_evaluation_images_has_no_part():
  confusion = np.diag([1, 1, 1, 1, 1, 0])
  accuracies = metrics.shot_accuracies(confusion, COUNTS)
  assert accuracies["overall"] == 100.0
  assert accuracies["few"] == 100.0


def test_empty_group_is_nan():
  accuracies = metrics.shot_accuracies(np.eye(2), np.array([500, 400]))
  assert math.isnan(accuracies["few"])
  assert accuracies["many"] == 100.0
