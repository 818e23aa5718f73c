"""The benchmark of the training step, in small."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import step_measure, step_problem, step_profiles
from blt_jax.data import longtail
from blt_jax.method.train_step import Batch
from blt_jax.training import build
from blt_jax.workdir import directory
from blt_jax.workdir.checkpoint import Checkpoints
from blt_jax.workdir.progress import Progress
from configs import digits_lt
from tests.rows import make_row

ROOT = pathlib.Path(__file__).resolve().parents[1]
# So few slots that the ascent is one loop, which is soon compiled.
SMALL = step_problem.Options(
  batches=2, image_size=8, batch=16, p=0.25, augment=False
)
FLAGS = ("--batches=2", "--image_size=8", "--batch=16", "--p=0.25")

# As if these were not installed.
ALONE = """
import sys
sys.modules |= dict.fromkeys(("tensorflow", "tensorflow_datasets", "clu"))
from absl import app
from benchmarks import step_time
app.run(step_time.main)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """(output, report) of the program in a fresh process."""
  if "BLT_LONG_TESTS" not in os.environ:
    pytest.skip("compiles for a minute; set BLT_LONG_TESTS=1")
  folder = tmp_path_factory.mktemp("step_time")
  report = folder / "report.json"
  finished = subprocess.run(
    [
      *(sys.executable, "-c", ALONE, *FLAGS, "--noaugment", "--devices=1"),
      *("--steps=3", "--warmup=0", f"--json={report}"),
    ],
    cwd=ROOT,
    # How fast the programs are plays no part here: compile them quickly.
    env={**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=1"},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert finished.returncode == 0, finished.stdout + finished.stderr
  return finished.stdout, json.loads(report.read_text())


def test_report_of_a_process_without_tensorflow(measured):
  _, report = measured
  for name in step_measure.NAMES:
    timed = report[name]
    low, high = timed["quartiles"]
    assert 0 < low <= timed["seconds"] <= high
    assert len(timed["all_seconds"]) == 3
    assert timed["seconds_an_epoch"] == pytest.approx(timed["seconds"] * 154)
    assert timed["program_bytes"] > 0
    assert timed["compile_seconds"] > 0
  assert report["settings"]["steps_an_epoch"] == 2478 // 16
  assert 0 < report["share_of_matmul"] < 1.5
  assert report["machine"]["devices"] == 1


def test_ratio_stands_beside_the_limit_of_what_was_measured(measured):
  _, report = measured
  plain, blt = report["plain"], report["blt"]
  n, k = blt["hallucinated"], blt["updates"]
  assert 0 < n <= blt["capacity"]
  assert 0 < k <= 15
  assert 0 < blt["largest_updates"] <= 15
  assert blt["counted_over_stepped"] == pytest.approx(1, abs=0.1)
  assert report["ratio"] == blt["seconds"] / plain["seconds"]
  expected = report["ratio"] / (1 + n * (2 * k + 4) / (3 * 16))
  assert report["ratio_over_limit"] == pytest.approx(expected)


def test_evaluation_is_timed_beside_a_forward_pass(measured):
  output, report = measured
  assert 0 < report["evaluation"]["seconds"] < 60
  assert 0 < report["evaluation"]["forward_seconds"] < 60
  assert "evaluating a batch" in output


def test_table_says_that_noise_is_not_realistic(measured):
  output, report = measured
  assert f"BLT / plain {report['ratio']:.3f}" in output
  assert "NOT realistic" in output


def test_limit_by_hand():
  # A forward pass costs 1: 128 images 3 each; 4.8 x (7 updates of 2, a check of
  # 1, training of 3) = 4.8 x 18 = 86.4; 86.4 / 384 = 0.225.
  assert step_measure.limit(4.8, 7.0, 128) == pytest.approx(1.225)
  assert step_measure.limit(0.0, 0.0, 128) == 1


def test_profiles_have_the_documented_sizes():
  groups = {}
  for name in step_profiles.PROFILES:
    counts = step_profiles.profile_counts(name)
    shots = longtail.shot_groups(counts)
    groups[name] = (
      *(int(shots[group].sum()) for group in ("many", "medium", "few")),
      *(int(counts.sum()), int(counts[0]), int(counts[-1])),
    )
  assert groups == {
    "cifar10_lt": (5, 3, 2, 2478, 1000, 10),
    "imagenet_lt": (385, 479, 136, 115_846, 1280, 5),
    "places_lt": (131, 157, 77, 62_500, 4980, 5),
    "inaturalist": (800, 2213, 5129, 396_803, 995, 2),
  }


def test_impossible_total_of_class_counts_is_refused():
  with pytest.raises(ValueError, match="total = 99: no curve through"):
    step_profiles.curve_counts((2, 2), (10, 5, 1), total=99)


def test_unknown_field_is_refused():
  with pytest.raises(ValueError, match="config.model.none is not a known"):
    step_problem.make_config(step_problem.Options(fields=["model.none=1"]))


def test_value_of_another_type_is_refused():
  with pytest.raises(ValueError, match="--set: .*max_steps"):
    step_problem.make_config(
      step_problem.Options(fields=["perturb.max_steps=many"])
    )


def test_fields_and_options_reach_the_configuration():
  config = step_problem.make_config(
    step_problem.Options(
      profile="places_lt",
      dtype="bfloat16",
      augment=False,
      fields=["perturb.max_steps=3", "perturb.confidence=(0.3, 0.5)"],
    )
  )
  assert config.model.dtype == "bfloat16"
  assert config.perturb.max_steps == 3
  assert config.perturb.confidence == (0.3, 0.5)
  assert config.dataset.rotation == 0


def test_canvases_hold_the_images_in_their_corner():
  images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
  batch = Batch(images, np.zeros(2, np.int32))
  crops = step_problem.on_canvases(batch, 8).image
  assert crops.pixels.shape == (2, 8, 8, 3)
  np.testing.assert_array_equal(crops.pixels[:, :4, :4], images)
  np.testing.assert_array_equal(crops.extents, [[4, 4], [4, 4]])


def test_two_devices_make_the_updates_of_one(measured):
  _, report = measured
  problem = step_problem.make_problem(dataclasses.replace(SMALL, devices=2))
  batches = list(step_measure.placed(problem, "blt"))
  first, second = step_measure.count_updates(problem, batches)
  # Three steps of two batches: the first comes twice.
  updates = np.concatenate([first, second, first])
  assert report["blt"]["hallucinated"] == len(updates) / 3
  assert report["blt"]["updates"] == pytest.approx(updates.mean())
  largest = (first.max(initial=0) + second.max(initial=0)) / 2
  assert report["blt"]["largest_updates"] == largest


def test_run_gives_its_weights_confusion_and_images(tmp_path):
  config = digits_lt.get_config()
  config.dataset.image_size = config.dataset.resize_size = 8
  config.stage1.batch_size = config.stage2.batch_size = 32
  config.num_devices = 1
  directory.claim(tmp_path, config)
  state = build.init_state(config, build.build_model(config, 10), 10, draw=5)
  state = state.replace(confusion=state.confusion.at[9, 3].set(17))
  row = make_row(2, 1, 0)
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    checkpoints.save(state, Progress().after(row))
  problem = step_problem.make_problem(
    step_problem.Options(run=str(tmp_path), batches=1)
  )
  assert problem.trained
  assert problem.state.confusion[9, 3] == 17
  jax.tree.map(
    np.testing.assert_array_equal, problem.state.params, state.params
  )
  batch = problem.batches[0]
  assert batch.image.shape == (32, 8, 8, 3)
  sources = batch.sources
  assert problem.stage.tail[sources.label[sources.used]].all()


def _digit_counts(config):
  return build.build_dataset(config).class_counts
