"""File names in one piece of text."""

import numpy as np
import pytest

from blt_jax.data.paths import Paths

NAMES = ["a/b/1.jpg", "Ähre.jpg", "a/2.jpg", "", "a/b/ü 3.jpg", "a/\udcff.jpg"]


@pytest.fixture
def paths():
  return Paths.of(NAMES)


def test_names_come_back(paths):
  assert list(paths) == paths.tolist() == NAMES
  assert [paths[i] for i in range(-6, 6)] == NAMES + NAMES
  assert paths[np.int64(4)] == NAMES[4]


def test_no_name_makes_an_empty_sequence():
  assert (len(Paths.of([])), Paths.of(iter([])).tolist()) == (0, [])


def test_parts_keep_order_and_repeats(paths):
  assert paths[np.array([4, 0, 4])].tolist() == [NAMES[i] for i in (4, 0, 4)]
  assert paths[2:5][1:].tolist() == NAMES[3:5]


def test_prefix_stands_before_every_name(paths):
  below = paths.below("root/")
  assert below[1:3].tolist() == ["root/Ähre.jpg", "root/a/2.jpg"]
  assert (below[0], paths[0]) == ("root/a/b/1.jpg", "a/b/1.jpg")


def test_arrays_hold_strings():
  array = np.asarray(Paths.of(["a", "Ähre"]))
  assert array.dtype == np.dtypes.StringDType()
  assert array.tolist() == ["a", "Ähre"]


def test_folders_are_told_apart(paths):
  names, rows = paths.below("root/").folders
  assert [names[row] for row in rows] == ["a/b", "", "a", "", "a/b", "a"]
  assert sorted(names) == ["", "a", "a/b"]


def test_files_of_a_folder(paths):
  assert paths.files(np.array([0, 4]), folder="a/b") == ["1.jpg", "ü 3.jpg"]
  assert paths.files(np.array([1]), folder="") == ["Ähre.jpg"]


def test_replaced_names_leave_the_others_alone(paths):
  other = paths.below("x/").replaced({4: "ö", 0: "b/long/name.jpg"})
  expected = ["b/long/name.jpg", *NAMES[1:4], "ö", NAMES[5]]
  assert other.tolist() == ["x/" + name for name in expected]
  assert paths.tolist() == NAMES


def test_folders_of_many_names_in_any_order():
  rng = np.random.default_rng(0)
  classes = rng.integers(0, 300, 70_000)
  paths = Paths.of(f"{c}/{i}.jpg" for i, c in enumerate(classes.tolist()))
  part = paths[rng.permutation(70_000)]
  names, rows = part.folders
  expected = [path.split("/")[0] for path in part]
  np.testing.assert_array_equal(np.array(names)[rows], expected)
