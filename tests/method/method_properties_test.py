"""Properties of confusing classes and accuracies, whatever the matrix is."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blt_jax.method import confusion, metrics

drawn = settings(
  deadline=None, derandomize=True, database=None, max_examples=100
)


def matrices(size: int, most: int = 50):
  row = st.lists(st.integers(0, most), min_size=size, max_size=size)
  return st.lists(row, min_size=size, max_size=size).map(
    lambda rows: np.array(rows, np.int32)
  )


@given(matrices(4), st.integers(0, 2**31 - 1))
@drawn
def test_confusing_classes_are_others_that_were_predicted(matrix, seed):
  labels = np.repeat(np.arange(4), 16)
  targets, confused = map(
    np.asarray,
    confusion.sample_confusing_classes(jax.random.key(seed), matrix, labels),
  )
  others = matrix * (1 - np.eye(4, dtype=np.int32))
  np.testing.assert_array_equal(confused, others.sum(axis=1)[labels] > 0)
  assert (others[labels, targets] > 0)[confused].all()
  np.testing.assert_array_equal(targets[~confused], labels[~confused])


@given(matrices(4, most=5), st.integers(0, 2**31 - 1))
@settings(drawn, max_examples=10)
def test_confusing_classes_come_as_often_as_they_were_predicted(matrix, seed):
  draws = 4096
  labels = np.repeat(np.arange(4), draws)
  targets, confused = map(
    np.asarray,
    confusion.sample_confusing_classes(jax.random.key(seed), matrix, labels),
  )
  others = matrix * (1 - np.eye(4))
  for label in range(4):
    if not confused[label * draws]:
      continue
    shares = others[label] / others[label].sum()
    found = np.bincount(targets[labels == label], minlength=4) / draws
    # Five standard deviations.
    allowed = 5 * np.sqrt(shares * (1 - shares) / draws)
    assert (np.abs(found - shares) <= allowed).all()


@given(
  matrices(6),
  st.lists(st.integers(0, 200), min_size=6, max_size=6),
  st.integers(0, 150),
  st.integers(0, 150),
)
@drawn
def test_accuracies_are_those_of_a_plain_loop(matrix, counts, limit, other):
  few_up_to, many_above = sorted([limit, other])
  found = metrics.shot_accuracies(
    matrix, np.array(counts), many_above=many_above, few_up_to=few_up_to
  )
  of_group: dict[str, list[float]] = {name: [] for name in metrics.GROUPS}
  for c, count in enumerate(counts):
    total = sum(int(n) for n in matrix[c])
    if not total:
      continue
    accuracy = 100 * int(matrix[c][c]) / total
    of_group["overall"].append(accuracy)
    if count > many_above:
      of_group["many"].append(accuracy)
    elif count <= few_up_to:
      of_group["few"].append(accuracy)
    else:
      of_group["medium"].append(accuracy)
  assert set(found) == set(of_group)
  for name, values in of_group.items():
    if values:
      assert found[name] == pytest.approx(sum(values) / len(values))
      assert 0 <= found[name] <= 100
    else:
      assert math.isnan(found[name])
