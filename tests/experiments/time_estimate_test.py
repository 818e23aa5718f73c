"""How long runs will take, against numbers worked out by hand."""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import pytest

from blt_jax.config import check_config, with_values
from blt_jax.experiments import page, plan_lines, time_estimate
from blt_jax.experiments.catalog import choose
from blt_jax.experiments.plan import make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.training import epoch_seconds
from blt_jax.workdir import directory, records
from configs import digits_lt
from tests.rows import make_row

ROOT = pathlib.Path(__file__).resolve().parents[2]
BACKBONE = "small_resnet10"


@pytest.fixture(autouse=True)
def _root(monkeypatch):
  monkeypatch.chdir(ROOT)


def _run(tmp_path, name="fig1"):
  plan = make_plan(
    choose([name]), PROTOCOLS["digits_lt"], seeds=[0], output=tmp_path
  )
  return plan.runs[0]


def _finished(folder, name, *rows, method="blt", reuse=""):
  """A finished run; its rows are (stage, seconds, validation seconds)."""
  workdir = folder / name
  config = check_config(digits_lt.get_config())
  fields = {"method": method, "stage1.reuse": reuse}
  directory.claim(workdir, with_values(config, fields))
  records.write_metrics(
    workdir,
    [
      make_row(stage, 1, 6, seconds=seconds, validation_seconds=validation)
      for stage, seconds, validation in rows
    ],
  )
  (workdir / "results.json").write_text("{}")


def test_epochs_take_the_median_of_training_and_validation(tmp_path):
  _finished(tmp_path, "a", (1, 3.0, 1.0), (2, 5.0, 1.0), (2, 8.0, 2.0))
  _finished(tmp_path, "b", (2, 7.0, 0.0), method="neither")
  assert time_estimate.epoch_seconds(tmp_path) == {
    (BACKBONE, "blt", 1): 4.0,
    (BACKBONE, "", 1): 4.0,
    (BACKBONE, "blt", 2): 8.0,
    (BACKBONE, "neither", 2): 7.0,
    (BACKBONE, "", 2): 7.0,
  }


def test_epochs_of_stage_1_that_another_run_trained_do_not_count(tmp_path):
  _finished(tmp_path, "a", (1, 100.0, 1.0), (2, 5.0, 1.0), reuse="b")
  assert (BACKBONE, "blt", 1) not in time_estimate.epoch_seconds(tmp_path)


def test_run_takes_its_epochs_of_the_stages_that_it_trains(tmp_path):
  seconds = {(BACKBONE, "blt", 2): 2.0, (BACKBONE, "", 2): 9.0}
  seconds[BACKBONE, "", 1] = 1.5
  run = _run(tmp_path)
  both = time_estimate.estimate(run, seconds, trains_stage1=True)
  assert both == 12 * 1.5 + 18 * 2.0
  assert time_estimate.estimate(run, seconds, trains_stage1=False) == 36.0


def test_another_method_tells_where_none_of_the_same_is_finished(tmp_path):
  seconds = {(BACKBONE, "neither", 2): 3.0, (BACKBONE, "", 2): 3.0}
  run = _run(tmp_path)
  assert time_estimate.estimate(run, seconds, trains_stage1=False) == 54.0


def test_without_a_run_of_the_same_backbone_the_time_is_unknown(tmp_path):
  seconds = {("resnet10", "blt", 2): 3.0, ("resnet10", "", 2): 3.0}
  assert (
    time_estimate.estimate(_run(tmp_path), seconds, trains_stage1=False) is None
  )


def test_times_in_words():
  assert time_estimate.in_words([75.0]) == "about 0:01:15"
  assert time_estimate.in_words([75.0, None]) == (
    "about 0:01:15 and 1 of unknown time"
  )
  assert time_estimate.in_words([None]) == (
    "time unknown until a run with the same backbone is finished"
  )


@pytest.mark.parametrize(
  ("patience", "words"), [(0, "about"), (3, "at most about")]
)
def test_time_of_a_run_that_may_end_early_is_the_most(
  tmp_path, capsys, patience, words
):
  run = _run(tmp_path)
  config = with_values(run.config, {"stage2.patience": patience})
  run = dataclasses.replace(run, config=config)
  plan_lines.print_runs([run], lambda run, trains_stage1: 75.0)
  shown = capsys.readouterr().out.splitlines()
  assert shown[0].endswith(f": {words} 0:01:15")
  assert shown[-1] == f"# 1 runs to train, 0 finished: {words} 0:01:15"
  until = "at most, until 3 in a row raise nothing (rates"
  assert (until in page.schedule(config)) is bool(patience)
  config = with_values(config, {"optimizer.schedule": "cosine"})
  assert page.schedule(config).endswith(" (rates along a cosine)")
  assert "times 0.1" not in page.schedule(config)


def test_measured_steps_tell_the_time_of_runs(tmp_path, monkeypatch):
  measured = []

  def measure(config):
    measured.append(config.method)
    return epoch_seconds.Times(
      starting=3.0,
      compiling=20.0,
      steps={1: 0.1},
      epochs={1: 2.0, 2: 5.0},
      testing=1.0,
    )

  monkeypatch.setattr(epoch_seconds, "measure", measure)
  first, second = (_run(tmp_path, name) for name in ("fig1", "fig1"))
  steps = time_estimate.Steps({first.name: "blt"})
  begin = steps.estimate(first, True) - (3 + 20 + 12 * 2 + 18 * 5 + 1)
  assert 0 <= begin < 60  # Importing JAX.
  again = steps.estimate(second, False)
  assert again == pytest.approx(begin + 3 + 18 * 5 + 1)
  assert measured == ["blt"]
  assert steps.lines() == [
    "measured: blt: 100 ms a step of stage 1, 20 s of compiling once; in every "
    f"run {begin + 3:.0f} s to start and 1 s of tests",
    "not in it: checkpoints and the report of every run",
  ]
  assert time_estimate.Steps({}).lines() == []


def test_time_of_compiling_is_told_from_that_of_tracing():
  with epoch_seconds._compiler() as compiled:
    assert compiled() == 0
    jax.jit(lambda x: time.sleep(0.2) or 3 * x).lower(1.0)
    assert compiled() == 0
    start = time.monotonic()
    jax.jit(lambda x: jnp.sin(5 * x))(1.0)
    assert 0 < compiled() < time.monotonic() - start
  before = compiled()
  jax.jit(lambda x: jnp.sin(7 * x))(1.0)
  assert compiled() == before
