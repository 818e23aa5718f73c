"""What runs found, with intervals, from work directories made by hand."""

import math

import numpy as np
import pytest

from blt_jax.experiments import compare_page
from blt_jax.experiments import outcomes as outcomes_module
from blt_jax.experiments.compare import choose
from blt_jax.experiments.compare_tables import Found
from blt_jax.experiments.comparison import make_comparison
from blt_jax.experiments.outcomes import read_outcomes
from blt_jax.experiments.train_runs import Failure
from blt_jax.method import metrics
from blt_jax.workdir import directory, files, records
from blt_jax.workdir.records import Predictions
from tests.rows import make_row

COUNTS = [200, 60, 10, 4]
LABELS = np.repeat(np.arange(4), 25)


def _predictions(right, rows=None):
  labels = LABELS[: len(right)]
  half = np.full(len(right), 0.5, np.float32)
  return Predictions(
    row=np.arange(len(right), dtype=np.int32) if rows is None else rows,
    label=labels.astype(np.int32),
    prediction=np.where(right, labels, (labels + 1) % 4).astype(np.int32),
    in_top5=np.ones(len(right), bool),
    confidence=half,
    log_likelihood=half,
    calibrated_confidence=half,
    calibrated_log_likelihood=half,
  )


def _finish(run, validation, test, *, seconds=8.0):
  """Writes a finished run that has some images right, bool [n]."""
  directory.claim(run.workdir, run.config)
  best = {"stage": 2, "epoch": 1}
  for split, right in (("validation", validation), ("test", test)):
    predictions = _predictions(right)
    records.write_predictions(run.workdir, f"{split}-best", predictions)
    totals = np.bincount(predictions.label, minlength=4)
    correct = np.bincount(predictions.label[predictions.correct], minlength=4)
    best[split] = metrics.group_means(
      metrics.class_accuracies(correct, totals), np.array(COUNTS)
    )
  results = {
    "method": run.config.method,
    "device": "1 x cpu",
    "class_counts": COUNTS,
    "class_names": list("abcd"),
    "best": best,
    "last": best,
  }
  files.write_json(run.workdir / directory.RESULTS, results)
  rows = [make_row(2, 1, 6, seconds=seconds, validation_seconds=2.0)]
  records.write_metrics(run.workdir, rows)


def _answers(share, seed, also=None):
  """Random answers with a share of right ones, those of `also` for certain."""
  right = np.random.default_rng(seed).random(len(LABELS)) < share
  return right if also is None else right | also


def _comparison(output, *, seeds=(0, 1, 2), folds=0, names=("plain", "blt")):
  return make_comparison(
    "configs/digits_lt.py",
    names,
    seeds=seeds,
    folds=folds,
    output=output,
    overrides={"stage2.epochs": 1},
  )


@pytest.fixture
def three_seeds(tmp_path):
  """plain and blt with three seeds; blt has some right that plain has not."""
  comparison = _comparison(tmp_path)
  for number, run in enumerate(comparison.runs):
    is_blt = run.config.method == "blt"
    base = _answers(0.5, run.config.seed)
    right = base | _answers(0.4, 100 + number) if is_blt else base
    _finish(run, right, right, seconds=18.0 if is_blt else 8.0)
  return comparison


def test_mean_over_seeds_and_its_interval(three_seeds):
  outcomes = read_outcomes(three_seeds)
  found = outcomes.accuracy("test", "plain")
  overall = found["overall"]
  assert len(overall.each) == 3
  assert overall.mean == pytest.approx(np.mean(overall.each))
  assert overall.spread == pytest.approx(np.std(overall.each, ddof=1))
  assert found["few"].mean == pytest.approx(np.mean(found["few"].each))
  right = np.stack([_answers(0.5, seed) for seed in range(3)])
  images = metrics.paired_differences(
    right, np.zeros_like(right), LABELS, np.array(COUNTS)
  )["overall"]
  extra = 4.30265273 * overall.spread / math.sqrt(3)  # Student's t, 2 degrees.
  expected = math.hypot(images[0] - images[1], extra)
  assert overall.mean - overall.low == pytest.approx(expected)
  assert overall.high - overall.mean > images[2] - images[0]


def test_group_without_classes_is_unknown_with_several_seeds(
  three_seeds, tmp_path
):
  """Small data: no class has more than 100 images."""
  for run in three_seeds.runs:
    path = run.workdir / directory.RESULTS
    results = files.read_object(path)
    results["class_counts"] = [90, *COUNTS[1:]]
    for split in ("validation", "test"):
      results["best"][split]["many"] = None
    files.write_json(path, results)
  outcomes = read_outcomes(three_seeds)
  for found in (
    outcomes.accuracy("test", "plain")["many"],
    outcomes.difference("test", "blt", "plain")["many"],
  ):
    assert all(map(math.isnan, (found.mean, found.low, found.high)))
    assert math.isnan(found.spread)
  assert outcomes.accuracy("test", "plain")["medium"].spread > 0
  found = Found(three_seeds, outcomes, choose(outcomes), ())
  lines = compare_page.write(found, tmp_path, {})
  assert "many" not in "\n".join(lines)
  assert "nan" not in (tmp_path / "compare.md").read_text()


