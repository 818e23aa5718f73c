"""Splits, and the file names that they hold."""

import numpy as np
import pytest

from blt_jax.data.dataset import Split, path_array


def _images(count, size=4, seed=0):
  shape = (count, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_split_takes_images_by_position():
  split = Split(np.array([3, 1, 2]), images=_images(3))
  part = split.take(np.array([2, 0]))
  np.testing.assert_array_equal(part.labels, [2, 3])
  np.testing.assert_array_equal(part.images, split.images[[2, 0]])
  assert part.labels.dtype == np.int32


def test_split_takes_paths_by_position():
  split = Split(np.array([0, 1, 2]), paths=["a", "Ähre.jpg", "c"])
  assert split.take(np.array([1])).paths.tolist() == ["Ähre.jpg"]


def test_split_takes_groups_along():
  split = Split(np.zeros(3, int), paths=["a", "b", "c"], groups=["x", "", "y"])
  assert split.take(np.array([2, 1])).groups.tolist() == ["y", ""]
  assert split.take(np.arange(0)).groups.tolist() == []


def test_split_needs_a_group_for_each_image():
  with pytest.raises(ValueError, match="1 groups are given; expected one .* 2"):
    Split(np.zeros(2, int), paths=["a", "b"], groups=["x"])


def test_split_holds_images_or_paths():
  with pytest.raises(ValueError, match="2 of images, .* expected exactly one"):
    Split(np.zeros(1, int), _images(1), ["a"])


def test_split_needs_a_label_for_each_image():
  with pytest.raises(ValueError, match="2 labels are given; expected one .* 3"):
    Split(np.zeros(2, int), _images(3))


def test_path_array_gives_the_names_back():
  names = ["a/1.jpg", "Ähre.jpg", "", "a/ü 3.jpg"]
  paths = path_array(name for name in names)
  assert paths.dtype == np.dtypes.StringDType()
  assert paths.tolist() == names
  assert paths[np.array([3, 0, 3])].tolist() == [names[i] for i in (3, 0, 3)]
  assert type(paths[np.int64(1)]) is str
  assert len(path_array([])) == 0


def test_names_that_are_not_utf_8_come_back():
  names = ["a/\udcff.jpg", "b.jpg"]
  split = Split(np.zeros(2, int), paths=names)
  assert split.take(np.array([1, 0])).paths.tolist() == names[::-1]
  assert split.paths[0] == names[0]


def test_path_array_takes_its_own_arrays():
  for names in (["a"], ["\udcff"]):
    paths = path_array(names)
    assert path_array(paths) is paths
