"""Runs whose numbers stop being finite, and runs with nothing to confuse."""

import csv
import json

import numpy as np
import pytest

from blt_jax.data.dataset import Split
from blt_jax.data.sampling import HallucinationPlan, epoch_plan
from blt_jax.training import nonfinite, train
from blt_jax.workdir.checkpoint import Checkpoints
from tests.marks import long_test
from tests.small_run import (
  FEW_SLOTS,
  make_config,
  one_block,
  without_examples,
)

SOUND = {"loss": 12.0, "gradient_norm": 2.0, "largest_pixel": 3.0}


@pytest.fixture(scope="module")
def plan():
  labels = np.repeat(np.arange(3), [20, 8, 4])
  slots = HallucinationPlan(np.arange(3) == 2, p=0.5, capacity=4)
  return epoch_plan(
    labels,
    seed=0,
    stage=2,
    epoch=7,
    batch_size=8,
    gamma=1.0,
    hallucinate=slots,
  )


def _check(metrics, plan, workdir):
  nonfinite.check(
    SOUND | metrics,
    plan=plan,
    step=2,
    split=Split(
      np.repeat(np.arange(3), [20, 8, 4]),
      images=np.zeros((32, 4, 4, 3), np.uint8),
    ),
    workdir=workdir,
  )


def test_finite_step_passes(plan, tmp_path):
  _check({}, plan, tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "metrics, message",
  [
    ({"loss": np.nan}, "the loss is nan. It has no hallucinated images: try l"),
    (
      {"gradient_norm": np.inf, "hallucinated": 2},
      "the norm of the gradient is inf. Its 2 hallucinated images did not",
    ),
    (
      {"loss": np.nan, "hallucinated": 2, "largest_pixel": 1e20},
      r"the loss is nan. Its 2 hallucinated images caused it \(their largest "
      r"pixel is 1e\+20\): try a lower config.perturb.step_size",
    ),
    (
      {"hallucinated": 2, "largest_pixel": np.inf},
      "the largest pixel of its hallucinated images is inf. Its 2 halluc",
    ),
  ],
)
def test_step_is_named_with_its_cause(metrics, message, plan, tmp_path):
  message = f"stage 2 epoch 7 step 3 of 4: {message}"
  with pytest.raises(FloatingPointError, match=message):
    _check(metrics, plan, tmp_path)
  content = json.loads((tmp_path / "nonfinite.json").read_text())
  assert [content[name] for name in ("stage", "epoch", "step_of_epoch")] == [
    2,
    7,
    3,
  ]
  assert [image["index"] for image in content["images"]] == (
    plan.indices[2].tolist()
  )
  used = plan.sources[2][plan.used[2]].tolist()
  assert [image["index"] for image in content["hallucinated_from"]] == used
  assert all(image["label"] == 2 for image in content["hallucinated_from"])
  assert content["caused_by_hallucination"] == (
    metrics.get("largest_pixel", 0) > 1e3
  )


@pytest.fixture
def _one_block():
  with one_block():
    yield


@pytest.fixture(autouse=True)
def _quick():
  with without_examples():
    yield


@pytest.mark.usefixtures("_one_block")
def test_run_stops_at_the_step_that_diverges(tmp_path):
  config = make_config(
    FEW_SLOTS, stage2__classifier_rate=1e30, stage2__epochs=1
  )
  with pytest.raises(FloatingPointError, match="stage 2 epoch 1 step [23] of"):
    train.train(config, tmp_path)
  content = json.loads((tmp_path / "nonfinite.json").read_text())
  assert len(content["images"]) == 64
  assert not content["caused_by_hallucination"]
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.latest_step() == 6


@long_test("another run")
def test_run_stops_at_hallucinations_that_are_not_finite(tmp_path):
  config = make_config(FEW_SLOTS, perturb__step_size=1e38, stage1__epochs=0)
  message = "stage 2 epoch 2 step 1 of 6: .* hallucinated images caused it"
  with pytest.raises(FloatingPointError, match=message):
    train.train(config, tmp_path)
  content = json.loads((tmp_path / "nonfinite.json").read_text())
  assert content["caused_by_hallucination"]
  assert content["hallucinated_from"]
  assert len(_rows(tmp_path)) == 1


def _rows(workdir):
  with (workdir / "metrics.csv").open() as file:
    return list(csv.DictReader(file))


def _train_and_check(config, workdir):
  """Losses are finite by `nonfinite.check`; so must be the accuracies."""
  results = train.train(config, workdir)
  assert np.isfinite(results["last"]["test"]["overall"])
  return _rows(workdir)


@pytest.mark.usefixtures("_one_block")
def test_empty_tail_trains_without_hallucinations(tmp_path):
  rows = _train_and_check(
    make_config(dataset__few_up_to=0, stage1__epochs=0), tmp_path
  )
  assert [row["hallucinated"] for row in rows] == ["0", "0"]
  assert [row["val_few"] for row in rows] == ["nan"] * 2


@long_test("another run")
def test_one_image_a_class_is_hallucinated_from_itself(tmp_path):
  config = make_config(dataset__max_per_class=1, dataset__imbalance=1.0)
  config.stage1.epochs, config.stage2.batch_size = 0, 10
  rows = _train_and_check(config, tmp_path)
  assert int(rows[1]["hallucinated"]) > 0


@long_test("another run")
def test_batches_without_a_tail_image_train(tmp_path):
  # Four images a batch, drawn as often as there are images: few of the tail.
  config = make_config(",method=blt_uniform")
  config.stage1.epochs, config.stage2.batch_size = 0, 4
  rows = _train_and_check(config, tmp_path)
  assert 0 < int(rows[1]["hallucinated"]) < 97
