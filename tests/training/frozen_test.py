"""Runs that train a part of a network whose rest others have trained."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image
from safetensors.numpy import save_file

import blt_jax
from blt_jax.config import check_config
from blt_jax.config.unused import unused
from blt_jax.deploy import export
from blt_jax.deploy.formats import safetensors_file
from blt_jax.deploy.from_run import from_workdir
from blt_jax.models import (
  create_backbone,
  pretrained,
  torch_names,
  torch_weights,
  vit,
)
from blt_jax.system.interrupt import NOTHING, STOP, Interrupted, Watch
from blt_jax.training import build, evaluate, frozen, resume, train
from blt_jax.workdir import directory, files
from blt_jax.workdir.checkpoint import Checkpoints
from tests import small_run

NAME = "small_resnet10"


@pytest.fixture(autouse=True, scope="module")
def _quick():
  with (
    small_run.one_block(),
    small_run.steps_traced_once(),
    small_run.without_examples(),
  ):
    yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """A file of a backbone's weights."""
  path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
  init = functools.partial(create_backbone(NAME).init, train=False)
  variables = jax.jit(init)(jax.random.key(5), jnp.zeros((1, 8, 8, 3)))
  save_file(torch_weights.backbone_to_torchvision(NAME, variables), path)
  return path


def make_config(weights, **fields):
  return small_run.make_config(
    small_run.FEW_SLOTS,
    stage1__epochs=0,
    stage2__epochs=1,
    perturb__start_epoch=1,
    model__train="classifier",
    model__hidden=0,
    model__pretrained=str(weights),
    **fields,
  )


@pytest.fixture(scope="module")
def whole(weights, tmp_path_factory):
  """Work directory of a run that was never stopped."""
  workdir = tmp_path_factory.mktemp("frozen") / "whole"
  train.train(make_config(weights), workdir)
  return workdir


def test_a_run_that_was_stopped_ends_with_the_same_bits(
  whole, weights, tmp_path, monkeypatch, capsys
):
  class Stopping(Watch):
    polls = 0

    def poll(self):
      type(self).polls += 1
      return STOP if self.polls in (2, 6) else NOTHING

  monkeypatch.setattr(train, "Watch", Stopping)
  for _ in range(2):
    with pytest.raises(Interrupted):
      train.train(make_config(weights), tmp_path)
  train.train(make_config(weights), tmp_path)
  assert (tmp_path / "results.json").read_bytes() == (
    whole / "results.json"
  ).read_bytes()
  there, here = (
    from_workdir(path, checkpoint="last") for path in (whole, tmp_path)
  )
  jax.tree.map(np.testing.assert_array_equal, here.variables, there.variables)
  assert "trained: 160 of 5,296 parameters " in capsys.readouterr().out


def test_checkpoints_hold_the_trained_part_alone(whole, weights):
  template = train.Run(check_config(make_config(weights))).state_shapes()
  with Checkpoints(whole / "checkpoints", read_only=True) as checkpoints:
    arrays, _ = checkpoints.restore(template.arrays())
  shapes = [leaf.shape for leaf in jax.tree.leaves(arrays["opt_state"])]
  assert sorted(shapes) == [(), (), (16, 10)]
  del arrays["opt_state"]
  assert jax.tree.map(np.shape, arrays) == {
    "step": (),
    "params": {"classifier": {"kernel": (16, 10)}},
    "batch_stats": {},
    "confusion": (10, 10),
  }


def test_an_export_holds_everything(whole, weights, monkeypatch, tmp_path):
  monkeypatch.setattr(
    export, "compare", lambda model, folder, names: dict.fromkeys(names, 0.0)
  )
  model = from_workdir(whole)
  export.export(model, tmp_path / "out", names=["safetensors"])
  read = safetensors_file.read(tmp_path / "out").variables
  jax.tree.map(np.testing.assert_array_equal, read, model.variables)
  begun = torch_weights.backbone_from_safetensors(NAME, weights)
  for kind, tree in begun.items():
    jax.tree.map(np.testing.assert_array_equal, read[kind]["backbone"], tree)
  card = (tmp_path / "out" / "README.md").read_text()
  assert f"{NAME}, a squashing-cosine classifier" in card


def test_an_evaluation_measures_what_the_run_did(whole):
  (found,) = evaluate.evaluate_run(whole)
  results = files.read_object(whole / "results.json")
  assert found["overall"] == results["best"]["test"]["overall"]


@pytest.fixture
def aside(weights, tmp_path):
  """The weights in another place."""
  place = weights.rename(tmp_path / "aside.safetensors")
  yield place
  place.rename(weights)


def test_weights_that_are_gone_are_named(whole, weights, aside):
  expected = (
    rf"which holds what .* leaves as it is: {weights}: No such file .* Where "
    rf"the file, SHA-256 {pretrained.sha256(aside)}, is in another place, add "
    r"--config\.model\.pretrained=FILE; .*load\(workdir, pretrained=FILE\)"
  )
  for use in (blt_jax.load, evaluate.evaluate_run):
    with pytest.raises(ValueError, match=expected):
      use(whole)


def test_weights_in_another_place_are_as_good(whole, aside, monkeypatch):
  monkeypatch.chdir(aside.parent)
  place = aside.name
  (found,) = evaluate.evaluate_run(whole, places={"model.pretrained": place})
  results = files.read_object(whole / "results.json")
  assert found["overall"] == results["best"]["test"]["overall"]
  loaded = blt_jax.load(whole, pretrained=place).variables
  begun = torch_weights.backbone_from_safetensors(NAME, aside)
  jax.tree.map(
    np.testing.assert_array_equal,
    loaded["params"]["backbone"],
    begun["params"],
  )


