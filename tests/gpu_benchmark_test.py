"""The measurement of all that depends on a GPU, in small and on a CPU."""

import io
import json
import os
import pathlib
import subprocess
import sys
import time
import types
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import step_time
from benchmarks.gpu import (
  accuracy,
  ascent,
  machine,
  pack,
  page,
  parts,
  steps,
)
from benchmarks.gpu.rows import LeftOutError, Row, Store
from benchmarks.gpu.setup import Setup
from blt_jax.data import longtail
from tests import program_cache
from tests.small_run import one_block

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Python imports it at its start: then what isn't needed can't be imported.
BLOCKED = """
import sys
for name in ("array_record", "clu", "huggingface_hub", "imagehash", "orbax",
             "safetensors", "sklearn", "tensorboard", "tensorflow",
             "tensorflow_datasets", "tqdm"):
  sys.modules[name] = None
"""
FIRST = "rows/c-3x3s1-default.json"


def command(*flags, path, devices=1):
  """(arguments, environment) of the program where `path` is imported first."""
  environment = {
    **os.environ,
    "PYTHONPATH": str(path),
    "XLA_FLAGS": f"{program_cache.FLAGS} "
    f"--xla_force_host_platform_device_count={devices}",
  }
  return [sys.executable, "-m", "benchmarks.gpu", *flags], environment


def output_of(arguments, environment, *, seconds):
  """What a command prints, which has to end well."""
  finished = subprocess.run(
    arguments,
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=seconds,
    check=False,
  )
  assert finished.returncode == 0, finished.stdout + finished.stderr
  return finished.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """(folder, output, a row's file as it was) of all parts on two devices.

  The program's process was killed after that row, and the same command went on.
  Only what it needs is installed.
  """
  path = tmp_path_factory.mktemp("blocked")
  (path / "sitecustomize.py").write_text(BLOCKED)
  folder = tmp_path_factory.mktemp("output")
  flags = ("--tiny", "--minutes=30", f"--output={folder}")
  arguments, environment = command(*flags, "--worker=c", path=path, devices=2)
  worker = subprocess.Popen(arguments, cwd=ROOT, env=environment)
  for _ in range(1200):
    if (folder / FIRST).exists() or worker.poll() is not None:
      break
    time.sleep(0.1)
  worker.kill()
  worker.wait()
  before = ((folder / FIRST).read_text(), (folder / FIRST).stat().st_mtime_ns)
  output = output_of(*command(*flags, path=path, devices=2), seconds=1000)
  return folder, output, before


def measured(folder, row):
  """What was measured for a row."""
  return json.loads((folder / f"rows/{row}.json").read_text())["measured"]


def test_every_part_is_measured(whole):
  folder, output, _ = whole
  assert "Failed" not in (folder / "page.md").read_text(), output
  parts_measured = {path.name[0] for path in (folder / "rows").iterdir()}
  assert parts_measured | set("f") == set(parts.PARTS)
  drawn = {path.stem for path in (folder / "figures").iterdir()}
  assert drawn >= {"steps", "ascent", "feeding", "networks", "accuracy"}
  for figure in (folder / "figures").iterdir():
    with Image.open(figure) as image:
      assert min(image.size) > 200


def test_killed_command_goes_on_and_measures_nothing_twice(whole):
  folder, _, before = whole
  first = folder / FIRST
  assert (first.read_text(), first.stat().st_mtime_ns) == before
  names = {path.stem for path in (folder / "rows").glob("c-*")}
  kinds = ("default", "bfloat16")
  assert names == {f"c-3x3s{s}-{kind}" for s in (1, 2) for kind in kinds}
  assert not (folder / "begun.json").exists()


def test_both_gradients_of_a_convolution_are_the_same(whole):
  for stride in (1, 2):
    found = measured(whole[0], f"c-3x3s{stride}-default")
    assert 0 <= found["largest_difference"] < 1e-5
    for times in found["programs"].values():
      low, high = times["quartiles"]
      assert 0 < low <= times["seconds"] <= high


