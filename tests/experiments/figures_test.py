import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from matplotlib.container import BarContainer
from PIL import Image

from blt_jax.experiments import catalog, flops
from blt_jax.experiments.figures import flops as figure_flops
from blt_jax.experiments.figures.kinds import FIGURES
from blt_jax.models import create_model
from blt_jax.report import examples_figure, record, style
from blt_jax.report.record import read_run
from blt_jax.workdir import files, records
from configs import digits_lt
from tests.rows import make_row

COUNTS = (120, 60, 40, 20, 10, 5)
NAMES = ("zero", "one", "two", "three", "four", "five")
# Images of each true class (rows of 10) that were predicted as each class.
TEST = np.array(
  [
    [10, 0, 0, 0, 0, 0],
    [1, 9, 0, 0, 0, 0],
    [0, 2, 8, 0, 0, 0],
    [3, 1, 0, 6, 0, 0],
    [2, 2, 1, 0, 5, 0],
    [4, 0, 0, 3, 1, 2],
  ]
)
# The same after training with perturbed images: the tail is better.
BETTER = np.array(
  [
    [9, 1, 0, 0, 0, 0],
    [1, 9, 0, 0, 0, 0],
    [0, 2, 8, 0, 0, 0],
    [1, 1, 0, 8, 0, 0],
    [1, 2, 0, 0, 7, 0],
    [2, 0, 0, 2, 0, 6],
  ]
)


def write_run(
  folder,
  *,
  arg="method=blt",
  test=TEST,
  counts=COUNTS,
  names=NAMES,
  accuracies=None,
  stages=(),
  examples=None,
  seconds=(3.0, 2.0, 2.0),
  fields=(),
):
  """Writes the work directory of a run; returns its record."""
  config = digits_lt.get_config(arg)
  config.update_from_flattened_dict(dict(fields))
  (folder / "confusion").mkdir(parents=True)
  files.write_json(folder / "config.json", config.to_dict())
  summary = accuracies or {"overall": 80.0, "many": 95.0, "medium": 85.0}
  results = {
    "method": config.method,
    "dataset": "digits_lt",
    "seed": config.seed,
    "class_counts": [int(count) for count in counts],
    "class_names": list(names),
    "last": {"test": {"few": 60.0, **summary}},
  }
  files.write_json(folder / "results.json", results)
  steps = sum(counts) // config.stage2.batch_size
  rows = [
    make_row(2, epoch, epoch * steps, seconds=taken)
    for epoch, taken in enumerate(seconds, start=1)
  ]
  records.write_metrics(folder, rows)
  if test is not None:
    _write_confusion(folder, "test-last", test)
  for stage, epoch, matrix in stages:
    _write_confusion(folder, f"stage{stage}-epoch{epoch:03}", matrix)
  if examples:
    np.savez(folder / "perturbed.npz", **examples)
  return read_run(folder)


def _write_confusion(folder, name, matrix):
  true, predicted = np.nonzero(matrix)
  np.savez(
    folder / "confusion" / f"{name}.npz",
    true=true.astype(np.int32),
    predicted=predicted.astype(np.int32),
    count=np.asarray(matrix)[true, predicted].astype(np.int32),
    num_classes=len(matrix),
  )


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """Two seeds without perturbation and two with it."""
  folder = tmp_path_factory.mktemp("pair")
  after1, after2 = TEST.copy(), BETTER.copy()
  stages = {
    "neither": [(1, 1, TEST), (2, 1, after1), (2, 2, after1)],
    "blt": [(1, 1, TEST), (2, 1, after1), (2, 2, after2)],
  }
  tests = {"neither": TEST, "blt": BETTER}
  return {
    method: [
      write_run(
        folder / f"{method}-{seed}",
        arg=f"method={method},seed={seed}",
        test=tests[method],
        stages=stages[method],
        examples=_examples(),
      )
      for seed in (0, 1)
    ]
    for method in ("neither", "blt")
  }