@pytest.mark.parametrize("mode", ["evaluate", "predict", "evaluate --input"])
def test_commands_take_the_new_place(whole, aside, mode, command_lines):
  folder = aside.parent
  (folder / "images" / "3").mkdir(parents=True)
  Image.new("RGB", (8, 8)).save(folder / "images" / "3" / "a.png")
  flags = [f"--mode={mode.partition(' ')[0]}", f"--workdir={whole}"]
  if mode != "evaluate":
    flags += ["--input=images", "--output=a.csv"]
  finished = command_lines.run(
    [*flags, f"--config.model.pretrained={aside.name}"], folder, one_block=True
  )
  assert finished.code == 0, finished.stderr
  assert (folder / "a.csv").exists() == (mode != "evaluate")


def _other(weights, folder):
  """A file of other weights."""
  path = folder / "other.safetensors"
  content = bytearray(weights.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  return path


def test_other_weights_in_another_place_are_refused(whole, weights, tmp_path):
  other = _other(weights, tmp_path)
  with pytest.raises(ValueError, match=f"{other} has SHA-256 .*; expected "):
    blt_jax.load(whole, pretrained=other)
  with pytest.raises(ValueError, match=f"{other} has SHA-256 .*; expected "):
    evaluate.evaluate_run(whole, places={"model.pretrained": str(other)})


def test_a_finished_run_records_the_new_place(
  whole, weights, tmp_path, monkeypatch, capsys
):
  run, copy = tmp_path / "run", tmp_path / "copy.safetensors"
  shutil.copytree(whole, run)
  shutil.copy(weights, copy)
  monkeypatch.chdir(tmp_path)
  train.train(make_config("copy.safetensors"), run)
  assert directory.read_config(run).model.pretrained == str(copy)
  said = capsys.readouterr().out
  assert f"config.model.pretrained is now '{copy}', before '{weights}'" in said
  content = files.read_object(run / "config.json")
  assert content["model"]["pretrained"] == str(copy)


@pytest.mark.parametrize("place", ["other", "gone", "hf:ann/net", ""])
def test_a_run_goes_on_with_its_own_weights_alone(
  whole, weights, tmp_path, place
):
  path = {"other": _other(weights, tmp_path), "gone": tmp_path / "gone"}
  config = make_config(path.get(place, place))
  config.model.train = "all" if not place else config.model.train
  before = (whole / "config.json").read_bytes()
  hash_ = pretrained.sha256(weights)
  with pytest.raises(
    ValueError,
    match=f"is '{path.get(place, place)}'.*; expected '{weights}', with which "
    f"the run began, or a copy of its file, SHA-256 {hash_}"
    r"\. For other weights choose another --workdir\.",
  ):
    train.train(config, whole)
  assert (whole / "config.json").read_bytes() == before


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"model__pretrained": ""}, "'classifier'; expected 'all' without"),
    ({"model__train": "head"}, "expected one of all, classifier, norms"),
    ({"model__train": "last:0"}, "or last:N for the last N blocks"),
    ({"model__train": "adapters"}, "adapters are for vision transformers"),
    ({"model__train": "last:2"}, "expected at most last:1, the blocks of"),
  ],
)
def test_what_cannot_be_trained_is_refused(weights, fields, message):
  config = make_config(weights)
  for name, value in fields.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  with pytest.raises(ValueError, match=message):
    check_config(config)


def test_adapters_begin_beside_the_weights_of_a_file(tmp_path, monkeypatch):
  name, path = "vit_tiny_patch16_224", tmp_path / "vit.safetensors"
  small = {"width": 8, "depth": 1, "patch": 8, "native_size": 16}
  monkeypatch.setitem(vit.CONFIGS, name, small | {"head_width": 4})
  torch_names.paths.cache_clear()
  shapes = torch_names.paths(name)
  theirs = traverse_util.unflatten_dict(
    {place: np.full(shapes[place], 0.5, "f4") for place in shapes}
  )
  save_file(torch_weights.backbone_to_torchvision(name, theirs), path)
  # Of 4 x 4 patches, where the network's own are 2 x 2.
  config = make_config(path, dataset__image_size=32, dataset__resize_size=32)
  config.model.backbone, config.model.train = name, "adapters"
  config = check_config(config)
  model = build.build_model(config, 10)
  template = build.state_shapes(config, model, 10)
  ones = functools.partial(jax.tree.map, lambda leaf: np.ones(leaf.shape))
  fresh = template.replace(
    params=ones(template.params), frozen=ones(template.frozen)
  )
  begun = resume.with_pretrained(config, fresh)
  jax.tree.map(np.testing.assert_array_equal, begun.params, fresh.params)
  assert begun.params["backbone"]["blocks__0"].keys() == {"adapter"}
  leaves = jax.tree.leaves(begun.frozen)
  assert {float(leaf.ravel()[0]) for leaf in leaves} == {0.5}
  arrays = {"params": fresh.params}
  assert begun.frozen["params"]["backbone"]["pos_embed"].shape == (1, 17, 8)
  again = build.restored(config, template, arrays)
  jax.tree.map(np.testing.assert_array_equal, again.frozen, begun.frozen)
  line = frozen.trained_line(config, template, adapter_width=1)
  assert line.endswith("each block has an adapter of width 1")
  torch_names.paths.cache_clear()


def test_a_rate_of_nothing_is_announced(weights):
  config = check_config(make_config(weights, stage2__backbone_rate=0.5))
  (line,) = unused(config, ["stage2.backbone_rate"])
  assert line.endswith("nothing but the classifier is trained")
