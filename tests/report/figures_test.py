import numpy as np
import pytest
from matplotlib.colors import to_hex

from blt_jax.report import command, figures, style
from blt_jax.workdir import records
from tests.report_runs import CONFUSION, ROWS, make_run


def test_every_figure_of_a_finished_run_is_written(tmp_path):
  make_run(tmp_path)
  command.write_report([tmp_path], tmp_path)
  names = {path.name for path in (tmp_path / "figures").iterdir()}
  assert names == {
    f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "svg")
  }


def test_several_runs_have_a_report_but_no_figures(tmp_path):
  paths = [make_run(tmp_path / name).workdir for name in "ab"]
  command.write_report(paths, tmp_path / "both")
  assert [path.name for path in (tmp_path / "both").iterdir()] == [command.FILE]


def test_a_run_that_is_not_finished_has_the_figures_of_what_it_knows(tmp_path):
  run = make_run(tmp_path, finished=False)
  assert set(figures.write_figures(run, tmp_path / "figures")) == {
    "class_counts",
    "accuracy",
  }
  nothing = make_run(tmp_path / "new", finished=False, recorded=False, rows=())
  assert figures.write_figures(nothing, tmp_path / "none") == {}
  assert not (tmp_path / "none").exists()


def test_classes_stand_by_size_in_the_colours_of_their_groups(tmp_path):
  order, counts = [2, 0, 3, 1], (60, 5, 120, 5)
  confusion = np.array(CONFUSION)[np.argsort(order)][:, np.argsort(order)]
  run = make_run(
    tmp_path,
    counts=counts,
    names=("bee", "cat", "ant", "dog"),
    confusion=[confusion[i] for i in range(4)],
  )
  drawn = figures.class_counts(run).axes[0]
  steps = {patch.get_label(): patch for patch in drawn.patches}
  assert set(steps) == {"many (1)", "medium (1)", "few (2)"}
  few = steps["few (2)"]
  assert few.get_data().values.tolist() == [5, 5]
  assert few.get_data().edges.tolist() == [1.5, 2.5, 3.5]
  assert to_hex(few.get_facecolor()) == style.GROUP_STYLE["few"]["color"]
  assert [text.get_text() for text in drawn.get_xticklabels()] == [
    "ant",
    "bee",
    "cat",
    "dog",
  ]
  assert drawn.get_yscale() == "log"


def test_accuracies_are_those_of_the_test_confusion(tmp_path):
  figure = figures.class_accuracies(make_run(tmp_path))
  drawn = [patch.get_data().values.tolist() for patch in figure.axes[0].patches]
  assert drawn == [[90.0], [80.0], [50.0, 0.0]]


def test_confusion_is_in_percent_of_the_true_class(tmp_path):
  axes, bar = figures.confusion(make_run(tmp_path)).axes
  shown = axes.images[0].get_array()
  np.testing.assert_allclose(shown, 10.0 * np.array(CONFUSION))
  assert axes.get_ylabel() == "class, the largest first"
  assert bar.get_ylabel() == "images of the class (percent)"
  assert axes.get_yticklabels()[0].get_text() == "ant"
  # Lines after the only many-shot class and the only medium-shot one.
  places = sorted({line.get_ydata()[0] for line in axes.lines} - {0, 1})
  assert places == pytest.approx([0.5, 1.5])


def test_accuracy_has_a_line_a_group_and_stage(tmp_path):
  figure = figures.accuracy(make_run(tmp_path))
  lines = figure.axes[0].lines
  overall = [line for line in lines if line.get_label() == "overall"]
  assert [line.get_ydata().tolist() for line in overall] == [
    [40.0, 50.0],
    [60.0, 60.0, 55.0],
  ]
  assert [line.get_xdata().tolist() for line in overall] == [[0, 1], [2, 3, 4]]
  texts = [text.get_text() for text in figure.legends[0].get_texts()]
  assert texts == ["overall", "many", "medium", "few"]
  assert len(lines) == 4 * 2 + 1
  assert len(ROWS) == 5


def test_accuracy_has_no_line_of_a_group_without_classes(tmp_path):
  rows = [{**row, "val_many": float("nan")} for row in ROWS]
  figure = figures.accuracy(make_run(tmp_path, rows=rows))
  texts = [text.get_text() for text in figure.legends[0].get_texts()]
  assert texts == ["overall", "medium", "few"]
  assert len(figure.axes[0].lines) == 3 * 2 + 1


def test_thousands_of_classes_are_still_three_shapes(tmp_path):
  counts = np.arange(3000, 0, -1)
  confusion = np.eye(3000, dtype=np.int64)
  run = make_run(
    tmp_path,
    counts=counts.tolist(),
    confusion=confusion,
    rows=ROWS[:1],
    names=[f"class {i}" for i in range(3000)],
  )
  files = figures.write_figures(run, tmp_path / "figures")
  assert len(figures.class_counts(run).axes[0].patches) == 3
  assert files["confusion"][1].stat().st_size < 3_000_000


def test_neighbouring_classes_share_a_cell_where_there_are_thousands():
  num_classes = 2500
  order = np.roll(np.arange(num_classes), 1)  # The last class comes first.
  true = np.array([2499, 2499, 0, 5])
  predicted = np.array([2499, 7, 1, 5])
  entries = records.Confusion(true, predicted, np.array([3, 1, 4, 2]), 2500)
  shares, step = figures.shares_by_size(entries, order)
  assert (shares.shape, step) == ((834, 834), 3)
  # Rows: classes 2499, 0, 1 | 2, 3, 4 | 5, 6, 7 | ...
  assert shares[0, 0] == pytest.approx((75 + 100) / 3)
  assert shares[0, 2] == pytest.approx(25 / 3)
  assert shares[2, 2] == pytest.approx(100 / 3)
  assert shares.sum() == pytest.approx(300 / 3)
