import math
import time

import numpy as np
import pytest

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


def _images(correct, totals):
  """(labels [n], right or not [n]) of classes with so many right images."""
  labels = np.repeat(np.arange(len(totals)), totals)
  right = [np.arange(n) < k for k, n in zip(correct, totals, strict=True)]
  return labels, np.concatenate(right)


def _copied(labels, values, counts, samples=2000, seed=1):
  """Bounds and spread of group means, by a bootstrap that copies images.

  Args:
    values: float [n], of the images; the mean over a class is its accuracy.
  """
  rng = np.random.default_rng(seed)
  classes = [np.flatnonzero(labels == c) for c in range(len(counts))]
  found = {group: [] for group in metrics.GROUPS}
  for _ in range(samples):
    accuracies = np.array(
      [
        100 * values[rng.choice(rows, len(rows))].mean()
        if len(rows)
        else np.nan
        for rows in classes
      ]
    )
    for group, mean in metrics.group_means(accuracies, counts).items():
      found[group].append(mean)
  return {g: np.percentile(v, [2.5, 97.5]) for g, v in found.items()}


CORRECT = np.array([90, 30, 10, 20, 0, 2])
TOTALS = np.array([100, 40, 10, 30, 0, 5])


def test_intervals_are_those_of_a_bootstrap_that_copies_images():
  found = metrics.accuracy_intervals(CORRECT, TOTALS, COUNTS, samples=20000)
  expected = _copied(*_images(CORRECT, TOTALS), COUNTS)
  for group in metrics.GROUPS:
    np.testing.assert_allclose(found[group], expected[group], atol=0.6)


def test_interval_of_one_class_is_that_of_the_binomial():
  found = metrics.accuracy_intervals(
    np.array([30]), np.array([40]), np.array([500]), samples=50000
  )
  # 2.5 and 97.5 percentiles of Binomial(40, 0.75), from its distribution.
  chances = [math.comb(40, k) * 0.75**k * 0.25 ** (40 - k) for k in range(41)]
  ends = np.searchsorted(np.cumsum(chances), [0.025, 0.975])
  assert found["overall"] == found["many"] == tuple(100 * ends / 40)


def test_intervals_hold_the_true_accuracy_in_95_of_100_tests():
  rng = np.random.default_rng(0)
  counts = np.full(10, 500)
  truth = np.linspace(0.5, 0.9, 10)
  inside = 0
  for _ in range(400):
    correct = rng.binomial(50, truth)
    low, high = metrics.accuracy_intervals(
      correct, np.full(10, 50), counts, samples=400
    )["overall"]
    inside += low <= 100 * truth.mean() <= high
  assert 0.91 <= inside / 400 <= 0.98


def test_intervals_follow_from_the_seed_alone():
  one, same, other = (
    metrics.accuracy_intervals(CORRECT, TOTALS, COUNTS, seed=seed, samples=50)
    for seed in (1, 1, 2)
  )
  assert one == same
  assert one != other


def test_blocks_of_samples_change_nothing(monkeypatch):
  whole = metrics.accuracy_intervals(CORRECT, TOTALS, COUNTS)
  monkeypatch.setattr(metrics, "_AT_A_TIME", 100)
  blocks = metrics.accuracy_intervals(CORRECT, TOTALS, COUNTS)
  assert blocks.keys() == whole.keys()
  for group, bounds in blocks.items():
    np.testing.assert_allclose(bounds, whole[group], rtol=1e-12)


def test_class_all_right_has_no_width_and_an_empty_group_no_interval():
  found = metrics.accuracy_intervals(
    np.array([7, 0]), np.array([7, 0]), np.array([500, 3])
  )
  assert found["overall"] == found["many"] == (100, 100)
  assert np.isnan(found["medium"]).all()
  assert np.isnan(found["few"]).all()
  nothing = metrics.accuracy_intervals(
    np.zeros(2), np.zeros(2, int), COUNTS[:2]
  )
  assert np.isnan(list(nothing.values())).all()


def test_intervals_of_8142_classes_take_seconds():
  rng = np.random.default_rng(0)
  counts = rng.integers(2, 1000, 8142)
  correct = rng.integers(0, 4, 8142)
  start = time.process_time()
  metrics.accuracy_intervals(correct, np.full(8142, 3), counts)
  assert time.process_time() - start < 10


def _pair(seed=0):
  """(first, second, labels) of two networks that often agree."""
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(6), TOTALS)
  first = rng.random(len(labels)) < 0.7
  second = np.where(rng.random(len(labels)) < 0.8, first, ~first)
  return first, second, labels


def test_paired_differences_are_those_of_a_bootstrap_that_copies_images():
  first, second, labels = _pair()
  found = metrics.paired_differences(
    first, second, labels, COUNTS, samples=20000
  )
  expected = _copied(labels, first.astype(float) - second, COUNTS)
  for group in metrics.GROUPS:
    np.testing.assert_allclose(found[group][1:], expected[group], atol=0.8)


