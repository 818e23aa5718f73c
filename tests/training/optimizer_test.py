"""Runs with adamw, a cosine, rates by layers and averaged weights."""

import shutil

import jax
import numpy as np
import pytest

from blt_jax.config import check_config, with_values
from blt_jax.deploy.from_run import from_workdir
from blt_jax.models import blocks
from blt_jax.system.interrupt import NOTHING, STOP, Interrupted, Watch
from blt_jax.training import build, together, train
from blt_jax.training.evaluate import evaluate_run
from blt_jax.training.run import Run
from blt_jax.workdir import files
from blt_jax.workdir.checkpoint import Checkpoints
from tests import small_run

RATES = {"backbone_rate": 0.01, "classifier_rate": 0.02}


def make_config(**fields):
  """An epoch of six steps in each stage."""
  config = small_run.make_config(
    small_run.FEW_SLOTS,
    optimizer__name="adamw",
    optimizer__weight_decay=0.05,
    optimizer__schedule="cosine",
    optimizer__warmup_epochs=0.5,
    optimizer__layer_decay=0.75,
    optimizer__ema=0.8,
    stage2__epochs=1,
    stage2__perturb=False,  # Steps compile sooner.
  )
  config.stage1.update(RATES)
  config.stage2.update(RATES)
  for name, value in fields.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  return config