def _examples(number=10, size=4):
  shape = (number, size, size, 3)
  original = np.linspace(0, 1, np.prod(shape)).reshape(shape)
  perturbed = original.copy()
  perturbed[:, 0, 0] += 0.04
  return {
    "original": original.astype(np.float32),
    "perturbed": perturbed.astype(np.float32),
    "label": np.arange(number, dtype=np.int32) % 3 + 3,
    "target": np.arange(number, dtype=np.int32) % 3,
    "confidence": np.full(number, 0.2, np.float32),
    "before": np.full(number, 0.01, np.float32),
    "after": np.full(number, 0.25, np.float32),
    "num_updates": np.arange(number, dtype=np.int32),
    "reached": np.arange(number) < 9,
  }


def _accuracy_runs(folder, settings, *, seeds=2):
  """Runs whose accuracies are `value` and, in the next seed, 2 more."""
  return {
    label: [
      write_run(
        folder / f"{label}-{seed}",
        arg=f"{arg},seed={seed}",
        accuracies={
          "many": value + 2 * seed,
          "medium": value - 10.0,
          "few": value - 20.0,
          "overall": value - 12.0,
        },
      )
      for seed in range(seeds)
    ]
    for label, (arg, value) in settings.items()
  }


ALPHAS = {
  "15": ("method=blt,alpha=15", 60.0),
  "20": ("method=blt,alpha=20", 62.0),
  "25": ("method=blt,alpha=25", 58.0),
}
PAPER = {
  "15": {"many": 39.3, "medium": 33.0, "few": 27.7, "overall": 34.7},
  "25": {"many": 43.6, "medium": 33.8, "few": 24.9, "overall": 36.2},
}


