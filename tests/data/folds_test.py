"""Folds: every image is tested once, and no group lies in two folds."""

import numpy as np
import pytest

from blt_jax.data.dataset import Split
from blt_jax.data.folds import cut_fold, folds_of
from blt_jax.data.sources import SplitOptions
from blt_jax.data.sources.arrays import from_arrays, load_digits_lt
from blt_jax.data.sources.image_folders import load_image_folder
from blt_jax.data.sources.image_tables import load_image_table

LONG_TAIL = np.repeat(np.arange(4), [50, 21, 7, 3])


def _options(fold, *, folds=5, held=2, **options):
  return SplitOptions(
    folds=folds, fold=fold, validation_per_class=held, **options
  )


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_image_is_in_one_fold_and_classes_are_dealt_evenly(folds):
  fold = folds_of(LONG_TAIL, folds=folds, seed=0)
  assert set(fold) == set(range(1, folds + 1))
  for c in range(4):
    counts = np.bincount(fold[c == LONG_TAIL], minlength=folds + 1)[1:]
    assert counts.max() - counts.min() <= 1


def test_seeds_deal_in_other_ways_and_one_seed_always_alike():
  first, again, other = (
    folds_of(LONG_TAIL, folds=5, seed=seed) for seed in (0, 0, 1)
  )
  assert np.array_equal(first, again)
  assert not np.array_equal(first, other)


def test_no_group_lies_in_two_folds_and_images_without_one_stand_alone():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, 400)
  groups = [f"camera {g}" if g else "" for g in rng.integers(0, 40, 400)]
  fold = folds_of(labels, groups, folds=4, seed=0)
  by_group = {}
  for name, number in zip(groups, fold.tolist(), strict=True):
    if name:
      by_group.setdefault(name, set()).add(number)
  assert all(len(numbers) == 1 for numbers in by_group.values())
  alone = [k for name, k in zip(groups, fold.tolist(), strict=True) if not name]
  assert len(set(alone)) > 1
  assert 0 not in fold


def test_class_of_one_image_or_one_group_is_only_trained_on():
  labels = np.array([0] * 10 + [1])
  fold = folds_of(labels, folds=2, seed=0)
  assert fold[-1] == 0
  assert np.all(fold[:-1] > 0)
  groups = ["a", "b", "c", "d"] * 3
  labels = np.array([0, 0, 0, 1] * 3)
  fold = folds_of(labels, groups, folds=2, seed=0)
  assert np.all(fold[labels == 1] == 0)
  assert set(fold[labels == 0]) == {1, 2}


def test_every_class_is_trained_on_in_every_fold():
  rng = np.random.default_rng(1)
  for trial in range(20):
    labels = np.repeat(np.arange(5), [30, 12, 4, 2, 1])
    groups = [f"g{g}" for g in rng.integers(0, 12, len(labels))]
    fold = folds_of(labels, groups, folds=3, seed=trial)
    for number in (1, 2, 3):
      assert set(labels[fold != number]) == set(range(5))


@pytest.mark.parametrize(
  "folds, groups, message",
  [
    (60, None, "folds is 60; expected at most 50, the images of the largest"),
    (5, ["a", "b", "c"] * 27, "folds is 5; expected at most 3, the number of"),
  ],
)
def test_too_many_folds_are_refused(folds, groups, message):
  with pytest.raises(ValueError, match=message):
    folds_of(LONG_TAIL, groups, folds=folds, seed=0)


def test_validation_of_a_fold_shares_no_group_with_the_rest():
  groups = [f"g{i // 3}" for i in range(81)]
  images = np.zeros((81, 1, 1, 3), np.uint8)
  pool = Split(LONG_TAIL, images, groups=groups)
  train, validation, test, _ = cut_fold(
    pool, folds=3, fold=2, seed=0, validation=True
  )
  parts = [set(each.groups) for each in (train, validation, test)]
  assert parts[0].isdisjoint(parts[1] | parts[2])
  assert parts[1].isdisjoint(parts[2])
  assert len(train) + len(validation) + len(test) == 81


