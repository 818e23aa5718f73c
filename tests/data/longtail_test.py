"""Class counts, shot groups and splits."""

import numpy as np
import pytest

from blt_jax.data import longtail


def test_exponential_counts_of_cifar10_lt():
  counts = longtail.exponential_counts(5000, 100, 10)
  expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
  np.testing.assert_array_equal(counts, expected)
  assert counts.dtype == np.int64


@pytest.mark.parametrize(
  "max_count, imbalance, num_classes, total",
  [(5000, 100, 10, 12406), (500, 100, 100, 10847)],
)
def test_exponential_totals_of_the_literature(
  max_count, imbalance, num_classes, total
):
  counts = longtail.exponential_counts(max_count, imbalance, num_classes)
  assert counts.sum() == total


@pytest.mark.parametrize("whole", [3, 24, 49, 98, 103])
def test_exponential_end_is_exact_despite_rounding(whole):
  assert longtail.exponential_counts(whole, whole, 7)[-1] == 1


def test_exponential_counts_of_one_class():
  np.testing.assert_array_equal(longtail.exponential_counts(9, 3, 1), [9])


def test_step_counts_of_an_odd_number_of_classes():
  counts = longtail.step_counts(100, 33, 5)
  np.testing.assert_array_equal(counts, [100, 100, 3, 3, 3])


@pytest.mark.parametrize("profile", ["exponential_counts", "step_counts"])
@pytest.mark.parametrize(
  "arguments, message",
  [
    ((0, 10, 5), "max_count is 0; expected 1 or more"),
    ((10, 0.5, 5), "imbalance is 0.5; expected 1 or more"),
    ((10, float("nan"), 5), "imbalance is nan"),
    ((10, 2, 0), "num_classes is 0; expected 1 or more"),
  ],
)
def test_profiles_reject_bad_arguments(profile, arguments, message):
  with pytest.raises(ValueError, match=message):
    getattr(longtail, profile)(*arguments)


def test_natural_profile_keeps_or_caps_what_is_there():
  available = np.array([50, 7, 3])
  natural = longtail.profile_counts(available, profile="natural")
  np.testing.assert_array_equal(natural, available)
  capped = longtail.profile_counts(
    available, profile="natural", max_per_class=5
  )
  np.testing.assert_array_equal(capped, [5, 5, 3])


def test_profile_without_maximum_starts_at_the_smallest_class():
  counts = longtail.profile_counts(
    np.array([90, 80, 85]), profile="exponential", imbalance=4
  )
  np.testing.assert_array_equal(counts, [80, 40, 20])


def test_unknown_profile_is_named():
  with pytest.raises(
    ValueError, match="profile is 'pareto'; expected one of nat"
  ):
    longtail.profile_counts(np.array([3]), profile="pareto")


def test_shot_groups_at_their_limits():
  groups = longtail.shot_groups(np.array([101, 100, 21, 20, 0]))
  np.testing.assert_array_equal(groups["many"], [1, 0, 0, 0, 0])
  np.testing.assert_array_equal(groups["medium"], [0, 1, 1, 0, 0])
  np.testing.assert_array_equal(groups["few"], [0, 0, 0, 1, 1])


def test_shot_groups_with_the_limit_of_oltr():
  groups = longtail.shot_groups(np.array([20, 19]), few_up_to=19)
  np.testing.assert_array_equal(groups["few"], [False, True])


def test_shot_groups_reject_crossed_limits():
  with pytest.raises(ValueError, match="few_up_to is 30; expected 0 to"):
    longtail.shot_groups(np.array([1]), many_above=20, few_up_to=30)


def _pool(counts, seed=0):
  labels = np.repeat(np.arange(len(counts)), counts)
  return np.random.default_rng(seed).permutation(labels)


def test_split_has_the_profile_and_a_balanced_disjoint_validation():
  labels = _pool([40, 40, 40])
  counts = np.array([30, 10, 2])
  train, validation = longtail.long_tail_split(
    labels, counts, validation_per_class=10, seed=3
  )
  np.testing.assert_array_equal(np.bincount(labels[train]), counts)
  np.testing.assert_array_equal(np.bincount(labels[validation]), [10, 10, 10])
  assert not set(train) & set(validation)


def test_split_depends_on_the_seed_only():
  labels, counts = _pool([40, 40]), np.array([20, 5])
  first, again, other = (
    longtail.long_tail_split(labels, counts, validation_per_class=5, seed=seed)
    for seed in (1, 1, 2)
  )
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a, b)
  assert set(first[0]) != set(other[0])
  assert set(first[1]) != set(other[1])


def test_validation_is_the_same_for_every_profile():
  labels = _pool([40, 40])
  _, steep = longtail.long_tail_split(
    labels, np.array([30, 1]), validation_per_class=5, seed=1
  )
  _, flat = longtail.long_tail_split(
    labels, np.array([9, 9]), validation_per_class=5, seed=1
  )
  _, held = longtail.hold_out(labels, 5, seed=1)
  np.testing.assert_array_equal(steep, flat)
  np.testing.assert_array_equal(steep, held)


def test_split_names_the_class_with_too_few_images():
  with pytest.raises(
    ValueError, match=r"class 1 \(cat\) has 12 images; expected 15"
  ):
    longtail.long_tail_split(
      _pool([40, 12]),
      np.array([20, 15]),
      validation_per_class=5,
      seed=0,
      class_names=["dog", "cat"],
    )


def test_class_that_leaves_little_over_validates_on_that(caplog):
  labels = _pool([20, 20, 20])
  train, validation = longtail.long_tail_split(
    labels, np.array([20, 17, 5]), validation_per_class=5, seed=0
  )
  np.testing.assert_array_equal(np.bincount(labels[train]), [20, 17, 5])
  np.testing.assert_array_equal(np.bincount(labels[validation]), [0, 3, 5])
  assert not set(train) & set(validation)
  assert "2 of 3 classes have fewer than 5 images left over" in caplog.text


def test_split_names_the_class_without_training_image():
  with pytest.raises(ValueError, match="class 2 gets 0 training images"):
    longtail.long_tail_split(
      _pool([9, 9, 9]), np.array([5, 1, 0]), validation_per_class=1, seed=0
    )


def test_hold_out_takes_the_same_number_of_each_class():
  labels = _pool([30, 6, 9])
  rest, held = longtail.hold_out(labels, 5, seed=0)
  np.testing.assert_array_equal(np.bincount(labels[held]), [5, 5, 5])
  np.testing.assert_array_equal(np.bincount(labels[rest]), [25, 1, 4])
  np.testing.assert_array_equal(np.sort(np.append(rest, held)), np.arange(45))


def test_hold_out_leaves_every_class_an_image():
  with pytest.raises(ValueError, match="class 1 has 5 images; expected 6"):
    longtail.hold_out(_pool([30, 5]), 5, seed=0)


def test_hold_out_names_a_class_without_images():
  with pytest.raises(ValueError, match="class 1 has 0 images"):
    longtail.hold_out(np.array([0, 0, 2, 2]), 0, seed=0)


def test_places_lt_has_the_documented_counts(shared):
  lines = (shared / "data/splits/Places_LT_train.txt").read_text().splitlines()
  counts = np.bincount([int(line.rsplit(" ", 1)[1]) for line in lines])
  groups = longtail.shot_groups(counts)
  assert (len(lines), len(counts)) == (62500, 365)
  assert (counts.max(), counts.min()) == (4980, 5)
  sizes = {name: mask.sum() for name, mask in groups.items()}
  assert sizes == {"many": 131, "medium": 157, "few": 77}