def test_step_has_rates_and_a_limit(whole):
  found = measured(whole[0], "a-small_resnet10-default")
  n, k = found["hallucinated"], found["updates"]
  assert found["limit"] == pytest.approx(1 + n * (2 * k + 4) / (3 * 16))
  expected = 3 * 16 * found["forward_flops"] / found["plain"]["seconds"]
  assert found["plain_flops_per_second"] == pytest.approx(expected)
  assert found["plain_share_of_peak"] is None


def test_page_has_what_was_measured(whole):
  text = (whole[0] / "page.md").read_text()
  assert text.count("| 3 x 3 / 2, 16 x 8 x 8 x 4, 8 filters |") == 2
  assert "Not measured yet." not in text
  assert "say nothing about any machine" in text
  assert f"\n- date: {time.strftime('%Y-%m-%d')}" in text


def test_another_machine_is_refused(tmp_path):
  Store(tmp_path).claim({"device": "NVIDIA H200", "tiny": False})
  with pytest.raises(ValueError, match="with device 'NVIDIA H200', and here"):
    Store(tmp_path).claim({"device": "cpu", "tiny": False})


def test_nothing_is_measured_on_a_processor_by_mistake(tmp_path):
  with pytest.raises(ValueError, match="JAX finds no GPU here; expected one"):
    parts.measure(Setup(tmp_path), "a")
  assert Store(tmp_path).machine() is None


def test_part_that_fails_before_its_rows_leaves_the_others(
  tmp_path, monkeypatch, capsys
):
  def failing(given):
    raise RuntimeError("no such\nimages")

  def one(given):
    yield Row("b", "x", {}, dict)

  for name, rows in (("a", failing), ("b", one)):
    monkeypatch.setitem(parts.PARTS, name, parts.Part(name, rows))
  store = Store(tmp_path)
  parts._measure_parts(store, Setup(tmp_path), "ab", os.getppid())
  assert store.left_out() == {"a": "RuntimeError: no such images", "b": ""}
  assert [row["name"] for row in store.kept("b")] == ["x"]
  assert "(a) left out: RuntimeError" in capsys.readouterr().out


def test_row_that_the_time_ends_is_named(tmp_path):
  store = Store(tmp_path)
  with pytest.raises(KeyboardInterrupt), store.begun(Row("e", "x", {}, dict)):
    raise KeyboardInterrupt
  assert store.forget_begun() == "(e) x"
  assert store.forget_begun() == ""


def test_row_is_measured_again_under_other_settings_only(tmp_path, capsys):
  store, calls = Store(tmp_path), []

  def row(settings):
    return Row("a", "x", settings, lambda: calls.append(settings) or {})

  for batch in (1, 1, 2):
    parts._measure(store, row({"batch": batch}))
  assert calls == [{"batch": 1}, {"batch": 2}]
  assert "kept under other settings" in capsys.readouterr().out


def test_failed_rows_are_kept_with_their_error(tmp_path, capsys):
  store = Store(tmp_path)

  def fail():
    raise RuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

  raising = Row("e", "large", {}, fail)
  parts._measure(store, raising)
  parts._measure(store, raising)
  dying = Row("e", "dies", {}, dict)
  with pytest.raises(KeyboardInterrupt), store.begun(dying):
    raise KeyboardInterrupt  # Stands for a process that ends at once.
  assert store.fail_begun("code -9") == "(e) dies"
  assert store.fail_begun("code -9") == ""
  lines = page._section(store, "e", {name: [] for name in parts.PARTS})
  assert "- large: RuntimeError: RESOURCE_EXHAUSTED: out of memory" in lines
  assert "- dies: code -9" in lines
  assert "not tried again" in capsys.readouterr().out


