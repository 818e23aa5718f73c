"""Tables, changes and times from fixed results, computed by hand."""

import math
import pathlib

import ml_collections
import pytest

from blt_jax.experiments import accuracy_table, changes, time_table
from blt_jax.experiments.settings import Setting
from blt_jax.report.record import RunRecord
from tests.rows import make_row


def _record(seed, last, best=None, *, rows=(), start_epoch=2, batch_size=10):
  """A finished run whose accuracies are (many, medium, few, overall)."""
  config = ml_collections.ConfigDict(
    {
      "seed": seed,
      "perturb": {"start_epoch": start_epoch},
      "stage2": {"batch_size": batch_size},
    }
  )
  results = {
    which: {"test": dict(zip(accuracy_table.GROUPS, numbers, strict=True))}
    for which, numbers in (("last", last), ("best", best or last))
  }
  return RunRecord(pathlib.Path("nowhere"), config, results, list(rows))


RESULTS = {
  "neither": [
    _record(0, (40.0, 30.0, 10.0, 30.0)),
    _record(1, (42.0, 30.0, 14.0, 31.0)),
    _record(2, (44.0, 30.0, 18.0, 32.0)),
  ],
  "blt": [
    _record(0, (39.0, 31.0, 16.0, 31.0), (38.0, 30.0, 17.0, 30.5)),
    _record(1, (43.0, 31.0, 21.0, 32.0), (43.0, 30.0, 21.0, 31.5)),
    _record(2, (43.0, 31.0, 26.0, 33.0), (43.0, 30.0, 25.0, 32.5)),
  ],
}
PAPER = {
  "neither": {"many": 43.8, "medium": 35.7, "few": 19.0, "overall": 36.4},
  "blt": {"many": 44.4, "medium": 33.5, "few": 25.5, "overall": 36.6},
}
AGAINST = Setting("blt", {"method": "blt"}, against="neither")


def _row(results, label, paper=PAPER, epoch="last"):
  return accuracy_table.accuracy_rows(results, paper, epoch)[label]


def test_mean_deviation_and_difference_of_three_seeds():
  few = _row(RESULTS, "blt")["few"]
  assert few.seeds == 3
  assert few.mean == 21.0
  assert few.deviation == 5.0
  assert few.paper == 25.5
  assert few.difference == -4.5


def test_best_and_last_epoch_are_told_apart():
  assert _row(RESULTS, "blt", epoch="last")["overall"].mean == 32.0
  assert _row(RESULTS, "blt", epoch="best")["overall"].mean == 31.5


def test_one_seed_has_no_deviation():
  results = {"blt": RESULTS["blt"][:1]}
  value = _row(results, "blt")["many"]
  assert (value.seeds, value.mean) == (1, 39.0)
  assert math.isnan(value.deviation)
  assert "| blt | 1 | 39.0 | 31.0 | 16.0 | 31.0 |" in accuracy_table.markdown(
    accuracy_table.accuracy_rows(results, PAPER, "last")
  )


def test_group_without_classes_is_a_dash():
  results = {"blt": [_record(0, (50.0, 40.0, None, 45.0))]}
  rows = accuracy_table.accuracy_rows(results, PAPER, "last")
  assert math.isnan(rows["blt"]["few"].mean)
  assert "| 50.0 | 40.0 | - | 45.0 |" in accuracy_table.markdown(rows)


def test_difference_that_rounds_to_nothing_has_no_minus():
  assert accuracy_table.signed(-0.04) == accuracy_table.signed(0.04) == "+0.0"
  assert accuracy_table.signed(-0.06) == "-0.1"


def test_setting_without_numbers_in_the_paper_has_a_dash():
  text = accuracy_table.markdown(
    accuracy_table.accuracy_rows(RESULTS, {}, "last")
  )
  assert text.splitlines()[-1].endswith("32.0 ± 1.0 | - | - |")


def test_markdown_table_as_a_whole():
  assert accuracy_table.markdown(
    accuracy_table.accuracy_rows(RESULTS, PAPER, "last")
  ) == (
    "| setting | seeds | many | medium | few | overall "
    "| paper: many / medium / few / overall | difference |\n"
    "|---|---|---|---|---|---|---|---|\n"
    "| neither | 3 | 42.0 ± 2.0 | 30.0 ± 0.0 | 14.0 ± 4.0 | 31.0 ± 1.0 "
    "| 43.8 / 35.7 / 19.0 / 36.4 | -1.8 / -5.7 / -5.0 / -5.4 |\n"
    "| blt | 3 | 41.7 ± 2.3 | 31.0 ± 0.0 | 21.0 ± 5.0 | 32.0 ± 1.0 "
    "| 44.4 / 33.5 / 25.5 / 36.6 | -2.7 / -2.5 / -4.5 / -4.6 |\n"
  )


def _change(group, results=RESULTS, paper=PAPER):
  found = changes.changes_of(results, paper, AGAINST, epoch="last")
  return next(change for change in found if change.group == group)