def test_folds_of_digits_test_all_1797_images_once():
  tested = []
  for fold in (1, 2, 3):
    dataset = load_digits_lt(
      _options(
        fold, folds=3, profile="exponential", max_per_class=90, imbalance=9
      )
    )
    assert dataset.class_counts.tolist()[::9] == [90, 10]
    assert len(dataset.validation) == 20
    tested.append(dataset.test.images)
  assert sum(map(len, tested)) == 1797
  seen = {image.tobytes() for images in tested for image in images}
  whole = load_digits_lt(SplitOptions(max_per_class=1, validation_per_class=1))
  assert {image.tobytes() for image in whole.test.images} <= seen


def test_folds_of_a_folder_hold_validation_out_of_the_rest(tmp_path):
  for name, count in (("cat", 9), ("dog", 4)):
    for i in range(count):
      path = tmp_path / name / f"{i}.jpg"
      path.parent.mkdir(exist_ok=True)
      path.touch()
  tested = []
  for fold in (1, 2, 3):
    dataset = load_image_folder(
      str(tmp_path), options=_options(fold, folds=3, test_per_class=1)
    )
    paths = [set(split.paths) for split in dataset.splits.values()]
    assert sum(map(len, paths)) == len(set.union(*paths)) == 13
    assert len(paths[1]) == 3  # Two cats; half of the dogs that are left: one.
    assert f"fold {fold} of 3: {len(paths[2])} images of 13 to test" in (
      dataset.left_out
    )
    tested += sorted(paths[2])
  assert len(tested) == len(set(tested)) == 13


def test_folds_of_a_table_keep_its_groups_together(tmp_path):
  rows = ["path,label,camera"]
  for i in range(24):
    (tmp_path / f"{i}.jpg").touch()
    rows.append(f"{i}.jpg,{'ab'[i % 2]},{i // 4}")
  (tmp_path / "table.csv").write_text("\n".join(rows))
  tested = []
  for fold in (1, 2):
    dataset = load_image_table(
      "", str(tmp_path / "table.csv"), options=_options(fold, folds=2)
    )
    groups = [set(split.groups) for split in dataset.splits.values()]
    assert sum(map(len, groups)) == 6
    tested += dataset.test.paths.tolist()
  assert len(tested) == len(set(tested)) == 24


@pytest.mark.parametrize("part", ["validation", "test"])
def test_data_with_a_split_of_their_own_have_no_folds(part):
  images = np.zeros((6, 2, 2), np.uint8)
  labels = np.array([0, 1] * 3)
  given = {f"{part}_images": images, f"{part}_labels": labels}
  with pytest.raises(
    ValueError,
    match=f"folds is 3; expected 0 with a data set that has {part} images of",
  ):
    from_arrays(images, labels, options=_options(1, folds=3, held=1), **given)


def test_folds_drop_no_classes():
  images = np.zeros((6, 2, 2), np.uint8)
  options = _options(1, folds=3, held=1, drop_below=2)
  with pytest.raises(ValueError, match="drop_below is 2; expected 0 with conf"):
    from_arrays(images, np.array([0, 1] * 3), options=options)


@pytest.mark.parametrize(
  "folds, fold, message",
  [
    (1, 0, "folds is 1; expected 2 or more, or 0"),
    (3, 0, "fold is 0; expected 1 to 3 with config.dataset.folds 3"),
    (3, 4, "fold is 4; expected 1 to 3"),
    (0, 2, "fold is 2; expected 0 with config.dataset.folds 0"),
  ],
)
def test_a_fold_that_does_not_exist_is_refused(folds, fold, message):
  with pytest.raises(ValueError, match=f"config.dataset.{message}"):
    _options(fold, folds=folds)
