"""What runs cost, against numbers worked out by hand."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from blt_jax.experiments import cost
from blt_jax.experiments.catalog import choose
from blt_jax.experiments.configure import configure
from blt_jax.experiments.plan import make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.workdir import records
from configs import digits_lt
from tests.rows import make_row

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNTS = np.array([30, 10])


@pytest.fixture(autouse=True)
def _root(monkeypatch):
  monkeypatch.chdir(ROOT)


def _config(**pairs):
  variant = {"method": "blt", "gamma": "0", **pairs}
  return configure(PROTOCOLS["digits_lt"], variant, overrides={})


@pytest.mark.parametrize(
  "batch, p, expected",
  [
    # A quarter of the draws are of the tail.
    ("1", "0.5", 0.25),
    ("2", "0.5", 1 - 0.75**2),
    ("2", "1", 0.5),
    ("3", "0.5", 1 - 0.75**3 + 0.25**3),
    ("8", "0", 0.0),
  ],
)
def test_expected_hallucinations_of_a_batch(batch, p, expected):
  config = _config(batch=batch, p=p)
  found = cost.per_batch(config, config.stage2, COUNTS)
  assert found == pytest.approx(expected)


def test_whole_batch_hallucinates_for_every_class():
  config = _config(method="blt_entire_batch", batch="8", p="0.5", gamma="0.9")
  found = cost.per_batch(config, config.stage2, COUNTS)
  assert found == pytest.approx(4.0)


def _run(tmp_path, dataset="digits_lt", name="fig1"):
  protocol = PROTOCOLS[dataset]
  plan = make_plan(choose([name]), protocol, seeds=[0], output=tmp_path)
  return plan.runs[0], cost.Costs(protocol, plan.folder)


def test_images_of_both_stages_or_of_the_second_alone(tmp_path):
  run, costs = _run(tmp_path)
  steps = 389 // 32
  both = costs.of(run, stage1=True)
  assert both.images == (12 + 18) * steps * 32
  assert costs.of(run, stage1=False).images == 18 * steps * 32
  a_batch = both.hallucinated / (17 * steps)
  # Of 32 draws, half of the classes are of the tail, a quarter of them: 4.5.
  assert 3 < a_batch < 5
  assert (both.seconds, both.unmeasured) == (0.0, 1)


def test_data_set_that_is_not_at_hand_is_counted_from_the_paper(tmp_path):
  run, costs = _run(tmp_path, "imagenet_lt")
  found = costs.of(run, stage1=True)
  assert found.images == 90 * (115846 // 256) * 256
  assert found.hallucinated is None
  assert "hallucinations unknown without the data" in str(found)


def test_costs_add_up():
  known, unknown = cost.Cost(10, 2, 3.0), cost.Cost(5, None, 0.0, 1)
  assert cost.total([known, known]) == cost.Cost(20, 4, 6.0)
  assert cost.total([known, unknown]).images == 15
  assert cost.total([known, unknown]).hallucinated is None
  assert "about 0:00:03 and 1 runs of unknown" in str(known + unknown)
  assert "time unknown until" in str(unknown)
  assert str(cost.Cost(12000, 34, 75.0)) == (
    "12,000 images, up to 34 hallucinated, about 0:01:15"
  )


def _row(stage, seconds=8.0):
  return make_row(stage, 1, 1, seconds=seconds, images_per_second=100.0)


def _finished(folder, name, *, seconds, method="blt", reuse="", rows=()):
  """A finished run that took so long from its start to its end."""
  workdir = folder / name
  workdir.mkdir(parents=True)
  config = digits_lt.get_config()
  config.method, config.stage1.reuse = method, reuse
  (workdir / "config.json").write_text(json.dumps(config.to_dict()))
  records.write_metrics(workdir, rows)
  (workdir / "results.json").write_text("{}")
  os.utime(workdir / "config.json", (1000, 1000))
  os.utime(workdir / "results.json", (1000 + seconds, 1000 + seconds))


def test_speed_is_measured_from_finished_runs(tmp_path):
  rows = (_row(1, seconds=2.0), _row(2))
  _finished(tmp_path, "a", seconds=50, rows=rows)
  _finished(tmp_path, "b", seconds=40, rows=rows, reuse="a", method="neither")
  speeds = cost.measured_speeds(tmp_path)
  assert speeds[("small_resnet10", "blt")] == pytest.approx(50 / 1000)
  assert speeds[("small_resnet10", "neither")] == pytest.approx(40 / 800)


def test_copied_files_count_with_their_training_time(tmp_path):
  _finished(tmp_path, "a", seconds=0, rows=(_row(2),))
  speeds = cost.measured_speeds(tmp_path)
  assert speeds[("small_resnet10", "")] == pytest.approx(0.01)


def test_time_is_that_of_the_same_method_if_it_was_measured(tmp_path):
  folder = tmp_path / "runs/digits_lt"
  rows = (_row(2),)
  _finished(folder, "a", seconds=80, rows=rows)
  _finished(folder, "b", seconds=8, rows=rows, method="neither")
  run, costs = _run(tmp_path)
  images = 30 * 12 * 32
  assert costs.of(run, stage1=True).seconds == pytest.approx(0.1 * images)
  softmax = _run(tmp_path, name="table4")[0]
  # Of this method none is finished.
  config = dataclasses.replace(softmax.config, method="blt_softmax")
  softmax = dataclasses.replace(softmax, config=config)
  found = costs.of(softmax, stage1=True).seconds
  assert found == pytest.approx(0.055 * images)
