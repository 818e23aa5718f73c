"""What the charts of a run draw, read from Matplotlib's own objects."""

import dataclasses
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from blt_jax.report import chart as charts
from blt_jax.report import (
  class_figures,
  command,
  epoch_figures,
  examples_figure,
  figures,
  recall_figure,
  style,
)
from blt_jax.workdir import records
from tests.report_runs import CONFUSION, ROWS, make_run
from tests.rows import make_row


def _heights(axes):
  return [round(float(patch.get_height()), 6) for patch in axes.patches]


def _texts(axes):
  return [text.get_text() for text in axes.texts]


def _color(group):
  return style.GROUP_STYLE[group]["color"]


def test_every_figure_of_a_finished_run_is_written(tmp_path):
  make_run(tmp_path)
  command.write_report([tmp_path], tmp_path)
  names = {path.name for path in (tmp_path / "figures").iterdir()}
  assert names == {
    f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "svg")
  }


def test_of_several_runs_the_differences_are_written(tmp_path):
  paths = [
    make_run(tmp_path / name, rows=(), examples=0).workdir for name in "ab"
  ]
  command.write_report(paths, tmp_path / "both")
  written = {path.name for path in (tmp_path / "both").rglob("*.*")}
  assert written == {command.FILE, "differences.png", "differences.svg"}


def test_a_run_that_is_not_finished_has_the_figures_of_what_it_knows(tmp_path):
  drawn = figures.Drawings(make_run(tmp_path, finished=False))
  known = {name for name in figures.FIGURES if drawn[name] is not None}
  assert known == {
    "accuracy",
    "class_counts",
    "hallucinated",
    "updates",
    "time",
  }
  nothing = make_run(tmp_path / "new", finished=False, recorded=False, rows=())
  folder = tmp_path / "none"
  assert figures.write_figures(figures.Drawings(nothing).all(), folder) == {}
  assert not folder.exists()


def test_a_chart_is_drawn_once(run):
  drawn = figures.Drawings(run)
  assert drawn["class_counts"] is drawn["class_counts"]


def test_classes_stand_by_size_in_the_colours_of_their_groups(run):
  axes = class_figures.class_counts(run).figure.axes[0]
  assert _heights(axes) == [120, 60, 5, 5]
  colors = [to_hex(patch.get_facecolor()) for patch in axes.patches]
  assert colors == [_color(g) for g in ("many", "medium", "few", "few")]
  names = [text.get_text() for text in axes.get_xticklabels()]
  assert names == ["ant", "bee", "cat", "dog"]
  assert axes.get_yscale() == "log"
  assert _texts(axes) == ["100", "20", "many · 1", "medium · 1", "few · 2"]


def test_confusion_is_in_percent_of_the_true_class(run):
  axes, _ = class_figures.confusion(run).figure.axes
  shown = axes.images[0].get_array()
  np.testing.assert_allclose(shown, 10.0 * np.array(CONFUSION))
  assert axes.get_ylabel() == "class, the largest first"
  assert axes.get_yticklabels()[0].get_text() == "ant"
  # A square around each group.
  squares = {line.get_label(): line.get_xdata()[:2] for line in axes.lines}
  np.testing.assert_array_equal(squares["many"], [-0.5, 0.5])
  np.testing.assert_array_equal(squares["few"], [1.5, 3.5])


def test_accuracy_has_a_line_a_group_and_stage(run):
  axes = epoch_figures.accuracy(run).figure.axes[0]
  overall = [line for line in axes.lines if line.get_label() == "overall"]
  assert [line.get_ydata().tolist() for line in overall] == [
    [40.0, 50.0],
    [60.0, 60.0, 55.0],
  ]
  assert [line.get_xdata().tolist() for line in overall] == [[0, 1], [2, 3, 4]]
  texts = _texts(axes)
  assert {"stage 1", "stage 2", "best", "few 25.0", "many 90.0"} < set(texts)
  ticks = [text.get_text() for text in axes.get_xticklabels()]
  assert ticks == ["1", "2", "1", "2", "3"]


def test_accuracy_has_no_line_of_a_group_without_classes(tmp_path):
  rows = [dataclasses.replace(row, val_many=math.nan) for row in ROWS]
  drawn = epoch_figures.accuracy(make_run(tmp_path, rows=rows))
  axes = drawn.figure.axes[0]
  assert not [line for line in axes.lines if line.get_label() == "many"]
  assert not [text for text in _texts(axes) if text.startswith("many")]
  assert "nan" not in drawn.description