def test_paired_difference_is_that_of_the_accuracies():
  first, second, labels = _pair()
  found = metrics.paired_differences(first, second, labels, COUNTS)
  means = [
    metrics.group_means(
      metrics.class_accuracies(np.bincount(labels[right], minlength=6), TOTALS),
      COUNTS,
    )
    for right in (first, second)
  ]
  for group in metrics.GROUPS:
    difference, low, high = found[group]
    assert difference == pytest.approx(means[0][group] - means[1][group])
    assert low < difference < high


def test_equal_networks_have_no_difference_and_no_width():
  first, _, labels = _pair()
  found = metrics.paired_differences(first, first, labels, COUNTS[:6])
  assert found == dict.fromkeys(metrics.GROUPS, (0, 0, 0))


def test_paired_difference_of_an_empty_group_is_nan():
  right = np.array([True, False])
  found = metrics.paired_differences(
    right, ~right, np.array([0, 0]), np.array([500, 3])
  )
  assert found["many"][0] == 0
  assert np.isnan(found["few"]).all()


def test_differences_of_several_pairs_share_the_sample_of_images():
  pairs = [_pair(seed) for seed in range(3)]
  labels = pairs[0][2]
  first, second = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
  found = metrics.paired_differences(
    first, second, labels, COUNTS, samples=20000
  )
  each = np.mean(first.astype(float) - second, axis=0)
  expected = _copied(labels, each, COUNTS)
  alone = [
    metrics.paired_differences(*pair, COUNTS, samples=10) for pair in pairs
  ]
  for group in metrics.GROUPS:
    np.testing.assert_allclose(found[group][1:], expected[group], atol=0.8)
    mean = np.mean([differences[group][0] for differences in alone])
    assert found[group][0] == pytest.approx(mean)


def test_paired_differences_of_other_images_are_refused():
  first, second, labels = _pair()
  with pytest.raises(ValueError, match="have 185, 184 and 185 images; expect"):
    metrics.paired_differences(first, second[1:], labels, COUNTS)


def _confidences(n=500, seed=0):
  rng = np.random.default_rng(seed)
  confidence = rng.random(n).astype(np.float32)
  return confidence, rng.random(n) < confidence**2


def test_calibration_error_is_that_of_a_loop_over_bins():
  confidence, correct = _confidences()
  weights = np.random.default_rng(1).random(500)
  for w in (None, weights):
    each = np.ones(500) if w is None else w
    expected = 0.0
    for b in range(15):
      inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
      if inside.any():
        share = each[inside].sum() / each.sum()
        gap = np.average(
          correct[inside] - confidence[inside], weights=each[inside]
        )
        expected += share * abs(gap)
    found = metrics.calibration_error(confidence, correct, weights=w)
    assert found == pytest.approx(expected, rel=1e-6)


def test_calibration_errors_by_hand():
  right = np.array([True, True, False, False])
  assert metrics.calibration_error(np.full(4, 0.5), right) == 0
  assert metrics.calibration_error(np.ones(4), right) == 0.5
  assert metrics.calibration_error(np.zeros(4), right) == 0.5
  # Two bins: all of one are right, at 0.9; none of the other, at 0.2.
  two = metrics.calibration_error(np.array([0.9, 0.9, 0.2, 0.2]), right)
  assert two == pytest.approx(0.5 * 0.1 + 0.5 * 0.2)
  assert math.isnan(metrics.calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_weights_count_like_copies():
  confidence, correct = _confidences(50)
  weights = np.arange(50) % 3
  copied = metrics.calibration_error(
    np.repeat(confidence, weights), np.repeat(correct, weights)
  )
  found = metrics.calibration_error(confidence, correct, weights=weights)
  assert found == pytest.approx(copied)


def test_reliability_has_the_images_of_each_bin():
  found = metrics.reliability(
    np.array([0.1, 0.5, 0.4, 1.0]), np.array([True, True, False, True]), bins=2
  )
  assert found.count.tolist() == [3, 1]
  np.testing.assert_allclose(found.confidence, [1 / 3, 1])
  np.testing.assert_allclose(found.accuracy, [2 / 3, 1])
  empty = metrics.reliability(np.array([0.9]), np.array([True]), bins=2)
  assert math.isnan(empty.accuracy[0])
  assert math.isnan(empty.confidence[0])


def test_coverage_and_precision_are_those_of_a_loop_over_thresholds():
  confidence, correct = _confidences(200)
  confidence = np.round(confidence, 2)  # Some occur several times.
  curve = metrics.coverage_curve(confidence, correct)
  assert curve.thresholds.tolist() == sorted(set(confidence.tolist()))
  for threshold, coverage, precision in zip(
    curve.thresholds, curve.coverage, curve.precision, strict=True
  ):
    kept = confidence >= threshold
    assert coverage == pytest.approx(kept.mean())
    assert precision == pytest.approx(correct[kept].mean())


def test_threshold_is_the_smallest_that_reaches_the_precision():
  confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
  correct = np.array([True, True, False, True, False])
  assert metrics.threshold_for(1.0, confidence, correct) == 0.8
  assert metrics.threshold_for(0.75, confidence, correct) == 0.6
  assert metrics.threshold_for(0.5, confidence, correct) == 0.5
  assert metrics.threshold_for(0.99, confidence, ~correct) is None
  assert metrics.threshold_for(0.9, np.zeros(0), np.zeros(0, bool)) is None