def test_intervals_hold_nothing_impossible(tmp_path):
  """Two seeds that differ much widen an interval beyond what can be."""
  comparison = _comparison(tmp_path, seeds=(0, 1))
  none, every = np.zeros(100, bool), np.ones(100, bool)
  for run in comparison.runs:
    is_better = run.config.method == "blt" and run.config.seed
    right = every if is_better else none
    _finish(run, right, right)
  outcomes = read_outcomes(comparison)
  for found in (
    outcomes.difference("test", "blt", "plain")["overall"],
    outcomes.difference("test", "plain", "blt")["overall"],
  ):
    assert found.is_noise
    assert (abs(found.mean), found.high - found.low) == (50, 200)
    assert -100 <= found.low < found.high <= 100


def test_fold_without_a_group_has_no_part_in_its_spread():
  widened = outcomes_module._widened(
    50.0, 49.0, 51.0, (40.0, math.nan, 60.0), seeds=1
  )
  reach = 12.70620474 * np.std([40.0, 60.0], ddof=1) / math.sqrt(2)
  assert widened.low == pytest.approx(50 - reach)
  assert widened.high == pytest.approx(50 + reach)
  alone = (50.0, math.nan)
  assert outcomes_module._widened(
    50.0, 49.0, 51.0, alone, seeds=1
  ).low == pytest.approx(49.0)


def test_differences_are_paired(three_seeds):
  outcomes = read_outcomes(three_seeds)
  found = outcomes.difference("test", "blt", "plain")["overall"]
  alone = outcomes.accuracy("test", "blt")["overall"]
  assert found.mean == pytest.approx(np.mean(found.each))
  assert min(found.each) > 0
  assert not found.is_noise
  assert found.high - found.low < alone.high - alone.low
  back = outcomes.difference("test", "plain", "blt")["overall"]
  assert back.mean == pytest.approx(-found.mean)


def test_seconds_are_those_of_all_epochs(three_seeds):
  outcomes = read_outcomes(three_seeds)
  assert (outcomes.seconds("plain"), outcomes.seconds("blt")) == (10.0, 20.0)


def test_folds_are_put_together(tmp_path):
  comparison = _comparison(tmp_path, seeds=(0,), folds=4)
  for run in comparison.runs:
    right = _answers(0.5, run.config.dataset.fold)
    also = _answers(0.3, 7) if run.config.method == "blt" else None
    _finish(run, right, right if also is None else right | also)
  outcomes = read_outcomes(comparison)
  overall = outcomes.accuracy("test", "plain")["overall"]
  right = np.concatenate([_answers(0.5, fold) for fold in (1, 2, 3, 4)])
  assert overall.mean == pytest.approx(100 * right.mean())
  assert len(overall.each) == 4
  pooled = metrics.paired_differences(
    right, np.zeros(400, bool), np.tile(LABELS, 4), np.array(COUNTS)
  )["overall"]
  spread = 3.18244631 * np.std(overall.each, ddof=1) / 2
  assert overall.mean - overall.low == pytest.approx(
    max(pooled[0] - pooled[1], spread)
  )
  assert overall.high - overall.mean == pytest.approx(
    max(pooled[2] - pooled[0], spread)
  )
  assert outcomes.difference("test", "blt", "plain")["overall"].low > 0


def test_only_what_all_methods_have_is_compared(three_seeds):
  (three_seeds.runs[-1].workdir / directory.RESULTS).unlink()
  outcomes = read_outcomes(three_seeds)
  assert [each.seed for each in outcomes.repeats] == [0, 1]
  assert [(n, each.seed) for n, each in outcomes.missing] == [("blt", 2)]
  assert len(outcomes.accuracy("test", "plain")["overall"].each) == 2
  assert choose(outcomes) is not None


def test_nothing_is_chosen_before_a_seed_is_finished_by_all(tmp_path):
  comparison = _comparison(tmp_path)
  assert choose(read_outcomes(comparison)) is None
  _finish(comparison.runs[0], _answers(0.5, 0), _answers(0.5, 0))
  _finish(comparison.runs[3], _answers(0.5, 0), _answers(0.5, 0))
  found = read_outcomes(comparison)
  assert list(found.runs) == ["plain", "blt"]
  assert choose(found) is None
  lines = compare_page.write(Found(comparison, found, None), tmp_path, {})
  assert lines[-1] == str(tmp_path / "compare.md")
  assert lines[:-1] == [
    f"not finished: {name}"
    for name in ("plain,seed=1", "plain,seed=2", "blt,seed=0", "blt,seed=2")
  ]