def test_many_epochs_are_numbered_at_round_ones_without_marks(tmp_path):
  rows = [make_row(1 + (e > 90), e % 91 + e // 91, e) for e in range(1, 181)]
  run = make_run(tmp_path, rows=rows, recorded=False, finished=False)
  axes = epoch_figures.accuracy(run).figure.axes[0]
  ticks = [int(text.get_text()) for text in axes.get_xticklabels()]
  assert ticks == [1, *range(10, 90, 10), 1, *range(10, 91, 10)]
  assert {line.get_marker() for line in axes.lines} <= {"", "None"}


def test_hallucination_tells_its_counts_and_sums(run):
  images = epoch_figures.hallucinated_images(run)
  assert _heights(images.figure.axes[0]) == [0, 0, 10, 10, 10]
  assert images.description == "30 in all, at most 10 in one epoch."
  updates = epoch_figures.updates(run)
  axes = updates.figure.axes[0]
  numbers = [x for x in axes.lines if x.get_label() == "updates"]
  assert numbers[1].get_ydata().tolist() == [3.5, 3.5, 3.5]
  assert {"limit 15", "3.5", "80 % reached"} < set(_texts(axes))
  assert "80 % of the images reached" in updates.description


def test_a_run_that_hallucinates_nothing_has_no_chart_of_it(tmp_path):
  run = make_run(tmp_path, rows=ROWS[:2])
  assert epoch_figures.hallucinated_images(run) is None
  assert epoch_figures.updates(run) is None


def test_first_epoch_does_not_hide_the_others(tmp_path):
  rows = [make_row(1, e, e, seconds=100.0 if e == 1 else 3.0) for e in (1, 2)]
  drawn = epoch_figures.time(make_run(tmp_path, rows=rows))
  axes = drawn.figure.axes[0]
  assert axes.get_ylim()[1] < 10
  assert "↑ 102 s" in _texts(axes)
  assert drawn.description == (
    "All epochs: computing 77.2 s, waiting 25.8 s, validation 4.0 s."
  )
  legend = [text.get_text() for text in axes.get_legend().get_texts()]
  assert legend == ["computing", "waiting for images", "validation"]


def test_accuracy_of_runs_has_a_line_a_run_even_of_other_lengths(tmp_path):
  runs = [
    make_run(tmp_path / "a"),
    make_run(tmp_path / "b", rows=ROWS[:3], finished=False),
  ]
  drawn = epoch_figures.accuracy_of_runs(runs, "few", ["A", "B"])
  lines = drawn.figure.axes[0].lines
  second = [line for line in lines if line.get_label() == "B"]
  assert [len(line.get_ydata()) for line in second] == [2, 1]
  assert drawn.description == "In the end: A 25.0, B 25.0."


def test_examples_have_a_row_of_images_and_their_numbers(tmp_path):
  run = make_run(tmp_path)
  drawn = examples_figure.perturbed(run)
  axes = np.array(drawn.figure.axes).reshape(5, 4)
  assert drawn.description == "5 examples, 4 of which reached their goal."
  # Brightened by 4 percent of 255 in the last one, amplified 10 times.
  shown = [int(each.images[0].get_array()[0, 0, 0]) for each in axes[4, :3]]
  assert shown == [128, 230, 138]
  assert _texts(axes[4, 3]) == [
    "dog",
    "→ ant\n20.0 % → 60.0 %\ngoal 40.0 % missed\n4 updates, change × 10",
  ]
  # The one without an update shows plain grey.
  assert _texts(axes[0, 3])[1].endswith("goal 20.0 % reached\n0 updates")
  assert int(axes[0, 1].images[0].get_array()[0, 0, 0]) == 128
  assert examples_figure.perturbed(make_run(tmp_path / "n", examples=0)) is None


@pytest.mark.parametrize(
  "size, factor",
  [(0.0, 0), (0.04, 10), (0.05, 10), (0.06, 5), (0.3, 1), (7.0, 1)],
)
def test_perturbation_is_amplified_to_fill_the_range(size, factor):
  change = np.full((2, 2, 3), -size)
  assert examples_figure.amplification(change) == factor


@pytest.fixture(scope="module")
def large(tmp_path_factory):
  """A run of 3000 classes, 7 images each, all of them right."""
  number = 3000
  return make_run(
    tmp_path_factory.mktemp("large"),
    counts=np.arange(number, 0, -1).tolist(),
    confusion=np.eye(number, dtype=np.int64) * 7,
    rows=ROWS[:1],
    names=[f"class {i}" for i in range(number)],
  )


def test_thousands_of_classes_are_a_few_shapes(large):
  counts = class_figures.class_counts(large)
  assert len(counts.figure.axes[0].patches) == 3
  values = recall_figure.class_accuracies(large)
  assert len(values.figure.axes[0].patches) == 3
  runs = class_figures.accuracies_of_runs([large, large], ["A", "B"])
  lines = [x for x in runs.figure.axes[0].lines if x.get_label() in "AB"]
  assert [len(line.get_xdata()) for line in lines] == [30, 30]
  for drawn in (counts, values, runs, class_figures.confusion(large)):
    assert "many · 2,900" in _texts(drawn.figure.axes[0])
    assert len(drawn.svg) < 300_000


def test_steps_of_equal_neighbours_have_corners_only():
  _, axes = charts.new_chart("")
  values = np.array([7, 7, 7, 2, 2])
  charts.bars(axes, values, first=10, color="red", apart=False)
  (steps,) = axes.patches
  assert steps.get_data().edges.tolist() == [9.5, 12.5, 14.5]
  assert steps.get_data().values.tolist() == [7, 2]


def test_neighbouring_classes_share_a_cell_where_there_are_thousands():
  num_classes = 500
  order = np.roll(np.arange(num_classes), 1)  # The last class comes first.
  true = np.array([499, 499, 0, 5])
  predicted = np.array([499, 7, 1, 5])
  entries = records.Confusion(true, predicted, np.array([3, 1, 4, 2]), 500)
  shares, step = class_figures.shares_by_size(entries, order)
  assert (shares.shape, step) == ((167, 167), 3)
  # Rows: classes 499, 0, 1 | 2, 3, 4 | 5, 6, 7 | ...
  assert shares[0, 0] == pytest.approx((75 + 100) / 3)
  assert shares[0, 2] == pytest.approx(25 / 3)
  assert shares[2, 2] == pytest.approx(100 / 3)
  assert shares.sum() == pytest.approx(300 / 3)


@pytest.mark.parametrize("number", [1, 2, 30])
def test_any_number_of_classes_can_be_drawn(tmp_path, number):
  run = make_run(
    tmp_path,
    counts=[7 * c + 1 for c in range(number)],
    names=[f"class {c}" for c in range(number)],
    confusion=np.eye(number, dtype=int),
    rows=(),
    examples=1,
  )
  axes = class_figures.class_counts(run).figure.axes[0]
  assert _heights(axes) == [7 * c + 1 for c in range(number)][::-1]
  assert recall_figure.class_accuracies(run).svg
  assert class_figures.confusion(run).svg


def test_names_of_any_script_and_of_formulas_are_drawn_without_a_warning(
  tmp_path,
):
  names = ("大熊猫", "🦊 fox", r"$\frac{a$", "a\x00b" + "x" * 60)
  run = make_run(tmp_path, names=names, rows=(), examples=0)
  drawn = figures.Drawings(run).all()
  files = figures.write_figures(drawn, tmp_path / "figures")
  svg = files["class_counts"][1].read_text()
  assert all(name in svg for name in ("大熊猫", "🦊 fox", r"$\frac{a$"))
  assert "\x00" not in svg


def test_percent_axis_is_as_high_as_it_must_be():
  _, axes = charts.new_chart("")
  for values, high in (([12.0, math.nan], 50), ([50.1], 75), ([76.0], 100)):
    charts.percent_axis(axes, values)
    assert axes.get_yticks()[-1] == high
  charts.percent_axis(axes, [])
  assert axes.get_yticks()[-1] == 50


@pytest.mark.parametrize(
  "places, moved",
  [
    ([0.05, 0.06, 0.5], [0.05, 0.15, 0.5]),
    ([0.95, 0.96], [0.9, 1.0]),
    ([], []),
  ],
)
def test_spread_moves_labels_apart_and_keeps_them_inside(places, moved):
  np.testing.assert_allclose(charts.spread_apart(places, gap=0.1), moved)


def test_figures_are_written_twice_with_the_same_bytes(tmp_path):
  for name in ("one", "two"):
    figure, axes = style.new_figure(3, 2, columns=2)
    axes[0, 1].plot([1, 2], color=_color("few"))
    files = style.save(figure, tmp_path / "figures" / name)
    assert [path.name for path in files] == [f"{name}.png", f"{name}.svg"]
  for suffix in ("png", "svg"):
    first, second = sorted((tmp_path / "figures").glob(f"*.{suffix}"))
    assert first.read_bytes() == second.read_bytes()


def test_colours_of_the_palette_differ_and_groups_differ_in_lightness():
  lights = [light for light, _ in style.PALETTE.values()]
  assert len(set(lights)) == len(lights)

  def lightness(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722], np.power(channels, 2.2)) ** 0.45

  values = sorted(lightness(s["color"]) for s in style.GROUP_STYLE.values())
  assert np.diff(values).min() > 0.08


@pytest.mark.parametrize(
  "name, short",
  [
    ("great white shark, white shark, man-eater", "great white shark"),
    ("electrical_transformer_substation", "electric…bstation"),
    ("Staffordshire bullterrier", "Stafford…lterrier"),
    ("7", "7"),
    ("", ""),
  ],
)
def test_class_names_are_cut_in_the_middle(name, short):
  assert style.short_names([name], 17) == [short]


def test_synonyms_are_shown_where_the_first_names_are_the_same():
  names = ["crane, bird", "crane, machine", "egret, bird"]
  assert style.short_names(names, 17) == [*names[:2], "egret"]


def test_names_of_several_lines_are_shown_in_one():
  assert style.short_names(["a\nb", "c\x1b"], 17) == ["a b", "c?"]