def test_changes_are_paired_by_seed():
  few = _change("few")
  assert few.by_seed == (6.0, 7.0, 8.0)
  assert few.paper == 6.5
  assert few.reading == "same direction"
  reordered = {**RESULTS, "neither": RESULTS["neither"][::-1]}
  assert _change("few", reordered).by_seed == (6.0, 7.0, 8.0)


def test_seed_that_only_one_setting_has_is_left_out():
  fewer = {**RESULTS, "neither": RESULTS["neither"][1:]}
  assert _change("few", fewer).by_seed == (7.0, 8.0)


@pytest.mark.parametrize(
  "by_seed, printed, reading",
  [
    ((1.0, 2.0), 0.5, "same direction"),
    ((-1.0, -2.0), 0.5, "opposite direction"),
    ((1.0, -2.0), 0.5, "seeds disagree"),
    ((1.0, 0.0), 0.5, "seeds disagree"),
    ((0.0, 0.04), 0.5, "no change"),
    ((1.0, 2.0), 0.0, "the paper has no change"),
    ((1.0, 2.0), math.nan, ""),
  ],
)
def test_reading_of_a_change(by_seed, printed, reading):
  assert changes.Change("few", by_seed, printed).reading == reading


def test_sentence_holds_seeds_paper_and_reading():
  (sentence,) = changes.sentences(
    RESULTS, PAPER, [AGAINST, Setting("neither", {})]
  )
  assert sentence == (
    "`blt` against `neither`: "
    "many -0.3 (-1.0, +1.0, -1.0; paper +0.6; seeds disagree); "
    "medium +1.0 (+1.0, +1.0, +1.0; paper -2.2; opposite direction); "
    "few +7.0 (+6.0, +7.0, +8.0; paper +6.5; same direction); "
    "overall +1.0 (+1.0, +1.0, +1.0; paper +0.2; same direction)."
  )


def test_no_sentence_where_nothing_is_finished_to_compare_with():
  results = {"blt": RESULTS["blt"]}
  assert changes.sentences(results, PAPER, [AGAINST]) == []


def _timed(*stage2, batch_size=10, start_epoch=2):
  """A run of 2 epochs of stage 1 and some of stage 2, 5 steps each."""
  seconds = [30.0, 1.0, *stage2]
  rows = [
    make_row(
      1 if number < 2 else 2,
      number + 1 if number < 2 else number - 1,
      5 * (number + 1),
      seconds=each,
    )
    for number, each in enumerate(seconds)
  ]
  options = {"batch_size": batch_size, "start_epoch": start_epoch}
  return _record(0, (1, 1, 1, 1), rows=rows, **options)


def test_time_is_the_median_of_the_steady_epochs():
  times = time_table.times_of(_timed(40.0, 2.0, 9.0, 3.0))
  assert times["epoch"] == 3.0
  assert times["batch"] == pytest.approx(0.6)
  assert times["image"] == pytest.approx(0.06)
  assert times["total"] == 85.0


def test_epochs_before_hallucination_begins_are_not_steady():
  assert time_table.times_of(_timed(40.0, 2.0, 9.0, 3.0, start_epoch=4)) == (
    pytest.approx({"epoch": 3.0, "batch": 0.6, "image": 0.06, "total": 85.0})
  )


def test_run_without_a_steady_epoch_has_no_time():
  times = time_table.times_of(_timed(40.0))
  assert math.isnan(times["epoch"])
  assert times["total"] == 71.0


TIMES = {
  "sampling": {"image": 0.001, "batch_256": 0.25, "epoch": 100}
  | {"total": "3h10min"},
  "blt": {"image": 0.003, "batch_256": 0.75, "epoch": 250, "total": "7h03min"},
}


def _time_rows():
  results = {"sampling": [_timed(9.0, 1.0)], "blt": [_timed(9.0, 2.5)]}
  return time_table.time_rows(results, TIMES)


def test_ratios_stand_beside_the_papers():
  ((title, ours, printed),) = time_table.ratios(_time_rows())
  assert title == "blt / sampling"
  assert ours["epoch"] == 2.5
  assert printed["epoch"] == 2.5
  assert printed["image"] == pytest.approx(3.0)
  assert printed["total"] == pytest.approx(423 / 190)


def test_time_table_in_its_units():
  lines = time_table.markdown(_time_rows()).splitlines()
  assert lines[2] == (
    "| sampling | 1 | 20.000 | 200.0 | 1.00 | 0:00:41 "
    "| 1.000 / 250.0 / 100.00 / 3:10:00 |"
  )
  assert lines[4].startswith("| blt / sampling |  | 2.50 | 2.50 | 2.50 |")


def test_sentence_of_a_time():
  assert time_table.sentences(_time_rows()) == [
    "`blt / sampling`: an epoch takes 2.50 times as long (the paper's: 2.50), "
    "an image 2.50 times (3.00)."
  ]
