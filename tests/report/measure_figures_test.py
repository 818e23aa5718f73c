"""What the charts of recall and of confidence draw."""

import types

import numpy as np
import pytest
from matplotlib.colors import to_hex

from blt_jax.method import metrics
from blt_jax.report import confidence_figures, recall_figure, style
from blt_jax.workdir.records import Predictions
from tests.report_runs import make_run


def _texts(axes):
  return [text.get_text() for text in axes.texts]


def _color(group):
  return style.GROUP_STYLE[group]["color"]


def _dots(axes):
  """Training images and recall of every dot."""
  return [
    pytest.approx(tuple(dot))
    for part in axes.patches
    for dot in part.get_path().vertices[::2]
  ]


def test_recalls_stand_at_the_training_images_in_the_colours_of_groups(run):
  drawn = recall_figure.class_accuracies(run)
  axes = drawn.figure.axes[0]
  assert axes.get_xscale() == "log"
  # Two classes have 5 images, "cat" and "dog".
  assert _dots(axes) == [(120, 90), (60, 80), (5, 0), (5, 50)]
  colors = [to_hex(part.get_edgecolor()) for part in axes.patches]
  assert colors == [_color(group) for group in ("many", "medium", "few")]
  assert {"ant", "bee", "cat", "dog", "few · 2"} <= set(_texts(axes))
  assert drawn.description == (
    "Means of the groups in percent: many 90.0, medium 80.0, few 25.0."
  )


def test_class_without_test_images_has_no_dot_and_is_counted(tmp_path):
  confusion = ((9, 1, 0, 0), (2, 8, 0, 0), (0, 0, 5, 5), (0, 0, 0, 0))
  run = make_run(tmp_path, confusion=confusion)
  drawn = recall_figure.class_accuracies(run)
  assert len(_dots(drawn.figure.axes[0])) == 3
  assert "few 50.0. 1 class has no test images" in drawn.description


def test_classes_of_equal_size_and_recall_share_a_larger_dot(tmp_path):
  number = 40
  run = make_run(
    tmp_path,
    counts=[30] * 4 + [10] * (number - 4),
    names=[f"class {c}" for c in range(number)],
    confusion=np.eye(number, dtype=int),
    rows=(),
    examples=0,
  )
  axes = recall_figure.class_accuracies(run).figure.axes[0]
  assert _dots(axes) == [(30, 100), (10, 100)]
  medium, few = (part.get_linewidth() for part in axes.patches)
  assert few**2 == pytest.approx(4 * medium**2)
  # Four classes at one place, of which none stands out.
  assert not [text for text in _texts(axes) if text.startswith("class")]


