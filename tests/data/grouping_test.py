"""Groups that are held out whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blt_jax.data.grouping import (
  group_numbers,
  hold_out_groups,
  torn_groups,
)

WANTED = ("validation", "test")


def _images(groups=40, per_group=10, classes=4, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, groups * per_group)
  return labels, [f"g{i // per_group}" for i in range(len(labels))]


def test_groups_are_numbered_by_name_and_images_without_one_alone():
  numbers = group_numbers(["b", "", "a", "b", ""])
  assert numbers.tolist() == [1, 2, 0, 1, 3]


def test_torn_groups_are_those_of_two_splits():
  splits = {
    "train": ["a", "b", ""],
    "validation": ["c", "b"],
    "test": ["", "a"],
  }
  assert torn_groups(splits) == ["a", "b"]


@given(
  st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", *"uvwxyz"])),
    min_size=1,
    max_size=60,
  ),
  st.sampled_from([("validation",), WANTED]),
  st.integers(0, 3),
)
def test_every_image_lies_in_one_split_with_its_group(images, wanted, seed):
  labels = np.unique([label for label, _ in images], return_inverse=True)[1]
  groups = [group for _, group in images]
  try:
    rows = hold_out_groups(labels, groups, wanted=wanted, seed=seed)
  except ValueError:
    return  # The tests below say when.
  assert list(rows) == ["train", *wanted]
  everything = np.concatenate(list(rows.values()))
  np.testing.assert_array_equal(np.sort(everything), np.arange(len(labels)))
  in_split = {part: [groups[i] for i in r] for part, r in rows.items()}
  assert torn_groups(in_split) == []
  assert set(labels[rows["train"]]) == set(labels)
  assert all(len(r) for r in rows.values())


def test_each_split_has_about_a_fifth_of_each_class():
  labels, groups = _images()
  rows = hold_out_groups(labels, groups, wanted=WANTED, seed=0)
  counts = np.bincount(labels)
  for part in WANTED:
    share = np.bincount(labels[rows[part]], minlength=4) / counts
    assert np.all((share > 0.1) & (share < 0.3))


def test_names_and_seed_decide_and_not_the_order_of_the_images():
  labels, groups = _images()
  first = hold_out_groups(labels, groups, wanted=WANTED, seed=3)
  back = hold_out_groups(labels[::-1], groups[::-1], wanted=WANTED, seed=3)
  other = hold_out_groups(labels, groups, wanted=WANTED, seed=4)
  for part in WANTED:
    held = {groups[i] for i in first[part]}
    assert held == {groups[::-1][i] for i in back[part]}
    assert held != {groups[i] for i in other[part]}


def test_a_camera_with_most_images_stays_in_training():
  labels = np.tile([0, 1], 100)
  groups = ["large"] * 150 + [f"g{i // 5}" for i in range(50)]
  rows = hold_out_groups(labels, groups, wanted=WANTED, seed=0)
  assert "large" in {groups[i] for i in rows["train"]}


def test_the_only_group_of_a_class_stays_in_training():
  labels, groups = _images(groups=12)
  labels = np.where(np.array(groups) == "g7", 4, labels)
  for seed in range(5):
    rows = hold_out_groups(labels, groups, wanted=WANTED, seed=seed)
    assert 4 in labels[rows["train"]]


def test_more_groups_than_are_dealt_one_by_one():
  labels, groups = _images(groups=5000, per_group=2)
  rows = hold_out_groups(labels, groups, wanted=WANTED, seed=0)
  assert torn_groups({p: [groups[i] for i in r] for p, r in rows.items()}) == []
  shares = [len(r) / len(labels) for r in rows.values()]
  np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.02)


def test_classes_of_one_group_each_are_refused():
  labels = np.repeat([0, 1, 2], 5)
  groups = [str(label) for label in labels]
  with pytest.raises(ValueError, match="no group is left over for validation"):
    hold_out_groups(labels, groups, wanted=WANTED, seed=0)


def test_fewer_groups_than_splits_are_refused():
  with pytest.raises(
    ValueError, match="there are 2 groups; expected 3 or more"
  ):
    hold_out_groups(np.array([0, 0]), ["a", "b"], wanted=WANTED, seed=0)
