"""Benchmarks of convolutions and of the reader, in small."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import convolution_measure, reader_memory
from benchmarks.convolution_measure import KINDS, Convolution
from blt_jax.data.dataset import Split
from blt_jax.data.reading import cache
from blt_jax.experiments import flops
from configs import digits_lt, image_list

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMES = ["--repeats=1"]


def _run(*command):
  return subprocess.run(
    [sys.executable, *command],
    cwd=ROOT,
    # How fast the programs are plays no part here: compile them quickly.
    env={**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=1"},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def test_convolutions_of_small_resnet10_by_hand():
  found = convolution_measure.find("small_resnet10", image_size=32, batch=5)
  kernels = {}
  for one, count in found.items():
    kernels.setdefault(one.kernel, []).append((one.images[1], count))
  assert kernels == {
    (3, 3, 3, 16): [(32, 1)],
    (3, 3, 16, 16): [(32, 2)],
    (3, 3, 16, 32): [(32, 1)],
    (3, 3, 32, 32): [(16, 1)],
    (1, 1, 16, 32): [(32, 1)],
    (3, 3, 32, 64): [(16, 1)],
    (3, 3, 64, 64): [(8, 1)],
    (1, 1, 32, 64): [(16, 1)],
    (3, 3, 64, 128): [(8, 1)],
    (3, 3, 128, 128): [(4, 1)],
    (1, 1, 64, 128): [(8, 1)],
  }
  # Multiply-adds an image: pixels of the output x kernel. The first convolution
  # and the first block keep 32 x 32 pixels; each further block halves the side
  # and doubles the channels, which makes it as expensive as the one before.
  first = 32 * 32 * 9 * 3 * 16
  block = 2 * 32 * 32 * 9 * 16 * 16
  halving = 16 * 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
  expected = 5 * 2 * (first + block + 3 * halving)
  assert sum(c.flops * n for c, n in found.items()) == expected


@pytest.mark.parametrize(
  "backbone, count",
  [("small_resnet10", 12), ("resnet10", 12)],
)
def test_only_the_first_convolution_needs_no_gradient_of_images(
  backbone, count
):
  found = convolution_measure.find(backbone, image_size=32, batch=2)
  assert sum(found.values()) == count
  first = next(iter(found))
  assert first.images == (2, 32, 32, 3)
  assert first.needed == ("forward", "of_kernel")
  assert [one for one in found if one.needed != KINDS] == [first]


def test_groups_and_dtype_are_found():
  found = convolution_measure.find(
    "efficientnet_b0", image_size=32, batch=2, dtype="bfloat16"
  )
  depthwise = [one for one in found if one.groups > 1]
  assert depthwise
  for one in depthwise:
    assert one.kernel[2] == 1
    assert one.kernel[3] == one.groups == one.images[3]
  assert {one.dtype for one in found} == {"bfloat16"}


def test_what_is_timed_computes_what_is_counted():
  one = Convolution(
    images=(2, 8, 8, 3),
    kernel=(1, 1, 3, 4),
    output=(8, 8),
    strides=(1, 1),
    padding=((0, 0), (0, 0)),
    groups=1,
    dtype="float32",
    trained_before=True,
  )
  calls = convolution_measure.timed_calls(one)
  shapes = {"forward": (2, 8, 8, 4), "of_images": (2, 8, 8, 3)}
  shapes["of_kernel"] = (1, 1, 3, 4)
  assert one.flops == 2 * 2 * 64 * 3 * 4
  for kind, call in calls.items():
    assert call().shape == shapes[kind]
    assert flops.count(call.func, *call.args) == one.flops


def test_total_counts_what_a_step_needs():
  seconds = {"forward": 1.0, "of_images": 10.0, "of_kernel": 100.0}
  rows = [
    {"count": 1, "needed": ("forward", "of_kernel"), "seconds": seconds},
    {"count": 2, "needed": KINDS, "seconds": seconds},
  ]
  assert convolution_measure.total(rows) == 101 + 2 * 111


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """(output, JSON file) of the convolutions' program."""
  report = tmp_path_factory.mktemp("convolutions") / "report.json"
  finished = _run(
    *("-m", "benchmarks.convolutions", "--image_size=8", "--batch=16"),
    *(*TIMES, f"--json={report}"),
  )
  assert finished.returncode == 0, finished.stdout + finished.stderr
  return finished.stdout, report


