"""Runs main.py as users do, in processes of its own, and kills one of them."""

import csv
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from blt_jax.method import metrics
from blt_jax.report import figures
from blt_jax.report.record import read_run
from blt_jax.training import lines, measures, train
from blt_jax.workdir import records
from tests import command_line
from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMINGS = (
  "seconds",
  "data_wait_share",
  "validation_seconds",
  "images_per_second",
)
# The digits at 8 pixels, 2 + 3 epochs of 6 steps: seconds, not minutes. The
# network has one block.
SMALL = (
  "--config=configs/digits_lt.py:batch=64,seed=3",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.stage1.epochs=2",
  "--config.stage2.epochs=3",
  "--config.num_devices=1",
)


@pytest.fixture(scope="module")
def finish(command_lines):
  """Runs a command that has to succeed; returns its output."""

  def run(*arguments):
    finished = command_lines.run(arguments, ROOT, seconds=300, one_block=True)
    assert finished.code == 0, finished.stderr
    return finished.stdout

  return run


@pytest.fixture(scope="module")
def finished(finish, tmp_path_factory):
  """(work directory, printed lines) of a run that was never interrupted."""
  workdir = tmp_path_factory.mktemp("run") / "finished"
  return workdir, finish(*SMALL, f"--workdir={workdir}", "--profile=2")


def _metrics(workdir):
  with (workdir / "metrics.csv").open() as file:
    return [
      {name: v for name, v in row.items() if name not in TIMINGS}
      for row in csv.DictReader(file)
    ]


def _arrays(workdir):
  checkpoints = workdir / "checkpoints"
  last = max(int(path.name) for path in checkpoints.iterdir())
  with ocp.CheckpointManager(
    checkpoints, item_names=("state", "progress")
  ) as manager:
    restored = manager.restore(
      last, args=ocp.args.Composite(state=ocp.args.StandardRestore())
    )
  return restored["state"]


def test_results_hold_what_the_design_promises(finished):
  results = json.loads((finished[0] / "results.json").read_text())
  assert results["method"] == "blt"
  assert results["dataset"] == "digits_lt"
  assert results["seed"] == 3
  assert sum(results["class_counts"]) == 389
  assert results["class_names"] == list("0123456789")
  assert results["device"].endswith(" x cpu")
  for which in ("best", "last"):
    assert results[which]["stage"] == 2
    for split in ("validation", "test"):
      tested = results[which][split]
      groups = ("overall", "many", "medium", "few")
      assert all(0 <= tested[group] <= 100 for group in groups)
      assert all(tested["top5"][group] >= tested[group] for group in groups)
      for group in groups:
        low, high = tested["interval"][group]
        assert low <= tested[group] <= high
      for part in (tested, *(tested["groups"][g] for g in groups[1:])):
        for name in ("accuracy", "macro_f1", "weighted_f1"):
          assert 0 <= part[name] <= 100
        assert 0 <= part["ece"] <= 1
        assert part["nll"] > 0
      calibrated = tested["calibrated"]
      for part in (calibrated, *(calibrated["groups"][g] for g in groups[1:])):
        assert part.keys() >= {"nll", "ece"}
    temperature, number = (results[which][n] for n in ("temperature", "epoch"))
    # What the network has learnt by now may be worth no confidence at all.
    none = f"temperature of stage 2 epoch {number}: none fits" in finished[1]
    assert none == (temperature == 1)
    assert temperature > 0
    validation = results[which]["validation"]
    before, after = validation["nll"], validation["calibrated"]["nll"]
    assert after == before if none else after < before
  assert results["last"]["epoch"] == 3
  assert results["prior"] == ""
  assert results["test_set"] == {
    "kind": "balanced",
    "from_balanced": 0,
    "from_natural": pytest.approx(0.3815, abs=1e-4),
    "images": 340,
    "classes": 10,
    "is_validation": False,
  }


def test_measures_are_those_of_the_predictions_that_are_recorded(finished):
  run = read_run(finished[0])
  for which in ("best", "last"):
    for split, images in (("validation", 200), ("test", 340)):
      results = run.results[which]
      # The last epoch has files of its own only where it is not the best.
      same = results["epoch"] == run.results["best"]["epoch"]
      name = f"{split}-{'best' if same else which}"
      found = records.read_predictions(finished[0], name)
      assert found.row.tolist() == list(range(images))
      again = measures.measures(
        found, run.class_counts, many_above=100, few_up_to=20
      )
      assert again == results[split]
    tested = records.read_predictions(
      finished[0], f"test-{'best' if same else which}"
    )
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (tested.label, tested.prediction), 1)
    entries = run.entries(f"test-{which}")
    np.testing.assert_array_equal(entries.matrix(), confusion)


def test_measures_on_validation_are_those_of_the_epoch(finished):
  run = read_run(finished[0])
  for which in ("best", "last"):
    results = run.results[which]
    (row,) = (
      row
      for row in run.rows
      if (row.stage, row.epoch) == (results["stage"], results["epoch"])
    )
    for name, value in row.validation.items():
      assert results["validation"][name] == value
  assert "is not what it was" not in finished[1]


