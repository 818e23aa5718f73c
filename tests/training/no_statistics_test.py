"""Networks without batch normalisation go through all that a run does."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import blt_jax
from blt_jax.config import check_config
from blt_jax.deploy import export
from blt_jax.deploy.description import Description
from blt_jax.deploy.formats import jax_program
from blt_jax.deploy.from_run import from_workdir
from blt_jax.deploy.model import TrainedModel
from blt_jax.method import hallucinate, train_step
from blt_jax.models import (
  classifiers,
  convnext,
  vit,
)
from blt_jax.models.network import Network
from blt_jax.training import build, resume
from blt_jax.training.devices import deal
from blt_jax.training.train import train
from tests import small_run, small_step
from tests.bad_exports import ABOUT
from tests.marks import long_test
from tests.small_run import make_config

NAME = "vit_tiny_patch16_224"
# All that the vision transformers have, only less of it.
VIT = {
  "width": 16,
  "depth": 1,
  "patch": 8,
  "native_size": 24,
  "head_width": 8,
  "registers": 1,
  "pre_norm": True,
  "layer_scale": 0.5,
}
CONVNEXT = {"depths": (1,), "filters": (8,)}


@pytest.fixture(scope="module")
def small_vit():
  """A small network has the name of a larger one."""
  with small_run.network_of(vit.CONFIGS, NAME, **VIT):
    yield


def make_vit_config(**fields):
  config = make_config(
    model__backbone=NAME, stage1__epochs=1, stage2__epochs=1, **fields
  )
  config.dataset.image_size = config.dataset.resize_size = 16
  return config


@pytest.fixture
def unchecked(monkeypatch):
  """Exports are not loaded in another process, which takes seconds."""
  monkeypatch.setattr(
    export, "compare", lambda model, folder, names: dict.fromkeys(names, 0.0)
  )


@long_test("compiles two steps; method/frozen_test.py has a quicker one")
@pytest.mark.parametrize(
  "backbone", [vit.ViT(**VIT), convnext.ConvNeXt(**CONVNEXT)]
)
def test_two_steps_with_hallucination(backbone):
  state = small_step.make_state(
    Network(
      backbone=backbone,
      hidden=classifiers.Linear(16),
      classifier=classifiers.SquashingCosine(small_step.CLASSES),
    )
  )
  step = functools.partial(
    train_step.train_step,
    tx=small_step.TX,
    preprocess_fn=small_step.preprocess,
    hallucinate_fn=functools.partial(
      hallucinate.hallucinate,
      preprocess_fn=small_step.preprocess,
      confidence=(0.5, 0.6),
      ascent={"max_steps": 3},
    ),
  )
  mapped = small_step.over_devices(step, 2)
  after = state
  for seed in range(2):
    after, metrics = mapped(after, deal(small_step.make_batch(seed), 2))
    assert metrics["hallucinated"] > 0
    assert metrics["updates"] > 0
    assert np.isfinite(metrics["loss"])
  assert state.batch_stats == after.batch_stats == {}
  assert jax.tree.structure(state.params) == jax.tree.structure(after.params)
  # What is multiplied by a small factor moves little, but it moves.
  moved = jax.tree.map(
    lambda a, b: bool((a != np.asarray(b)).any()), state.params, after.params
  )
  assert all(jax.tree.leaves(moved))


def check_export(model, folder):
  """Exports a network, loads it again and begins a run with it."""
  assert model.variables["batch_stats"] == {}
  export.export(model, folder, names=["safetensors", "jax"])
  path = folder / "model.safetensors"
  assert {"cls_token", "blocks.0.ls2.gamma", "head.2.weight"} <= set(
    load_file(path)
  )
  images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3))
  images = images.astype(np.uint8)
  expected = model.logits(images)
  found = blt_jax.load(folder).logits(images)
  np.testing.assert_array_equal(found, expected)
  found = jax_program.load(folder)(images)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  config = check_config(make_vit_config(model__pretrained=str(path)))
  fresh = build.state_shapes(config, build.build_model(config, 10), 10)
  begun = resume.with_pretrained(config, fresh)
  assert jax.tree.structure(begun) == jax.tree.structure(fresh)
  jax.tree.map(
    np.testing.assert_array_equal,
    begun.params["backbone"],
    model.variables["params"]["backbone"],
  )


def test_network_is_exported_and_begins_a_run(small_vit, unchecked, tmp_path):
  about = ABOUT | {"backbone": NAME, "image_size": 16, "resize_size": 16}
  model = TrainedModel(Description.from_json(about, source="here"), {})
  images = np.zeros((1, 16, 16, 3), np.float32)
  init = functools.partial(model.module().init, train=False)
  variables = {"batch_stats": {}, **jax.jit(init)(jax.random.key(0), images)}
  model = dataclasses.replace(model, variables=variables)
  check_export(model, tmp_path / "out")


@long_test("trains")
def test_network_of_a_whole_run_is_exported(small_vit, unchecked, tmp_path):
  train(make_vit_config(), tmp_path / "run")
  check_export(from_workdir(tmp_path / "run"), tmp_path / "out")