@pytest.fixture(autouse=True, scope="module")
def _quick():
  with small_run.one_block(), small_run.steps_traced_once():
    yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Directories of a run and of the same, stopped in each of its stages."""
  folder = tmp_path_factory.mktemp("optimizer")
  stops, polls = {4: STOP, 14: STOP}, iter(range(1, 1000))

  class Stopping(Watch):
    def poll(self):
      return stops.get(next(polls), NOTHING)

  with pytest.MonkeyPatch.context() as patch, small_run.without_examples():
    train.train(make_config(), folder / "whole")
    patch.setattr(train, "Watch", Stopping)
    for place in ("stage 1 epoch 1 after step 4", "stage 2 epoch 1 after step"):
      with pytest.raises(Interrupted, match=place):
        train.train(make_config(), folder / "stopped")
    train.train(make_config(), folder / "stopped")
  return folder / "whole", folder / "stopped"


def _last(workdir):
  """The arrays of the newest checkpoint."""
  state = Run(check_config(make_config())).state_shapes()
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(state.arrays())[0]


def test_stops_change_no_bit(runs):
  whole, stopped = map(_last, runs)
  jax.tree.map(np.testing.assert_array_equal, whole, stopped)
  first, second = (files.read_object(each / "results.json") for each in runs)
  assert first == second


def test_average_begins_anew_with_a_stage(runs):
  arrays = _last(runs[0])
  assert arrays["step"] == 12
  assert arrays["average"].steps == 6
  for part in ("params", "batch_stats"):
    for ours, average in zip(
      jax.tree.leaves(arrays[part]),
      jax.tree.leaves(getattr(arrays["average"], part)),
      strict=True,
    ):
      assert (ours != average).any()
      np.testing.assert_allclose(ours, average, atol=0.3)


def test_evaluation_and_exports_use_the_average(runs, capsys):
  workdir = runs[0]
  (found,) = evaluate_run(workdir, checkpoint="last")
  assert found == files.read_object(workdir / "results.json")["last"]["test"]
  model = from_workdir(workdir, checkpoint="last")
  average = _last(workdir)["average"]
  jax.tree.map(
    np.testing.assert_array_equal,
    model.variables,
    {"params": average.params, "batch_stats": average.batch_stats},
  )


def test_longer_stage_is_refused_under_a_cosine(runs, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(runs[0], workdir)
  before = (workdir / "config.json").read_bytes()
  with pytest.raises(ValueError, match=r"stage2\.epochs is 2; expected 1 with"):
    train.train(make_config(stage2__epochs=2), workdir)
  assert (workdir / "config.json").read_bytes() == before


def test_a_stage_that_has_not_begun_may_become_longer(runs, tmp_path):
  """Of a run that ended with stage 1, which has its rates already."""
  workdir = tmp_path / "run"
  shutil.copytree(runs[0], workdir)
  shutil.rmtree(workdir / "checkpoints" / "12")
  (workdir / "results.json").unlink()
  run = Run(check_config(make_config(stage2__epochs=2)))
  with run.open_checkpoints(workdir) as checkpoints:
    train.begin_or_resume(run, checkpoints, workdir)
  run = Run(check_config(make_config(stage1__epochs=2, stage2__epochs=2)))
  with (
    run.open_checkpoints(workdir) as checkpoints,
    pytest.raises(ValueError, match=r"stage1\.epochs is 2; expected 1 with"),
  ):
    train.begin_or_resume(run, checkpoints, workdir)


def test_layers_have_their_rates():
  """A gradient of 1 moves the depths of a network as their factors say."""
  values = {"optimizer.name": "sgd", "optimizer.weight_decay": 0.0}
  config = with_values(check_config(make_config()), values)
  run = Run(config)
  backbone, stage = config.model.backbone, run.stages[0]
  tx = build.build_optimizer(config, stage)
  ones = jax.tree.map(
    lambda each: np.ones(each.shape, np.float32), run.state_shapes().params
  )
  updates, _ = tx.update(ones, tx.init(ones), ones)
  last = blocks.num_blocks(backbone) + 1
  assert last == 2
  warmed = 1 / 3  # The first of three steps of warm-up.

  def check(path, update):
    names = tuple(key.key for key in path)
    rate = 0.02 if names[0] == "classifier" else 0.01
    factor = 0.75 ** (last - blocks.depth_of(backbone, names))
    np.testing.assert_allclose(update, -rate * factor * warmed, rtol=1e-6)
    return factor

  factors = jax.tree_util.tree_map_with_path(check, updates)
  assert set(jax.tree.leaves(factors)) == {0.75**2, 0.75, 1.0}


def test_what_is_frozen_has_neither_moments_nor_an_average():
  values = {"model.train": "last:1", "model.pretrained": "a.safetensors"}
  run = Run(with_values(check_config(make_config()), values))
  state = run.state_shapes()
  assert state.params["backbone"].keys() == {"layer1_0"}
  trained = jax.tree.structure(state.params)
  assert jax.tree.structure(state.average.params) == trained
  counts, moments = 3, 2 * trained.num_leaves
  assert len(jax.tree.leaves(state.opt_state)) == counts + moments
  variables = jax.tree.structure(state.evaluated.variables)
  assert variables == jax.tree.structure(state.variables)
  tx = build.build_optimizer(run.config, run.stages[0])
  jax.eval_shape(tx.update, state.params, state.opt_state, state.params)


def test_papers_optimizer_has_no_more_state_than_before():
  config = check_config(small_run.make_config())
  state = Run(config).state_shapes()
  assert state.arrays().keys() == {
    "step",
    "params",
    "batch_stats",
    "opt_state",
    "confusion",
  }
  counts, momenta = 2, len(jax.tree.leaves(state.params))
  assert len(jax.tree.leaves(state.opt_state)) == counts + momenta
  assert not list(together.optimizer_lines(config, Run(config).stages))


def test_what_is_not_the_papers_is_said():
  config = check_config(make_config())
  assert list(together.optimizer_lines(config, Run(config).stages)) == [
    "adamw: kernels alone have the weight decay of 0.05, no biases, "
    "normalisations or embeddings",
    "learning rates rise in the first 3 and 3 steps of a stage",
    "learning rates fall to 0 by the end of a stage, along half a cosine; "
    "drop_epochs have no effect",
    "learning rates times 0.75 for each of the 1 blocks of small_resnet10 from "
    "the last one down, and 0.56 for its stem",
    "validation, test and exports use a moving average of the weights: "
    "config.optimizer.ema is 0.8",
  ]