def test_every_class_has_a_row_of_scores(finished):
  with (finished[0] / "classes.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  results = json.loads((finished[0] / "results.json").read_text())
  assert [row["class"] for row in rows] == results["class_names"]
  assert [int(row["train"]) for row in rows] == results["class_counts"]
  recalls = [float(row["recall"]) for row in rows]
  tested = results["best"]["test"]
  assert np.mean(recalls) == pytest.approx(tested["overall"], abs=0.01)
  f1 = [float(row["f1"]) for row in rows]
  assert np.mean(f1) == pytest.approx(tested["macro_f1"], abs=0.01)


def test_best_epoch_is_the_one_with_the_highest_validation_accuracy(finished):
  results = json.loads((finished[0] / "results.json").read_text())
  stage2 = [row for row in _metrics(finished[0]) if row["stage"] == "2"]
  overall = [float(row["val_overall"]) for row in stage2]
  assert results["best"]["epoch"] == 1 + int(np.argmax(overall))
  assert results["best"]["validation"]["overall"] == max(overall)
  assert results["last"]["validation"]["overall"] == overall[-1]


def test_metrics_have_a_row_for_each_epoch(finished):
  rows = _metrics(finished[0])
  stages = [(row["stage"], row["epoch"], row["step"]) for row in rows]
  assert stages == [
    ("1", "1", "6"),
    ("1", "2", "12"),
    ("2", "1", "18"),
    ("2", "2", "24"),
    ("2", "3", "30"),
  ]


def test_hallucination_begins_in_the_second_epoch_of_stage_2(finished):
  shares = [float(row["hallucinated_share"]) for row in _metrics(finished[0])]
  assert shares[:3] == [0, 0, 0]
  assert min(shares[3:]) > 0.05
  updates = [float(row["mean_updates"]) for row in _metrics(finished[0])]
  assert all(0 < mean <= 15 for mean in updates[3:])


def test_user_sees_a_line_an_epoch_and_the_final_table(finished):
  output = finished[1]
  assert "389 training images in 10 classes" in output
  assert (
    sum(line.startswith("stage 2 epoch") for line in output.split("\n")) == 3
  )
  assert "updates" in output
  assert "best epoch" in output
  assert "last epoch (3) test" in output
  table = output[output.index("blt on digits_lt, seed 3:") :].splitlines()
  assert table[1].split() == [*metrics.GROUPS, "macro", "F1"]
  tested = json.loads((finished[0] / "results.json").read_text())["best"]
  values = (tested["test"][name] for name in (*metrics.GROUPS, "macro_f1"))
  assert table[3].split()[-5:] == [f"{value:.1f}" for value in values]
  ends = tested["test"]["interval"].values()
  assert table[4].split() == [
    *("95", "%", "interval"),
    *(f"{low:.1f}-{high:.1f}" for low, high in ends),
  ]
  assert table[8].startswith("test set: balanced, 340 images: overall is about")
  about = lines.calibration(tested["test"], tested["temperature"])
  assert table[9] == f"calibration on test, best epoch: {about}"
  assert max(map(len, table[:10])) <= 100


def _recorded(workdir):
  """Bytes of all that a run leaves for its reports."""
  files = [
    *(workdir / "confusion").iterdir(),
    *(workdir / "predictions").iterdir(),
    *(workdir / "perturbed.npz", workdir / "classes.csv"),
  ]
  return {path.name: path.read_bytes() for path in files}


def test_confusion_of_every_epoch_and_of_the_test_is_recorded(finished):
  run = read_run(finished[0])
  assert list(run.validation_entries(1)) == [1, 2]
  assert list(run.validation_entries(2)) == [1, 2, 3]
  for which in ("best", "last"):
    tested = run.class_accuracies(f"test-{which}")
    overall = run.results[which]["test"]["overall"]
    assert tested.mean() == pytest.approx(overall)
  last = metrics.shot_accuracies(
    run.entries("stage2-epoch003").matrix(), run.class_counts
  )
  assert last["few"] == pytest.approx(run.rows[-1].val_few)


def test_examples_of_the_tail_are_recorded(finished):
  run = read_run(finished[0])
  assert 0 < len(run.examples) <= 24
  assert run.groups["few"][run.examples.label].all()
  assert (run.examples.target != run.examples.label).all()
  assert (run.examples.num_updates <= 15).all()


def test_hallucinated_images_are_counted(finished):
  for row in read_run(finished[0]).rows:
    real = 6 * 64
    share = row.hallucinated / (real + row.hallucinated)
    assert row.hallucinated_share == pytest.approx(share)
    assert row.validation_seconds > 0


def test_run_ends_with_its_report(finished):
  content = (finished[0] / "report.html").read_text()
  few = read_run(finished[0]).results["best"]["test"]["few"]
  assert f'<div class="value">{few:.1f}<' in content
  assert "Perturbed images" in content
  drawn = (finished[0] / figures.FOLDER).iterdir()
  assert {path.stem for path in drawn} == set(figures.FIGURES)


def test_what_a_run_can_do_without_does_not_lose_it(capsys):
  def fail():
    raise RuntimeError("no\nroom")

  train.attempt(fail, "pictures")
  assert capsys.readouterr().out == "left out: pictures: no room\n"


def test_tensorboard_events_are_written(finished):
  assert list(finished[0].glob("events.*"))


def test_a_profile_of_each_stage_names_its_steps_and_parts(finished):
  workdir, output = finished
  folder = workdir / "profile"
  for place in ("stage 1 epoch 1", "stage 2 epoch 2"):
    assert f"profile: 2 steps of {place} in {folder}; pip" in output
  traces = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
  plain, blt = (path.read_bytes() for path in traces)
  for name in (b"train", b"/augment/", b"/update/"):
    assert name in plain
    assert name in blt
  assert b"/ascend/" not in plain
  assert b"/ascend/" in blt


def test_parameters_are_counted_and_listed(finished):
  workdir, output = finished
  sizes = [
    int(size.replace(",", ""))
    for size in re.findall(
      r"parameters: ([\d,]+) \(backbone ([\d,]+), classifier ([\d,]+), hidden "
      r"([\d,]+)\), all trained; parameters.txt has each",
      output,
    )[0]
  ]
  assert sizes[0] == sum(sizes[1:])
  leaves = jax.tree.leaves(_arrays(workdir)["params"])
  assert sizes[0] == sum(leaf.size for leaf in leaves)
  table = (workdir / "parameters.txt").read_text()
  assert table.count("\n| ") == 1 + len(leaves)
  assert "| classifier/kernel " in table


def test_a_finished_run_says_so_and_does_nothing(finish, finished):
  before = {path: path.stat().st_mtime_ns for path in finished[0].iterdir()}
  output = finish(*SMALL, f"--workdir={finished[0]}")
  assert "is finished" in output
  assert "last epoch (3) test" in output
  after = {path: path.stat().st_mtime_ns for path in finished[0].iterdir()}
  assert before == after


def test_evaluate_repeats_the_test_accuracy_of_the_best_epoch(finish, finished):
  output = finish("--mode=evaluate", f"--workdir={finished[0]}")
  results = json.loads((finished[0] / "results.json").read_text())
  test = results["best"]["test"]
  assert (
    f"top-1  overall {test['overall']:.1f} many {test['many']:.1f}" in output
  )
  for line in lines.measure_lines(test, results["best"]["temperature"]):
    assert f"{line}\n" in output
  assert "test set: balanced, 340 images: overall is about" in output


@long_test("two more runs; resume_test.py has quicker ones")
def test_stopped_run_goes_on_and_ends_with_the_same_bits(
  finish, finished, tmp_path
):
  """SIGTERM in the middle of stage 2; tests/kills_test.py has SIGKILL."""
  workdir = tmp_path / "stopped"
  process = subprocess.Popen(
    [sys.executable, "main.py", *SMALL, f"--workdir={workdir}"],
    cwd=ROOT,
    env={
      **command_line.environment(),
      "PYTHONPATH": command_line.ONE_BLOCK,
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 200
  for line in process.stdout:
    if line.startswith("stage 2 epoch 1/3"):
      break
    assert time.monotonic() < deadline
  start = time.monotonic()
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate()
  assert time.monotonic() - start < 10
  assert process.returncode == 128 + signal.SIGTERM
  stopped = errors.splitlines()[-1]
  assert stopped.startswith("stopped by SIGTERM in stage 2 epoch ")
  assert stopped.endswith("the same command goes on from there.")
  assert not (workdir / "results.json").exists()
  output = finish(*SMALL, f"--workdir={workdir}")
  # After epoch 1 if the signal came before the first step of epoch 2.
  assert re.search(
    f"^continuing {workdir} (in stage 2 epoch|after stage 2 epoch 1$)",
    output,
    re.M,
  )
  assert (workdir / "results.json").read_text() == (
    finished[0] / "results.json"
  ).read_text()
  assert _metrics(workdir) == _metrics(finished[0])
  assert _recorded(workdir) == _recorded(finished[0])
  there, here = _arrays(finished[0]), _arrays(workdir)
  assert set(here) == {
    "step",
    "params",
    "batch_stats",
    "opt_state",
    "confusion",
  }
  jax.tree.map(np.testing.assert_array_equal, here, there)


def test_reused_stage_1_changes_no_bit(finish, finished, tmp_path):
  output = finish(
    *SMALL,
    f"--config.stage1.reuse={finished[0]}",
    f"--workdir={tmp_path / 'reuse'}",
  )
  assert "taken over" in output
  assert "stage 1 epoch" not in output
  reused = json.loads((tmp_path / "reuse" / "results.json").read_text())
  assert reused == json.loads((finished[0] / "results.json").read_text())
  assert _recorded(tmp_path / "reuse") == _recorded(finished[0])


def test_work_directory_of_another_configuration_is_refused(
  command_lines, finished
):
  refused = command_lines.run(
    [*SMALL, "--config.perturb.p=0.5", f"--workdir={finished[0]}"], ROOT
  )
  assert refused.code == 1
  problem = "another configuration: perturb.p (0.25 there, 0.5 here)"
  assert problem in refused.stderr
  assert "Traceback" not in refused.stderr