def test_convolutions_reports_finite_times_and_their_share(measured):
  output, file = measured
  report = json.loads(file.read_text())
  rows = report["convolutions"]
  assert sum(row["count"] for row in rows) == 12
  for row in rows:
    assert row["seconds"].keys() == set(KINDS)
    assert all(0 < value < math.inf for value in row["seconds"].values())
  assert 0 < report["matmul_flops_a_second"] < math.inf
  expected = report["total_seconds"] / report["step_seconds"]
  assert 0 < expected < math.inf
  assert report["share_of_step"] == pytest.approx(expected)
  assert "| 2 | 16x8x8x16 | 3x3x16x16 | 1 | 0.005 |" in output
  assert output.count("not needed: ") == 1


def test_pytorch_times_the_same_convolutions(measured, tmp_path):
  python = os.environ.get("PEER_PYTHON", sys.executable)
  found = subprocess.run([python, "-c", "import torch"], capture_output=True)
  if found.returncode:
    pytest.skip(f"{python} has no torch (PEER_PYTHON names another)")
  output = tmp_path / "peer.json"
  subprocess.run(
    [
      *(python, "-m", "benchmarks.peer_convolutions", *TIMES),
      *(f"--input={measured[1]}", f"--json={output}"),
    ],
    cwd=ROOT,
    check=True,
    capture_output=True,
    timeout=300,
  )
  for rows in json.loads(output.read_text())["seconds"].values():
    assert len(rows) == 11
    for row in rows:
      assert row.keys() == set(KINDS)
      assert all(0 < value < math.inf for value in row.values())


@pytest.fixture
def config(tmp_path):
  """A configuration with a dozen small JPEG files in two classes."""
  rng = np.random.default_rng(0)
  for number in range(12):
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
  lines = [f"{number}.jpg {number % 2}\n" for number in range(12)]
  (tmp_path / "list.txt").write_text("".join(lines))
  config = image_list.get_config("batch=4")
  config.dataset.root = str(tmp_path)
  for name in ("train_list", "validation_list", "test_list"):
    config.dataset[name] = "list.txt"
  config.dataset.image_size = config.dataset.resize_size = 8
  config.model.backbone = "small_resnet10"
  return config


def test_reader_gives_the_same_bytes_from_memory(config):
  report = reader_memory.measure(config, epochs=2)
  assert report["batches"] == 12 // 4
  # Three batches of pixels, labels and, in the slots, `used`.
  image = 8 * 8 * 3 + 4
  each = 4 * image + report["slots"] * (image + 1)
  assert report["bytes_compared"] == 3 * each
  for kind in reader_memory.KINDS:
    assert len(report["milliseconds"][kind]) == 2
  assert report["ratio"] == report["files"] / report["memory"]
  table = reader_memory.table(report)
  assert f"files / memory {report['ratio']:.2f}" in table


def test_reader_tells_when_the_bytes_differ(config, monkeypatch):
  in_memory = cache.in_memory

  def altered(split, **options):
    split = in_memory(split, **options)
    if split.images is None:
      return split
    return Split(split.labels, images=255 - split.images)

  monkeypatch.setattr(cache, "in_memory", altered)
  with pytest.raises(ValueError, match="batch 0: image is not the same"):
    reader_memory.measure(config, epochs=1)


def test_reader_refuses_what_is_read_from_files_anyway(config):
  config.dataset.max_pixels = 16
  with pytest.raises(ValueError, match="too large or too many for memory"):
    reader_memory.measure(config, epochs=1)


def test_reader_refuses_images_that_lie_in_memory_anyway():
  with pytest.raises(ValueError, match="source is digits, whose images are"):
    reader_memory.measure(digits_lt.get_config(), epochs=1)
