"""The benchmark of the training step, in small."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import noise_images, step_time
from blt_jax.config import check_config, follow, with_values
from blt_jax.data import longtail
from blt_jax.training import build
from blt_jax.training.run import Run
from blt_jax.workdir import directory
from blt_jax.workdir.checkpoint import Checkpoints
from blt_jax.workdir.progress import Progress
from configs import cifar10_lt, digits_lt, imagenet_lt
from tests import program_cache
from tests.marks import long_test
from tests.rows import make_row

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = (
  "--config=configs/cifar10_lt.py:batch=16",
  "--config.dataset.image_size=8",
  "--config.num_devices=1",
  "--steps=3",
  "--batches=2",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """(output, report) of the program in a process of its own."""
  if "BLT_LONG_TESTS" not in os.environ:
    pytest.skip("compiles for half a minute; set BLT_LONG_TESTS=1")
  file = tmp_path_factory.mktemp("step_time") / "report.json"
  finished = subprocess.run(
    [sys.executable, "-m", "benchmarks.step_time", *FLAGS, f"--json={file}"],
    cwd=ROOT,
    # How fast the programs are plays no part here: compile them quickly.
    env={**os.environ, "XLA_FLAGS": program_cache.FLAGS},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert finished.returncode == 0, finished.stdout + finished.stderr
  return finished.stdout, json.loads(file.read_text())


def test_every_program_is_timed(measured):
  output, report = measured
  for name in (*step_time.NAMES, "evaluate"):
    low, high = report[name]["quartiles"]
    assert 0 < low <= report[name]["seconds"] <= high
    assert f"\n| {name} | " in output
  assert report["BLT"]["flops"] > report["plain"]["flops"] > 0
  assert report["images"] == 2478
  assert report["reading_seconds"] > 0


def test_ratio_stands_beside_the_limit_of_what_was_measured(measured):
  output, report = measured
  n, k = report["hallucinated"], report["updates"]
  assert 0 < n <= report["slots"]
  assert 0 < k <= 15
  expected = report["ratio"] / (1 + n * (2 * k + 4) / (3 * 16))
  assert report["ratio_over_limit"] == pytest.approx(expected)
  assert f"BLT / plain {report['ratio']:.3f}" in output


def test_table_says_that_noise_is_not_realistic(measured):
  assert "NOT realistic" in measured[0]


def test_limit_by_hand():
  # A forward pass costs 1: 128 images 3 each; 4.8 x (7 updates of 2, a check of
  # 1, training of 3) = 4.8 x 18 = 86.4; 86.4 / 384 = 0.225.
  assert step_time.limit(4.8, 7.0, 128) == pytest.approx(1.225)
  assert step_time.limit(0.0, 0.0, 128) == 1


@pytest.mark.parametrize(
  "name, expected",
  [
    ("cifar10", (5, 3, 2, 2478, 1000, 10)),
    ("imagenet_lt", (385, 479, 136, 115_846, 1280, 5)),
    ("places_lt", (131, 157, 77, 62_500, 4980, 5)),
    ("inaturalist2018", (800, 2213, 5129, 396_803, 995, 2)),
  ],
)
def test_counts_have_the_documented_sizes(name, expected):
  counts = noise_images.class_counts(name)
  shots = longtail.shot_groups(counts)
  assert expected == (
    *(int(shots[group].sum()) for group in ("many", "medium", "few")),
    *(int(counts.sum()), int(counts[0]), int(counts[-1])),
  )


def test_noise_has_the_size_that_its_network_reads(tmp_path):
  config = check_config(digits_lt.get_config())
  small = noise_images.long_tailed(config, tmp_path)
  with Image.open(small.train.paths[-1]) as image:
    assert image.size == (16, 16)
  assert len(small.train) == 2478
  config = check_config(imagenet_lt.get_config())
  large = noise_images.long_tailed(config, tmp_path)
  with Image.open(large.train.paths[-1]) as image:
    assert image.size == (500, 375)
  assert large.num_classes == 1000


@pytest.mark.parametrize("resize_on", ["host", "device"])
def test_batches_lie_on_the_devices_as_training_has_them(tmp_path, resize_on):
  config = check_config(cifar10_lt.get_config("batch=16"))
  fields = {"image_size": 8, "resize_size": 8, "resize_on": resize_on}
  config = with_values(
    config, {f"dataset.{name}": value for name, value in fields.items()}
  )
  config = follow(config)
  run = Run(config, dataset=noise_images.long_tailed(config, tmp_path))
  stage, count = run.stages[-1], len(run.devices)
  (batch,), seconds = step_time.read(run, stage, 1)
  shape = (count, 16 // count)
  assert batch.label.shape == shape
  assert batch.sources.used.shape == (count, stage.capacity // count)
  images = batch.image if resize_on == "host" else batch.image.pixels
  side = 8 if resize_on == "host" else images.shape[2]
  assert images.shape == (*shape, side, side, 3)
  assert len(images.addressable_shards) == count
  assert seconds > 0


@long_test("initialises a network twice")
def test_run_gives_its_weights_and_confusion(tmp_path):
  changes = {"dataset.image_size": 8, "dataset.resize_size": 8}
  config = check_config(digits_lt.get_config("batch=32"))
  config = follow(with_values(config, {**changes, "num_devices": 1}))
  directory.claim(tmp_path, config)
  run = Run(config)
  state = build.init_state(config, run.model, 10, draw=5)
  state = state.replace(confusion=state.confusion.at[9, 3].set(17))
  with Checkpoints(tmp_path / "checkpoints") as checkpoints:
    checkpoints.save(state.arrays(), Progress((make_row(2, 1, 0),)))
  found = step_time.starting_state(run, tmp_path)
  assert found.confusion[9, 3] == 17
  jax.tree.map(np.testing.assert_array_equal, found.params, state.params)


def test_method_that_hallucinates_nothing_is_refused():
  run = Run(check_config(digits_lt.get_config("method=neither")))
  with pytest.raises(ValueError, match="method is 'neither'; expected one"):
    step_time.measure(run, None, steps=1, most=1)