def test_method_without_any_finished_run_is_left_out(three_seeds, tmp_path):
  comparison = _comparison(tmp_path, names=("plain", "blt", "neither"))
  outcomes = read_outcomes(comparison)
  assert choose(outcomes).chosen == "blt"
  failure = Failure("neither,seed=1", tmp_path / "log.txt", "error: nan")
  lines = compare_page.write(
    Found(comparison, outcomes, choose(outcomes), (failure,)), tmp_path, {}
  )
  assert "not finished: neither,seed=0" in lines
  assert "left out: neither, without a finished run." in lines
  assert f"failed: neither,seed=1: error: nan ({tmp_path}/log.txt)" in lines


def test_other_images_of_a_method_are_refused(three_seeds):
  records.write_predictions(
    three_seeds.runs[-1].workdir, "test-best", _predictions(LABELS[:50] < 9)
  )
  outcomes = read_outcomes(three_seeds)
  # Images that one of the runs could not read are left out of all.
  assert outcomes.accuracy("test", "plain")["few"].mean != 0
  wrong = _predictions(LABELS < 9)
  wrong.label[:] = wrong.label[::-1]
  records.write_predictions(three_seeds.runs[-1].workdir, "test-best", wrong)
  with pytest.raises(ValueError, match="has other test images than"):
    read_outcomes(three_seeds).accuracy("test", "plain")


def test_missing_predictions_are_named(three_seeds):
  path = three_seeds.runs[0].workdir / "predictions/validation-best.npz"
  path.unlink()
  with pytest.raises(ValueError, match="validation-best.npz is missing; expec"):
    choose(read_outcomes(three_seeds))


def test_page_holds_choice_tables_drawing_and_commands(three_seeds, tmp_path):
  outcomes = read_outcomes(three_seeds)
  found = Found(three_seeds, outcomes, choose(outcomes))
  (three_seeds.runs[0].workdir / "log.txt").write_text("note: few images\n")
  lines = compare_page.write(found, tmp_path, {"Command": "`x`"})
  text = (tmp_path / "compare.md").read_text()
  for part in (
    "# 2 methods on digits_lt\n",
    "- Command: `x`",
    "- Repeats: seed 0, seed 1, seed 2",
    "## The choice\n\n- chosen: blt (validation overall ",
    "![Accuracy of each method on the test images](figure.png)",
    "## Accuracy on the test images",
    "| method | validation | overall | many | medium | few | training | ra",
    "## Differences to plain, the simplest",
    "## Run by run",
    "- few images",
    "    python main.py --mode=evaluate --workdir=",
  ):
    assert part in text, part
  assert "| blt | seed 2 |" in text
  assert " 0:00:20 | 2.00 |" in text
  for name in ("compare.csv", "compare.json", "figure.png", "figure.svg"):
    assert (tmp_path / name).stat().st_size > 100
  content = files.read_object(tmp_path / "compare.json")
  assert content["chosen"] == "blt"
  assert content["methods"]["plain"]["difference"]["overall"]["mean"] == 0
  assert content["methods"]["blt"]["training_seconds"] == 20
  rows = (tmp_path / "compare.csv").read_text().splitlines()
  assert len(rows) == 1 + 2 * 6
  assert rows[0].startswith("method,seed,fold,split,overall,many,medium,few")
  assert lines[0].startswith("method  validation  overall")


def test_best_run_of_the_chosen_method_goes_on(three_seeds, tmp_path):
  outcomes = read_outcomes(three_seeds)
  found = Found(three_seeds, outcomes, choose(outcomes))
  accuracies = outcomes.accuracy("validation", "blt")["overall"].each
  best = int(np.argmax(accuracies))
  compare_page.write(found, tmp_path, {})
  commands = files.read_object(tmp_path / "compare.json")["go_on"]
  workdir = f"--workdir={tmp_path}/runs/blt,seed={best}"
  assert [line.split(" ")[2] for line in commands] == [
    *("--mode=evaluate", "--mode=predict", "--mode=export"),
  ]
  assert all(workdir in line for line in commands)


def test_folds_go_on_with_a_training_on_all_images(tmp_path):
  comparison = _comparison(tmp_path, seeds=(0,), folds=2)
  for run in comparison.runs:
    right = _answers(0.5, run.config.dataset.fold)
    _finish(run, right, right)
  outcomes = read_outcomes(comparison)
  found = Found(comparison, outcomes, choose(outcomes))
  compare_page.write(found, tmp_path, {})
  first, second = files.read_object(tmp_path / "compare.json")["go_on"]
  assert "--config=configs/digits_lt.py:method=plain,seed=0" in first
  assert "dataset.fold" not in first
  assert f"--workdir={tmp_path}/final" in first
  assert f"--workdir={tmp_path}/final" in second
  text = (tmp_path / "compare.md").read_text()
  assert "- Repeats: fold 1, fold 2, seed 0" in text


def test_interval_of_an_accuracy_ends_at_100(tmp_path):
  comparison = _comparison(tmp_path, names=("plain",))
  for number, run in enumerate(comparison.runs):
    right = np.arange(len(LABELS)) % 25 < 25 - 2 * number
    _finish(run, right, right)
  found = read_outcomes(comparison).accuracy("test", "plain")["overall"]
  assert found.high == 100
  assert found.low < 90 < found.mean
