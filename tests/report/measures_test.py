import math

import numpy as np
import pytest

from blt_jax.config import differing
from blt_jax.report import measures
from blt_jax.workdir.records import Confusion
from tests import report_runs
from tests.report_runs import make_run
from tests.rows import make_row


def _entries(confusion):
  return Confusion.of(np.array(confusion))


def test_pairs_come_by_count_then_share_then_class():
  pairs = measures.confused_pairs(
    _entries([[10, 2, 1, 0], [1, 0, 2, 0], [2, 0, 9, 0], [0, 0, 0, 0]])
  )
  found = [(p.true, p.predicted, p.count, p.total) for p in pairs]
  assert found == [
    (1, 2, 2, 3),
    (2, 0, 2, 11),
    (0, 1, 2, 13),
    (1, 0, 1, 3),
    (0, 2, 1, 13),
  ]
  assert pairs[0].share == pytest.approx(2 / 3)


def test_pairs_that_tie_at_the_limit_are_chosen_by_their_share():
  entries = _entries([[8, 2, 0], [0, 0, 2], [2, 0, 2]])
  found = [(p.true, p.predicted) for p in measures.confused_pairs(entries, 2)]
  assert found == [(1, 2), (2, 0)]


def test_no_confusion_gives_no_pair():
  assert measures.confused_pairs(_entries(np.eye(3, dtype=int))) == []


def test_group_flow_is_the_mean_over_classes():
  groups = {
    "many": np.array([True, False, False, False]),
    "medium": np.array([False, True, False, False]),
    "few": np.array([False, False, True, True]),
  }
  flow = measures.group_flow(_entries(report_runs.CONFUSION), groups)
  assert flow["few"] == pytest.approx(
    {"correct": 25.0, "many": 35.0, "medium": 40.0, "few": 0.0}
  )
  assert flow["many"]["medium"] == pytest.approx(10.0)


def test_group_without_classes_or_images_flows_nowhere():
  groups = {
    "many": np.array([True, False, False]),
    "medium": np.zeros(3, bool),
    "few": np.array([False, True, True]),
  }
  flow = measures.group_flow(
    _entries([[1, 0, 0], [1, 0, 0], [0, 0, 0]]), groups
  )
  assert math.isnan(flow["medium"]["correct"])
  assert flow["few"]["many"] == 100.0


def test_classes_of_equal_size_keep_their_order():
  assert measures.by_size(np.array([5, 7, 5, 9])).tolist() == [3, 1, 0, 2]


def test_bins_hold_means_and_quartiles_of_what_is_known():
  values = np.array([0.0, 100.0, np.nan, 50.0, np.nan])
  bins = measures.binned(values, 2)
  assert bins.edges.tolist() == [0, 2, 5]
  assert bins.mean.tolist() == [50.0, 50.0]
  assert bins.low.tolist() == [25.0, 50.0]
  bins = measures.binned(values[4:], 3)
  assert np.isnan(bins.mean).tolist() == [True]


def test_time_is_split(tmp_path):
  spent = measures.times(make_run(tmp_path))
  assert {name: values[0] for name, values in spent.items()} == {
    "computing": 6.0,
    "waiting": 2.0,
    "validation": 2.0,
  }


def test_best_epoch_is_the_earlier_of_equals_of_the_last_stage(tmp_path):
  assert measures.best_epoch(make_run(tmp_path)) == 2


def test_nan_is_never_best(tmp_path):
  rows = [make_row(1, 1, 1, val_overall=math.nan), make_row(1, 2, 2)]
  assert measures.best_epoch(make_run(tmp_path, rows=rows)) == 1


def test_accuracies_so_far_name_their_epochs(tmp_path):
  so_far = measures.accuracies_so_far(make_run(tmp_path, finished=False))
  assert so_far["best"]["epoch"] == 1
  assert so_far["last"]["epoch"] == 3
  assert so_far["last"]["validation"]["overall"] == 55.0


def test_nothing_is_missing_of_a_complete_run(tmp_path):
  assert measures.missing(make_run(tmp_path)) == []


def test_missing_parts_are_named(tmp_path):
  lines = measures.missing(make_run(tmp_path / "a", recorded=False))
  assert "no confusion matrices" in lines[0]
  lines = measures.missing(make_run(tmp_path / "b", finished=False, rows=()))
  assert "not finished, no epoch is recorded" in lines[0]


def test_differences_are_the_fields_that_are_not_equal(tmp_path):
  runs = [
    make_run(tmp_path / "a"),
    make_run(tmp_path / "b", variant="method=neither,seed=1"),
  ]
  configs = [run.config for run in runs]
  assert list(differing(*configs)) == ["method", "seed", "stage2.perturb"]
  assert not differing(configs[0])
