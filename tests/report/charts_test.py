import math
import re

import numpy as np
import pytest

from blt_jax.report import facts
from blt_jax.report.html import class_charts, epoch_charts, svg
from tests.report_runs import ROWS, make_row, make_run


def _texts(chart):
  return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def test_log_axis_gives_equal_lengths_to_equal_ratios():
  axis = svg.log_axis(1000, "")
  places = [axis.share(value) for value in (1, 10, 100)]
  assert places[0] == 0
  assert places[2] - places[1] == pytest.approx(places[1] - places[0])
  assert [label for _, label in axis.ticks] == ["1", "10", "100", "1,000"]


@pytest.mark.parametrize(
  "largest, labels",
  [
    (51, ["0", "20", "40", "60"]),
    (4, ["0", "1", "2", "3", "4"]),
    (0.3, ["0", "0.1", "0.2", "0.3"]),
    (0, ["0", "0.5", "1"]),
    (math.nan, ["0", "0.5", "1"]),
  ],
)
def test_count_axis_ends_at_a_round_number(largest, labels):
  assert [label for _, label in svg.count_axis(largest, "").ticks] == labels


def test_percent_axis_is_as_high_as_it_must_be():
  assert svg.percent_axis("", [12.0, math.nan]).high == 50
  assert svg.percent_axis("", [50.1]).high == 75
  assert svg.percent_axis("", [76.0]).high == 100
  assert svg.percent_axis("", []).high == 50


def test_spread_moves_labels_apart_and_keeps_them_inside():
  assert svg.spread([5, 6, 50], gap=10, low=0, high=100) == [5, 15, 50]
  assert svg.spread([95, 96], gap=10, low=0, high=100) == [90, 100]
  assert svg.spread([], gap=10, low=0, high=100) == []


def test_nan_interrupts_a_line():
  axis = svg.Axis(0.0, 10.0)
  plot = svg.Plot(axis, axis, width=100, height=100)
  plot.line([0, 1, 2, 3], [1, math.nan, 1, 2], class_="few")
  path = re.search(r'd="([^"]*)"', plot.render("a", "b").split("line few")[0])
  assert path[1].count("M") == 2
  assert path[1].count("L") == 1


def test_sparkline_of_nothing_known_is_empty():
  drawn = svg.sparkline([math.nan, math.nan], "unknown")
  assert 'd=""' in drawn
  assert 'aria-label="unknown"' in drawn


def test_number_of_epochs_decides_their_labels():
  ticks = epoch_charts.epochs_of(ROWS, width=430).axis.ticks
  assert ticks == [(0.5, "1"), (1.5, "2"), (2.5, "1"), (3.5, "2"), (4.5, "3")]
  rows = [make_row(1, epoch, epoch) for epoch in range(1, 91)]
  labels = [t[1] for t in epoch_charts.epochs_of(rows, width=360).axis.ticks]
  assert labels == ["1", "10", "20", "30", "40", "50", "60", "70", "80"]


def test_accuracy_chart_names_groups_stages_and_the_best_epoch(tmp_path):
  chart = epoch_charts.accuracy_over_epochs(make_run(tmp_path), svg.WIDE)
  texts = _texts(chart)
  assert {"few 25.0", "overall 55.0", "stage 1", "stage 2", "best"} <= {*texts}
  assert "few 25.0" in re.search(r'aria-label="([^"]*)"', chart)[1]


def test_accuracy_chart_leaves_out_a_group_without_classes(tmp_path):
  rows = [make_row(1, 1, 12, val_many=math.nan)]
  chart = epoch_charts.accuracy_over_epochs(
    make_run(tmp_path, rows=rows), svg.NARROW
  )
  assert not [text for text in _texts(chart) if text.startswith("many")]
  assert "nan" not in chart


def test_every_class_has_a_bar_with_its_numbers(tmp_path):
  chart = class_charts.class_counts(make_run(tmp_path), svg.WIDE)
  titles = re.findall(r"<title>([^<]*)</title>", chart)
  assert titles == [
    "ant: 120 training images (many)",
    "bee: 60 training images (medium)",
    "cat: 5 training images (few)",
    "dog: 5 training images (few)",
  ]
  assert {"many · 1", "medium · 1", "few · 2", "20", "100"} <= {*_texts(chart)}


def test_class_without_test_images_has_no_bar(tmp_path):
  confusion = ((9, 1, 0, 0), (2, 8, 0, 0), (0, 0, 5, 5), (0, 0, 0, 0))
  run = make_run(tmp_path, confusion=confusion)
  chart = class_charts.class_accuracies(run, svg.WIDE, name="test-best")
  titles = re.findall(r"<title>([^<]*)</title>", chart)
  assert titles[-1] == "cat (few): 50.0 % of 10"
  assert "Means of the groups in percent: many 90.0, medium 80.0, few 50.0" in (
    chart
  )


def test_many_classes_are_drawn_together(tmp_path):
  number = 1000
  run = make_run(
    tmp_path,
    counts=np.arange(number, 0, -1).tolist(),
    names=[str(c) for c in range(number)],
    confusion=np.eye(number, dtype=int) * 7,
    examples=0,
  )
  for chart in (
    class_charts.class_counts(run, svg.WIDE),
    class_charts.class_accuracies(run, svg.WIDE, name="test-best"),
    class_charts.classes_of_runs([run], ["A"], svg.WIDE, name="test-best"),
  ):
    assert chart.count("<path") < 120
    assert len(chart) < 60_000
    assert "many · 900" in _texts(chart)


def test_staircase_has_corners_only():
  edges, levels = class_charts._steps(np.array([7, 7, 7, 2, 2]), 10)
  assert edges.tolist() == [10, 13, 13, 15]
  assert levels.tolist() == [7, 7, 2, 2]


def test_first_epoch_does_not_hide_the_others(tmp_path):
  rows = [make_row(1, e, e, seconds=100.0 if e == 1 else 3.0) for e in (1, 2)]
  chart = epoch_charts.time_of_epochs(make_run(tmp_path, rows=rows), svg.WIDE)
  assert "↑ 102 s" in _texts(chart)
  assert "computing 77.2 s, waiting 25.8 s, validation 4.0 s" in chart


def test_hallucination_charts_tell_their_sums(tmp_path):
  run = make_run(tmp_path)
  assert "30 in all, at most 10 in one" in epoch_charts.hallucinated_images(
    run, svg.WIDE
  )
  chart = epoch_charts.updates(run, svg.WIDE)
  assert {"3.5", "80 % reached"} <= {*_texts(chart)}
  assert facts.hallucinated(run).sum() == 30


def test_group_of_runs_has_a_line_a_run_even_of_other_lengths(tmp_path):
  runs = [
    make_run(tmp_path / "a"),
    make_run(tmp_path / "b", rows=ROWS[:3], finished=False),
  ]
  chart = epoch_charts.group_of_runs(runs, "few", ["A", "B"])
  assert "A 25.0, B 25.0" in chart
  assert 'class="line run1"' in chart
