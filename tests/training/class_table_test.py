"""The table of classes that a run begins with."""

import numpy as np
import pytest

from blt_jax.data import dataset, longtail
from blt_jax.training import lines


def _table(sizes):
  counts = np.array(sizes)
  names = [f"class {c}" for c in range(len(counts))]
  parts = {"training": counts, "validation": counts // 4, "test": counts // 5}
  return lines.class_table(names, parts, longtail.shot_groups(counts)).split(
    "\n"
  )


def test_table_has_the_classes_by_size():
  header, *rows = _table([7, 120, 25])
  assert header.split() == ["class", "training", "validation", "test", "group"]
  assert [row.split() for row in rows] == [
    ["class", "1", "120", "30", "24", "many"],
    ["class", "2", "25", "6", "5", "medium"],
    ["class", "0", "7", "1", "1", "few"],
  ]


@pytest.mark.parametrize("number, num_lines", [(20, 21), (21, 12)])
def test_long_table_shows_both_ends(number, num_lines):
  table = _table(range(1, number + 1))
  assert len(table) == num_lines
  assert table[1].startswith(f"class {number - 1} ")
  assert table[-1].startswith("class 0 ")
  assert ("... 11 classes between these ..." in table) == (number == 21)


def test_table_prints_odd_names():
  ones = np.ones(2, int)
  name = b"caf\xe9\n".decode("utf-8", "surrogateescape")
  table = lines.class_table(
    [name, 50 * "x"], {"training": ones}, longtail.shot_groups(ones)
  )
  assert table.encode().decode().split("\n")[1].startswith("caf?? ")
  assert f"\n{15 * 'x'}…{14 * 'x'} " in table


def test_table_of_wide_letters_is_straight():
  ones = np.ones(3, int)
  _, narrow, wide, accent = lines.class_table(
    ["letters", "\u732b\u3068\u72ac", "cafe\u0301"],
    {"training": ones},
    longtail.shot_groups(ones),
  ).split("\n")
  # Three letters of two columns each; an accent that takes no column.
  assert len(wide) == len(narrow) - 3
  assert len(accent) == len(narrow) + 1


def test_table_tells_long_names_apart():
  ones = np.ones(2, int)
  names = [f"{30 * 'a'} {place} {30 * 'b'}" for place in ("lake", "river")]
  table = lines.class_table(
    names, {"training": ones}, longtail.shot_groups(ones)
  ).split("\n")
  assert "…lake…" in table[1]
  assert "…river…" in table[2]


def test_table_counts_groups_beside_images():
  labels = [0, 0, 0, 0, 1, 1]
  images = np.zeros((6, 2, 2, 3), np.uint8)
  cameras = ["a", "a", "b", "", "a", "a"]
  train = dataset.Split(labels, images, groups=cameras)
  other = dataset.Split(labels, images)
  data = dataset.Dataset("some", ("cat", "dog"), train, other, other)
  table = lines.class_table(
    data.class_names,
    data.counts,
    longtail.shot_groups(data.class_counts),
    data.group_counts,
  ).split("\n")
  assert table == [
    "class  training (groups)  validation        test  group",
    "cat                4 (3)           4           4  few",
    "dog                2 (1)           2           2  few",
  ]
