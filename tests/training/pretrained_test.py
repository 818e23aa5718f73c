"""Runs that begin with weights of others."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from blt_jax import load
from blt_jax.config import check_config, flatten, left_open, with_values
from blt_jax.models import pretrained as models_pretrained
from blt_jax.models import torch_names, torch_weights
from blt_jax.training import build, choose, pretrained, resume
from blt_jax.training.train import train
from blt_jax.workdir import directory
from configs import cifar10_lt, image_folder
from tests import loopback_hub
from tests.loopback_hub import timm_config
from tests.small_run import make_config, one_block, without_examples

NAME = "ann/net"
COMMIT = "0123456789" * 4


@pytest.fixture
def served(monkeypatch, tmp_path):
  with loopback_hub.serve() as found:
    loopback_hub.use(monkeypatch, found.url, tmp_path / "home")
    yield found


@pytest.fixture(scope="module")
def small():
  """A network of one block, whose weights are quickly written."""
  with one_block():
    yield loopback_hub.weights(
      torch_names.torch_shapes("small_resnet10"), classes=3
    )


def _weights(*, architecture="resnet18", size=224, crop=0.875, **others):
  found = models_pretrained.Preprocessing(
    (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic", crop, size
  )
  return models_pretrained.Weights(
    f"hf:{NAME}@{COMMIT}",
    pathlib.Path("model.safetensors"),
    "ab" * 32,
    architecture=architecture,
    num_classes=1000,
    preprocessing=found,
    told_by="as its config.json says",
    **others,
  )


def _choose(monkeypatch, values=(), *, weights=None, base=image_folder):
  """What a configuration becomes with some weights."""
  found = weights or _weights()
  monkeypatch.setattr(
    models_pretrained, "find", lambda source, backbone="": found
  )
  config = check_config(base.get_config())
  given = {"model.pretrained": f"hf:{NAME}", **dict(values)}
  return pretrained.choose(with_values(config, given))


def test_everything_that_is_open_follows_the_weights(monkeypatch):
  chosen = _choose(monkeypatch)
  values = flatten(chosen.config)
  assert values["model.pretrained"] == f"hf:{NAME}@{COMMIT}"
  assert values["model.pretrained_sha256"] == "ab" * 32
  assert values["model.backbone"] == "resnet18"
  assert values["dataset.mean"] == 3 * [0.5]
  assert values["dataset.std"] == 3 * [0.25]
  assert values["dataset.interpolation"] == "bicubic"
  assert set(left_open(chosen.config)) == {
    "dataset.grey_range",
    "dataset.image_size",
    "dataset.resize_size",
    "stage1.batch_size",
    "stage2.batch_size",
  }
  assert chosen.lines == (
    f"weights of hf:{NAME}@{COMMIT}: resnet18, trained on 1000 classes, images "
    "of 224 pixels, SHA-256 abababababab",
    "images are prepared as its config.json says: mean (0.5, 0.5, 0.5), std "
    "(0.25, 0.25, 0.25), bicubic, and a centre crop of 0.875 of the short side",
  )


def test_image_sizes_that_are_set_give_the_resize_size(monkeypatch):
  chosen = _choose(
    monkeypatch, {"dataset.image_size": 224}, weights=_weights(crop=0.95)
  )
  assert chosen.config.dataset.resize_size == 235
  assert len(chosen.lines) == 2


def test_values_of_the_user_win_and_are_said(monkeypatch):
  given = {
    "dataset.mean": (0.4, 0.4, 0.4),
    "dataset.image_size": 160,
    "dataset.resize_size": 200,
  }
  chosen = _choose(monkeypatch, given)
  values = flatten(chosen.config)
  assert {**given, "dataset.mean": [0.4, 0.4, 0.4]}.items() <= values.items()
  assert chosen.lines[2:] == (
    "note: config.dataset.mean is (0.4, 0.4, 0.4), and the weights were "
    "trained with (0.5, 0.5, 0.5)",
    "note: config.dataset.image_size is 160, and the weights were trained "
    "with 224",
    "note: config.dataset.resize_size is 200, and the crop of the weights "
    "gives 182",
  )


def test_weights_of_which_nothing_is_known_leave_it_at_imagenet(monkeypatch):
  found = dataclasses.replace(_weights(), preprocessing=None, num_classes=0)
  chosen = _choose(monkeypatch, weights=found)
  assert chosen.config.dataset.mean == ()
  assert chosen.config.dataset.interpolation == ""
  assert "nothing says how images were prepared" in chosen.lines[1]


def test_other_backbone_is_refused(monkeypatch):
  with pytest.raises(
    ValueError,
    match=f"config.model.backbone is resnet10; expected resnet18, .*{COMMIT}, ",
  ):
    _choose(monkeypatch, {"model.backbone": "resnet10"})


@pytest.mark.parametrize(
  "name, message",
  [
    ("vit_giant", "of .* are of 'vit_giant'; expected one of resnet10, "),
    ("", "do not say of which network; expected .* in config.model.backbone"),
  ],
)
def test_backbone_that_is_not_ours_is_refused(monkeypatch, name, message):
  with pytest.raises(ValueError, match=message):
    _choose(monkeypatch, weights=_weights(architecture=name))


def test_other_hash_is_refused(monkeypatch):
  with pytest.raises(
    ValueError,
    match=f"config.model.pretrained: .*{'ab' * 32}; expected {'cd' * 32}, as ",
  ):
    _choose(monkeypatch, {"model.pretrained_sha256": "cd" * 32})
  with pytest.raises(ValueError, match="expected empty, or 64 of the digits"):
    _choose(monkeypatch, {"model.pretrained_sha256": "CD" * 32})


@pytest.mark.parametrize(
  "shape, weights, size, short, why",
  [
    ((300, 400), {}, 224, 256, ""),
    ((300, 400), {"size": 160}, 160, 182, "; the weights know no larger ones"),
    ((130, 400), {"crop": 0.9}, 128, 142, ""),
    ((32, 32), {}, 96, 109, "; they are enlarged, because in so few pixels"),
    ((32, 32), {"size": 64}, 64, 73, "; they are enlarged, because"),
    ((32, 32), {"size": 32}, 32, 36, ""),
    (
      (32, 32),
      {"architecture": "vit_small_patch14_dinov2", "size": 518, "crop": 1.0},
      98,
      98,
      "; they are enlarged, because",
    ),
  ],
)
def test_image_size_suits_images_and_weights(
  monkeypatch, shape, weights, size, short, why
):
  chosen = _choose(monkeypatch, weights=_weights(**weights))
  seen = choose.Sample(1000, np.array(2 * [shape]))
  config, reasons = choose.choose(
    chosen.config, seen, num_devices=1, weights=chosen.weights
  )
  assert (config.dataset.image_size, config.dataset.resize_size) == (
    size,
    short,
  )
  assert f"(2 looked at){why}" in reasons[0]
  assert bool(why) == (";" in reasons[0])


def test_every_data_set_may_leave_open_what_weights_say(monkeypatch):
  config = check_config(cifar10_lt.get_config())
  open_ones = {"model.backbone": "auto", "dataset.image_size": 0}
  with pytest.raises(ValueError, match="config.dataset.image_size is 0; expe"):
    with_values(config, open_ones)
  chosen = _choose(monkeypatch, open_ones, base=cifar10_lt)
  assert chosen.config.model.backbone == "resnet18"
  assert "dataset.image_size" in left_open(chosen.config)


@pytest.mark.parametrize("source", ["hf:net", "timm:a/b", "hf:", "hf:a/b c"])
def test_names_that_are_none_are_refused(source):
  config = check_config(cifar10_lt.get_config())
  with pytest.raises(
    ValueError, match="config.model.pretrained is .*; expected a safetensors f"
  ):
    with_values(config, {"model.pretrained": source})


# Runs


@pytest.fixture
def _quick():
  with without_examples():
    yield


def _config(source, **fields):
  """The digits in one epoch, with everything open that weights say."""
  return make_config(
    stage2__epochs=0,
    stage1__epochs=fields.pop("epochs", 1),
    dataset__image_size=0,
    dataset__resize_size=0,
    dataset__mean=(),
    dataset__std=(),
    dataset__interpolation="",
    model__backbone="auto",
    model__pretrained=source,
    **fields,
  )


@pytest.mark.usefixtures("_quick")
def test_run_begins_with_a_repository_and_keeps_its_commit(
  served, small, tmp_path, capsys
):
  about = timm_config("small_resnet10", input_size=[3, 8, 8], crop_pct=1.0)
  files = {"model.safetensors": small, "config.json": about}
  commit = served.add(NAME, files)
  run = tmp_path / "run"
  train(_config(f"hf:{NAME}"), run)
  config = directory.read_config(run)
  assert config.model.pretrained == f"hf:{NAME}@{commit}"
  assert config.model.backbone == "small_resnet10"
  assert (config.dataset.image_size, config.dataset.resize_size) == (8, 8)
  assert config.dataset.mean == (0.5, 0.5, 0.5)
  assert config.dataset.interpolation == "bicubic"
  said = capsys.readouterr().out
  assert f"weights of hf:{NAME}@{commit}: small_resnet10, trained on 1000 " in (
    said
  )
  assert "its last layer is left out ('fc.bias', 'fc.weight')" in said
  # The branch moves on, and the run does not.
  served.add(NAME, {**files, "README.md": b"new"})
  before = len(served.requests)
  train(_config(f"hf:{NAME}"), run)
  assert len(served.requests) == before
  with pytest.raises(
    ValueError, match="@main, now .*; expected .*, with which"
  ):
    train(_config(f"hf:{NAME}@main"), run)
  with pytest.raises(
    ValueError, match="is 'hf:ann/other'; expected .*, with which the run began"
  ):
    train(_config("hf:ann/other"), run)


@pytest.mark.usefixtures("_quick")
def test_run_whose_file_has_changed_is_refused(small, tmp_path, capsys):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(small)
  path.with_name("config.json").write_bytes(
    timm_config("small_resnet10", input_size=[3, 8, 8], crop_pct=1.0)
  )
  run = tmp_path / "run"
  train(_config(str(path)), run)
  first = directory.read_config(run).model.pretrained_sha256
  path.write_bytes(small[:-1] + bytes([small[-1] ^ 1]))
  second = models_pretrained.sha256(path)
  for fields in ({}, {"model__pretrained_sha256": first}):
    with pytest.raises(
      ValueError,
      match=f"{path} has SHA-256 {second}; expected {first}, as config.model",
    ):
      train(_config(str(path), epochs=2, **fields), run)
  with pytest.raises(ValueError, match=f"{second}; expected {first}"):
    train(_config(str(path), model__pretrained_sha256=first), tmp_path / "new")
  assert not (tmp_path / "new").exists()
  path.unlink()
  train(_config(str(path), epochs=2), run)
  assert f"note: {path} is gone" in capsys.readouterr().out


@pytest.mark.usefixtures("_quick")
def test_run_goes_on_with_its_weights_in_another_folder(
  served, small, tmp_path, monkeypatch
):
  about = timm_config("small_resnet10", input_size=[3, 8, 8], crop_pct=1.0)
  served.add(NAME, {"model.safetensors": small, "config.json": about})
  run, place = tmp_path / "run", tmp_path / "weights.safetensors"
  train(_config(f"hf:{NAME}"), run)
  place.write_bytes(small)
  monkeypatch.chdir(tmp_path)
  train(_config(place.name, epochs=2), run)
  config = directory.read_config(run)
  assert (config.model.pretrained, config.stage1.epochs) == (str(place), 2)
  # Every weight is in the checkpoints.
  with pytest.raises(ValueError, match=f"is '{place}'; expected none: the ch"):
    load(run, pretrained=place)


def test_weights_in_a_file_are_named_from_any_folder(tmp_path, monkeypatch):
  config = check_config(image_folder.get_config())
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path / "ann"))
  for given, whole in (
    ("a/b.safetensors", str(tmp_path / "a/b.safetensors")),
    ("../c", str(tmp_path.parent / "c")),
    ("~/d", str(tmp_path / "ann/d")),
    (f"hf:{NAME}", f"hf:{NAME}"),
    ("auto", "auto"),
    ("", ""),
  ):
    found = with_values(config, {"model.pretrained": given})
    assert found.model.pretrained == whole


def test_state_has_the_weights(small, tmp_path):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(small)
  config = with_values(
    check_config(make_config()), {"model.pretrained": str(path)}
  )
  model = build.build_model(config, 10)
  fresh = build.init_state(config, model, 10)
  begun = resume.with_pretrained(config, fresh)
  wanted = torch_weights.backbone_from_safetensors("small_resnet10", path)
  jax.tree.map(
    np.testing.assert_array_equal, begun.params["backbone"], wanted["params"]
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    begun.params["hidden"],
    fresh.params["hidden"],
  )


def test_tensors_of_another_network_are_named(small, tmp_path):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(small)
  config = make_config(",backbone=resnet10", model__pretrained=str(path))
  with pytest.raises(
    ValueError,
    match=f"config.model.pretrained: {path} for resnet10: '.*' is missing; exp",
  ):
    train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_config_of_a_run_is_read_again(monkeypatch):
  config = _choose(monkeypatch, {"dataset.image_size": 224}).config
  text = json.dumps(dataclasses.asdict(config))
  assert check_config(json.loads(text)) == config