@pytest.mark.parametrize("number", [20, 700])
def test_every_dot_is_in_the_picture(tmp_path, number):
  classes = np.arange(number)
  confusion = np.diag(classes % 50)
  confusion[classes, (classes + 1) % number] += 50 - classes % 50
  run = make_run(
    tmp_path,
    counts=[21 + c // 10 for c in range(number)],  # Medium: green.
    names=[f"class {c}" for c in range(number)],
    confusion=confusion,
    rows=(),
    examples=0,
  )
  figure = recall_figure.class_accuracies(run).figure
  for line in list(figure.axes[0].lines):
    line.remove()  # It passes over some.
  figure.canvas.draw()
  pixels = np.asarray(figure.canvas.buffer_rgba()).astype(int)[..., :3]
  places = np.stack([run.class_counts, run.class_accuracies()], axis=1)
  at = figure.axes[0].transData.transform(places).astype(int)
  shown = pixels[len(pixels) - 1 - at[:, 1], at[:, 0]]
  assert np.all(np.ptp(shown, axis=1) > 20)


def test_names_do_not_hide_one_another_or_a_dot():
  dots = np.array([[1.0, 1.0], [1.5, 1.0]])
  beside, left, above, _ = (
    box for _, box in recall_figure._boxes(dots[0], 0.7)
  )
  free = recall_figure._is_free
  assert not free(beside, dots[1:], [])
  assert free(left, dots[1:], [])
  assert not free(left, dots[1:], [np.array([0.5, 0.9, 0.6, 1.1])])
  assert not free(left - [0.9, 0, 0.9, 0], dots[1:], [])  # Outside.
  assert above[1] > 1.0


def test_reliability_draws_the_bins_before_and_after(run):
  drawn = confidence_figures.reliability(run)
  axes, below = drawn.figure.axes
  found = run.predictions("test-best")
  lines = {line.get_label(): line for line in axes.lines}
  values = {
    "before": found.confidence,
    "after temperature scaling": found.calibrated_confidence,
  }
  for name, confidence in values.items():
    bins = metrics.reliability(confidence, found.correct)
    known = bins.count > 0
    drawn_at = lines[name].get_xydata()
    np.testing.assert_allclose(drawn_at[:, 0], 100 * bins.confidence[known])
    np.testing.assert_allclose(drawn_at[:, 1], 100 * bins.accuracy[known])
  assert sum(bar.get_height() + 0.5 for bar in below.patches) == 2 * len(found)
  error = metrics.calibration_error(found.confidence, found.correct)
  assert f"40 test images in 15 bins; calibration error before {error:.3f}" in (
    drawn.description
  )


def test_precision_is_drawn_up_to_all_answers_of_each_group(run):
  drawn = confidence_figures.coverage(run)
  axes = drawn.figure.axes[0]
  lines = {line.get_label(): line.get_xydata() for line in axes.lines}
  # 18 images are taken for "ant", 9 of them rightly, and so on.
  assert lines["many"][-1] == pytest.approx((100, 50))
  assert lines["few"][-1] == pytest.approx((100, 100))
  assert lines["overall"][-1] == pytest.approx((100, 55))
  # The line begins where ten answers are kept.
  assert lines["overall"][0, 0] == pytest.approx(25)
  assert "many 50.0, medium 47.1, few 100.0" in drawn.description.replace(
    "overall 55.0, ", ""
  )


@pytest.mark.parametrize("is_cautious", [True, False])
def test_legend_of_reliability_hides_no_line(is_cautious):
  """Cautious networks are right more often than they say, others less."""
  confidence = np.repeat(np.linspace(0.05, 0.95, 10), 20)
  shares = confidence**0.2 if is_cautious else confidence**5
  number = len(confidence)
  found = Predictions(
    row=np.arange(number),
    label=np.zeros(number, int),
    prediction=(np.tile(np.arange(20) / 20, 10) >= shares).astype(int),
    in_top5=np.ones(number, bool),
    confidence=confidence,
    log_likelihood=np.log(confidence),
    calibrated_confidence=confidence,
    calibrated_log_likelihood=np.log(confidence),
  )
  run = types.SimpleNamespace(predictions=lambda split: found)
  drawn = confidence_figures.reliability(run)
  axes = drawn.figure.axes[0]
  drawn.figure.draw_without_rendering()
  box = axes.get_legend().get_window_extent()
  for line in axes.lines[1:]:
    path = line.get_path().transformed(line.get_transform())
    assert not path.intersects_bbox(box)


def test_axis_of_precision_begins_where_the_lines_do(tmp_path, run):
  right = 49 * np.eye(4, dtype=int) + np.roll(np.eye(4, dtype=int), 1, axis=1)
  sure = make_run(tmp_path, confusion=right, rows=(), examples=0)
  for each, ticks in ((sure, [90, 95, 100]), (run, [25, 50, 75, 90, 100])):
    axes = confidence_figures.coverage(each).figure.axes[0]
    assert axes.get_yticks().tolist() == ticks
    low, high = axes.get_ylim()
    for line in axes.lines:
      assert low <= line.get_ydata().min() <= line.get_ydata().max() <= high