def test_batch_that_does_not_fit_into_memory_is_halved(monkeypatch, capsys):
  def measure(batch, *_, **__):
    if batch > 64:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    return {}

  monkeypatch.setattr(step_time, "measure", measure)
  monkeypatch.setattr(steps, "_rates", lambda *_: {})
  given: Any = types.SimpleNamespace(batch=256, repeats=1, run=lambda run: run)
  found = steps._measure(
    given, lambda batch: batch, arithmetic="default", kinds=("plain",)
  )
  assert found["batch"] == 64
  assert capsys.readouterr().out.splitlines() == [
    "256 images do not fit into memory",
    "128 images do not fit into memory",
  ]


def test_part_that_can_not_be_measured_says_why(tmp_path):
  with pytest.raises(LeftOutError, match=r"no --cifar=FILE; expected what"):
    next(accuracy.rows(Setup(tmp_path)))


@pytest.mark.parametrize(
  "kind, arithmetic, expected",
  [
    ("NVIDIA H200", "bfloat16", 989.5e12),
    ("NVIDIA H200", "default", 494.5e12),
    ("NVIDIA A100-SXM4-40GB", "highest", 19.5e12),
    ("Tesla T4", "default", 8.1e12),
    ("Tesla T4", "bfloat16", None),
    ("NVIDIA A10G", "default", None),
    ("cpu", "default", None),
  ],
)
def test_peaks(kind, arithmetic, expected):
  assert machine.peak(kind, arithmetic) == expected


def test_widths_that_are_the_same_are_measured_once():
  assert ascent.narrowest_widths(12) == {
    "1": [6, 3, 1],
    "2": [6, 3],
    "4, 8, 16, 32": [6],
  }


def test_limit_of_a_frozen_backbone_by_hand():
  # 100 images of 2; 10 x (3 updates of 2, a check of 1, training of 2) = 90.
  assert step_time.limit(10, 3, 100, training=2) == pytest.approx(1.45)


def test_flops_of_a_network_by_hand(tmp_path):
  with one_block():
    config = Setup(tmp_path, tiny=True).config(backbone="small_resnet10")
    found = steps.forward_flops(config)
  # 16 x 16 pixels: a stem of 3 to 16 channels and two convolutions of 16 to 16,
  # whose windows reach beyond the border; hidden layer and classifier.
  taps = (3 * 16 - 2) ** 2
  convolutions = 2 * taps * (3 * 16 + 2 * 16 * 16)
  layers = 2 * 16 * 512 + 2 * 512 * 1000
  assert found == pytest.approx(convolutions + layers, rel=0.1)
  assert found > convolutions + layers


@pytest.fixture
def packed(tmp_path):
  """(folder of JPEGs and lists, the packed file)."""
  counts = {
    "train": longtail.exponential_counts(1000, 100, 10) + 50,
    "test": [3] * 10,
  }
  for split, each in counts.items():
    lines = []
    for label, count in enumerate(each):
      content = io.BytesIO()
      Image.new("RGB", (32, 32), (25 * label, 0, 0)).save(content, "jpeg")
      folder = tmp_path / split / str(label)
      folder.mkdir(parents=True)
      for number in range(count):
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(content.getvalue())
        lines.append(f"{path.relative_to(tmp_path)} {label}\n")
    (tmp_path / f"{split}.txt").write_text("".join(lines))
  file = tmp_path / "cifar.npz"
  np.savez(file, **pack.pack(tmp_path, test_per_class=2))
  return file


def test_packed_images_are_those_of_the_protocol(packed, tmp_path):
  data = accuracy._dataset(Setup(tmp_path, cifar=packed))
  expected = longtail.exponential_counts(1000, 100, 10)
  np.testing.assert_array_equal(data.class_counts, expected)
  assert data.counts["validation"].tolist() == [50] * 10
  assert data.counts["test"].tolist() == [2] * 10
  red = data.train.images[..., 0].mean(axis=(1, 2))
  np.testing.assert_allclose(red, 25 * data.train.labels, atol=4)