def _texts(figure):
  """Everything that a figure says, titles, ticks, legends and caption."""
  texts = [
    text.get_text() for legend in figure.legends for text in legend.texts
  ]
  texts.append(figure.get_supxlabel())
  for axes in figure.axes:
    texts += [axes.get_title("left"), axes.get_title(), axes.get_xlabel()]
    texts += [axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    texts += [label.get_text() for label in axes.get_xticklabels()]
  return "\n".join(texts)


def test_every_kind_of_figure_of_the_catalogue_can_be_drawn():
  kinds = {e.figure for e in catalog.EXPERIMENTS.values() if e.figure}
  assert kinds <= set(FIGURES)


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_saved_and_leave_the_global_look_alone(
  kind, pair, tmp_path
):
  before = dict(matplotlib.rcParams)
  figure = FIGURES[kind](pair, {})
  style.save(figure, tmp_path / kind)
  with Image.open(tmp_path / f"{kind}.png") as image:
    assert image.width == pytest.approx(150 * figure.get_figwidth(), abs=1)
    assert np.ptp(np.asarray(image.convert("L"))) > 200  # Ink on white.
  said = " ".join(ET.parse(tmp_path / f"{kind}.svg").getroot().itertext())
  assert "digits_lt" in said
  assert dict(matplotlib.rcParams) == before
  width, height = figure.get_size_inches()
  assert 3 < width < 13
  assert 3 < height < 12


def test_images_are_those_of_the_first_run_with_perturbation(pair):
  figure = FIGURES["images"](pair, {})
  examples = pair["blt"][0].examples
  first = [axes.images[0].get_array() for axes in figure.axes[:3]]
  expected = np.rint(255 * examples.original[0])
  np.testing.assert_array_equal(first[0], expected)
  assert len(figure.axes) == 4 * 10
  assert "blt" in figure.texts[0].get_text()


def test_large_images_are_made_smaller(tmp_path):
  examples = _examples(number=1, size=300)
  run = write_run(tmp_path / "run", examples=examples)
  figure = FIGURES["images"]({"blt": [run]}, {})
  assert figure.axes[0].images[0].get_array().shape == (128, 128, 3)


def test_examples_are_spread_over_classes():
  examples = records.Examples(**_examples())
  labels = examples.label[examples_figure.choose(examples, 3)]
  assert sorted(labels) == [3, 4, 5]


def test_confused_classes_are_white_without_and_with(pair):
  figure = FIGURES["confused_classes"](pair, {})
  *pictures, lines = figure.axes
  titles = [axes.get_title("left") for axes in pictures]
  # Four (10 images) is confused with 3 classes at first, five with 3.
  assert titles == ["four: neither", "four: blt", "five: neither", "five: blt"]
  assert pictures[0].images[0].get_array().tolist() == [[1, 1, 1, 0, 0, 0]] * 3
  assert pictures[1].images[0].get_array().tolist() == [
    [1, 1, 1, 0, 0, 0],
    [1, 1, 1, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
  ]
  white = pictures[0].images[0].get_cmap()(1.0)
  assert white == (1, 1, 1, 1)
  neither, blt = lines.lines[:2]
  # Three, four and five: 2, 3 and 3 classes; with perturbation 2, 2 and 2.
  np.testing.assert_allclose(neither.get_ydata(), [8 / 3] * 3)
  np.testing.assert_allclose(blt.get_ydata(), [8 / 3, 8 / 3, 2])
  assert "most classes after the first" in figure.get_supxlabel().replace(
    "\n", " "
  )


def test_epochs_that_a_run_lacks_are_neither_black_nor_white(tmp_path):
  runs = {
    "neither": [
      write_run(tmp_path / "n", arg="method=neither", stages=[(2, 1, TEST)])
    ],
    "blt": [
      write_run(tmp_path / "b", stages=[(2, 1, TEST), (2, 2, TEST)]),
    ],
  }
  figure = FIGURES["confused_classes"](runs, {})
  picture = figure.axes[0].images[0].get_array()
  assert np.ma.getmaskarray(picture)[1].all() or np.isnan(picture[1]).all()
  assert figure.axes[-1].lines[0].get_ydata().tolist() == [8 / 3]


def test_many_classes_stand_one_below_the_other(tmp_path):
  num_classes = 1200
  counts = np.full(num_classes, 30)
  counts[-2:] = 5
  matrix = np.zeros((num_classes, num_classes), np.int64)
  matrix[-1, [0, 1, 7]] = 1
  runs = {
    method: [
      write_run(
        tmp_path / method,
        arg=f"method={method}",
        counts=counts,
        names=["a class, with synonyms"] * num_classes,
        stages=[(2, 1, matrix)],
      )
    ]
    for method in ("neither", "blt")
  }
  figure = FIGURES["confused_classes"](runs, {})
  picture = figure.axes[0].images[0].get_array()
  # Two classes a column: 0 and 1 share the first.
  assert picture.shape == (1, 600)
  assert np.flatnonzero(picture[0]).tolist() == [0, 3]
  assert figure.axes[0].get_xlabel() == "class number (2 a column)"
  assert len({axes.get_position().x0 for axes in figure.axes[:4]}) == 1


def test_one_seed_has_no_whiskers_and_no_paper_no_marks(tmp_path):
  results = _accuracy_runs(tmp_path, ALPHAS, seeds=1)
  figure = FIGURES["accuracy"](results, {})
  (axes,) = figure.axes
  assert not any(container.errorbar for container in axes.containers)
  assert "paper" not in _texts(figure)
  assert "one seed" in figure.get_supxlabel()


def test_labels_of_two_parts_make_a_row_for_each_first_part(tmp_path):
  settings = {
    f"{rate} rate, batch {batch}": (f"method=blt,batch={batch},lr={rate}", 50.0)
    for rate in ("base", "small")
    for batch in (64, 32)
  }
  results = _accuracy_runs(tmp_path, settings, seeds=1)
  figure = FIGURES["accuracy"](results, {})
  titles = [axes.get_title("left") for axes in figure.axes]
  assert titles == ["base rate", "small rate"]
  assert figure.axes[0].get_xlabel() == "batch size (images)"
  ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
  assert ticks == ["64", "32"]


def test_bars_are_means_with_the_papers_marks(tmp_path):
  results = _accuracy_runs(tmp_path, ALPHAS)
  figure = FIGURES["accuracy"](results, PAPER)
  (axes,) = figure.axes
  assert len(axes.patches) == 3 * 4
  heights = [patch.get_height() for patch in axes.patches[:3]]
  assert heights == [61, 63, 59]
  marks = [line for line in axes.lines if line.get_marker() == "D"]
  np.testing.assert_array_equal(marks[0].get_ydata(), [39.3, np.nan, 43.6])
  assert "paper" in _texts(figure)
  assert axes.get_xlabel() == "alpha, scale of the classifier"
  # Deviation of 61 and 63 around their mean.
  bars = next(c for c in axes.containers if isinstance(c, BarContainer))
  segments = bars.errorbar.lines[2][0].get_segments()
  assert np.ptp(segments[0][:, 1]) == pytest.approx(2 * np.sqrt(2))


def test_groups_without_classes_are_left_out(tmp_path):
  summary = {"overall": 80.0, "many": None, "medium": 85.0, "few": None}
  run = write_run(tmp_path / "run", accuracies=summary)
  figure = FIGURES["accuracy"]({"blt": [run]}, {})
  labels = [text.get_text() for text in figure.legends[0].texts]
  assert labels == ["medium", "overall"]


def test_gain_is_the_difference_in_order_of_size(tmp_path):
  order = np.array([5, 4, 3, 2, 1, 0])
  runs = {
    method: [
      write_run(
        tmp_path / method,
        arg=f"method={method}",
        counts=np.array(COUNTS)[order],
        names=np.array(NAMES)[order].tolist(),
        test=matrix[order][:, order],
      )
    ]
    for method, matrix in (("neither", TEST), ("blt", BETTER))
  }
  figure = FIGURES["per_class_gain"](runs, {})
  (axes,) = figure.axes
  heights = [patch.get_height() for patch in axes.patches]
  np.testing.assert_allclose(heights, [-10, 0, 0, 20, 20, 40])
  ticks = [label.get_text() for label in axes.get_xticklabels()]
  assert ticks[0] == "zero\n(120)"
  assert ticks[5] == "five\n(5)"
  assert axes.get_ylabel().startswith("blt − neither")
  labels = [text.get_text() for text in figure.legends[0].texts]
  assert labels == ["many: mean -10.0", "medium: mean +0.0", "few: mean +26.7"]


def test_gain_of_different_seeds_is_that_of_their_means(pair):
  results = {"neither": pair["neither"], "blt": pair["blt"][:1]}
  (axes,) = FIGURES["per_class_gain"](results, {}).axes
  heights = [patch.get_height() for patch in axes.patches]
  np.testing.assert_allclose(heights, [-10, 0, 0, 20, 20, 40])


def test_gain_needs_two_settings_of_the_same_classes(pair, tmp_path):
  with pytest.raises(ValueError, match="the only setting is blt"):
    FIGURES["per_class_gain"]({"blt": pair["blt"]}, {})
  fewer = write_run(tmp_path / "fewer", arg="method=neither", test=TEST[:3, :3])
  with pytest.raises(ValueError, match="fewer differ in classes: 3 and 6"):
    FIGURES["per_class_gain"]({"neither": [fewer], "blt": pair["blt"]}, {})


def test_rank_curve_is_the_mean_over_tail_classes(pair):
  figure = FIGURES["confusion_rank"](pair, {})
  (axes,) = figure.axes
  neither, blt = axes.lines
  # Three: 3 and 1 of 10; four: 2, 2 and 1; five: 4, 3 and 1.
  assert neither.get_xdata().tolist() == [1, 2, 3]
  np.testing.assert_allclose(neither.get_ydata(), [30, 20, 20 / 3])
  # With perturbation 1 and 1; 2 and 1; 2 and 2; no third class.
  assert blt.get_xdata().tolist() == [1, 2]
  np.testing.assert_allclose(blt.get_ydata(), [50 / 3, 40 / 3])
  assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_without_any_confusion_there_is_no_point(tmp_path):
  run = write_run(tmp_path / "run", test=10 * np.eye(6, dtype=np.int64))
  figure = FIGURES["confusion_rank"]({"blt": [run]}, {})
  assert not len(figure.axes[0].lines[0].get_xdata())
  assert style.save(figure, tmp_path / "rank")


def test_flops_are_those_of_the_network_and_the_image_size(tmp_path):
  results = _accuracy_runs(
    tmp_path,
    {
      f"{method}, small_resnet10": (f"method={method}", value)
      for method, value in (("sampling", 50.0), ("blt", 60.0))
    },
  )
  figure = FIGURES["flops"](results, {})
  overall, few = figure.axes
  points = [c.lines[0] for c in overall.containers]
  model = create_model("small_resnet10", len(COUNTS), classifier="linear")
  expected = flops.forward(model, 16) / 1e6
  assert points[0].get_xdata()[0] == pytest.approx(expected)
  assert [float(p.get_ydata()[0]) for p in points] == [38, 48]
  assert few.get_xlabel() == "MFLOPs an image"
  labels = [text.get_text() for text in figure.legends[0].texts]
  assert labels == ["method:", "sampling", "blt", "backbone:", "small_resnet10"]


def test_the_papers_accuracy_stands_at_its_own_flops(tmp_path, monkeypatch):
  counted = []

  def gigaflops(backbone, num_classes, image_size, **_):
    counted.append((backbone, num_classes, image_size))
    return 1.0

  monkeypatch.setattr(figure_flops, "gigaflops", gigaflops)
  results = _accuracy_runs(tmp_path, {"blt, resnet18": ("method=blt", 60.0)})
  paper = {"blt, resnet18": {"overall": 39.2, "few": 26.1}}
  figure = FIGURES["flops"](results, paper)
  assert counted[1] == ("resnet18", 1000, 224)
  titles = [axes.get_title("left") for axes in figure.axes]
  assert titles[2:] == ["paper, 224 px: overall", "paper, 224 px: few"]


MISSING = {
  "images": "perturbed.npz",
  "confused_classes": r"confusion/stage2-epoch\*.npz",
  "accuracy": "results.json",
  "per_class_gain": "confusion/test-last.npz",
  "flops": "results.json",
  "confusion_rank": "confusion/test-last.npz",
}


@pytest.mark.parametrize("kind", FIGURES)
def test_what_a_run_lacks_is_named(kind, pair, tmp_path):
  lacking = write_run(tmp_path / "lacking", test=None, seconds=(1.0,))
  (lacking.workdir / "metrics.csv").unlink()
  if MISSING[kind] == "results.json":
    (lacking.workdir / "results.json").unlink()
  lacking = record.read_run(lacking.workdir)
  results = {"neither": pair["neither"], "blt": [lacking]}
  with pytest.raises(ValueError, match=f"lacking lacks {MISSING[kind]}"):
    FIGURES[kind](results, {})


def test_a_comparison_needs_a_setting_without_perturbation(pair):
  match = "none of the settings blt is without perturbation"
  with pytest.raises(ValueError, match=match):
    FIGURES["confused_classes"]({"blt": pair["blt"]}, {})


def test_images_need_a_setting_with_perturbation(pair):
  with pytest.raises(ValueError, match="neither is with perturbation"):
    FIGURES["images"]({"neither": pair["neither"]}, {})


def test_a_data_set_without_a_tail_is_named(tmp_path):
  runs = {
    method: [
      write_run(
        tmp_path / method,
        arg=f"method={method}",
        counts=[50] * 6,
        stages=[(2, 1, TEST)],
      )
    ]
    for method in ("neither", "blt")
  }
  for kind in ("confused_classes", "confusion_rank"):
    with pytest.raises(ValueError, match="lacks classes with at most 20"):
      FIGURES[kind](runs, {})
