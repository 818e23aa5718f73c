"""Weights to and from PyTorch, where it is installed."""

import functools
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from blt_jax.models import (
  create_backbone,
  create_model,
  torch_network,
  torch_weights,
)
from tests.small_run import ROOT

torch = pytest.importorskip("torch")

IMAGES = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
NAMES = ("resnet18", "resnext50_32x4d", "densenet121", "efficientnet_b0")


def random_variables(network):
  """Variables of a network with running statistics that are not 0 and 1."""
  images = np.zeros((1, 224, 224, 3), np.float32)
  shapes = jax.eval_shape(
    lambda: network.init(jax.random.key(0), images, train=False)
  )
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    name = path[-1].key
    if name in ("var", "scale"):
      return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    fan = max(np.prod(leaf.shape[:-1]), 1)
    return (rng.normal(size=leaf.shape) / np.sqrt(fan)).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def in_torch(network, images=IMAGES):
  """What a network of PyTorch makes of the images."""
  with torch.no_grad():
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    return network.eval()(images).numpy()


def as_tensors(arrays):
  return {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}


def torchvision_network(name, head):
  """torchvision's network with another last layer."""
  torchvision = pytest.importorskip("torchvision")
  network = getattr(torchvision.models, name)(weights=None)
  setattr(network, "fc" if name.startswith("res") else "classifier", head)
  return network


@pytest.mark.parametrize("name", NAMES)
def test_whole_network_in_torchvision(name):
  ours = create_model(name, 3, classifier="linear", hidden=8)
  variables = random_variables(ours)
  features = variables["params"]["hidden"]["kernel"].shape[0]
  head = torch.nn.Sequential(
    torch.nn.Linear(features, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
  )
  theirs = torchvision_network(name, head)
  tensors = as_tensors(torch_network.network_to_torchvision(name, variables))
  theirs.load_state_dict(tensors, strict=True)
  expected = ours.apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(in_torch(theirs), expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_features_in_torchvision(name):
  backbone = create_backbone(name)
  variables = random_variables(backbone)
  theirs = torchvision_network(name, torch.nn.Identity())
  tensors = as_tensors(torch_weights.backbone_to_torchvision(name, variables))
  theirs.load_state_dict(tensors, strict=True)
  expected = backbone.apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(in_torch(theirs), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_timm(name, tmp_path):
  timm = pytest.importorskip("timm")
  safetensors_torch = pytest.importorskip("safetensors.torch")
  torch.manual_seed(0)
  theirs = timm.create_model(name, pretrained=False)
  path = tmp_path / "timm.safetensors"
  safetensors_torch.save_file(theirs.state_dict(), path)
  variables = torch_weights.backbone_from_safetensors(name, path)
  theirs.reset_classifier(0)
  found = create_backbone(name).apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(found, in_torch(theirs), rtol=1e-3, atol=1e-4)


# Sizes to compare features at: the native one and another.
OF_TIMM = {
  "tf_efficientnet_lite0": (224, 101),
  "vit_tiny_patch16_224": (224, 96),
  "vit_small_patch16_224": (224, 96),
  "vit_base_patch16_224": (224, 96),
  "vit_large_patch16_224": (224, 96),
  "vit_base_patch16_clip_224": (224, 96),
  "vit_base_patch16_clip_quickgelu_224": (224, 96),
  "vit_small_patch14_dinov2": (518, 98),
  "vit_base_patch14_dinov2": (518, 98),
  "vit_small_patch14_reg4_dinov2": (518, 98),
  "vit_base_patch14_reg4_dinov2": (518, 98),
  "convnext_atto": (224, 75),
  "convnext_nano": (224, 75),
  "convnext_tiny": (224, 75),
  "convnext_small": (224, 75),
  "convnext_base": (224, 75),
}


def timm_network(name, **options):
  timm = pytest.importorskip("timm")
  if name.startswith("vit_"):
    options["dynamic_img_size"] = True
  return timm.create_model(name, pretrained=False, num_classes=0, **options)


@pytest.mark.parametrize("name", OF_TIMM)
def test_features_of_timm_both_ways(name, tmp_path):
  theirs = timm_network(name)
  variables = random_variables(create_backbone(name))
  tensors = torch_weights.backbone_to_torchvision(name, variables)
  path = tmp_path / "ours.safetensors"
  save_file(tensors, path)
  theirs.load_state_dict(as_tensors(load_file(path)), strict=True)
  assert list(theirs.state_dict()) == list(tensors)
  theirs_as_arrays = {k: v.numpy() for k, v in theirs.state_dict().items()}
  found = torch_weights.backbone_from_torchvision(name, theirs_as_arrays)
  apply = jax.jit(
    functools.partial(create_backbone(name).apply, train=False),
    compiler_options={"xla_backend_optimization_level": 0},
  )
  for size in OF_TIMM[name]:
    images = np.random.default_rng(size).normal(size=(1, size, size, 3))
    images = images.astype(np.float32)
    expected = in_torch(theirs, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
      apply(found, images), expected, rtol=1e-3, atol=1e-4 * scale
    )


@pytest.mark.parametrize(
  "name, size, smaller",
  [
    ("vit_tiny_patch16_224", 160, 96),
    ("vit_small_patch14_reg4_dinov2", 112, 70),
  ],
)
def test_file_of_timm_for_another_image_size(name, size, smaller, tmp_path):
  theirs = timm_network(name, img_size=size)
  torch.manual_seed(0)
  torch.nn.init.normal_(theirs.pos_embed)
  path = tmp_path / "timm.safetensors"
  save_file({k: v.numpy() for k, v in theirs.state_dict().items()}, path)
  for side in (size, smaller):
    images = np.random.default_rng(0).normal(size=(1, side, side, 3))
    images = images.astype(np.float32)
    found = torch_weights.backbone_from_safetensors(name, path, image_size=side)
    expected = in_torch(theirs, images)
    np.testing.assert_allclose(
      create_backbone(name).apply(found, images, train=False),
      expected,
      rtol=1e-3,
      atol=1e-4 * np.abs(expected).max(),
    )
    tensors = torch_weights.backbone_to_torchvision(name, found)
    timm_network(name, img_size=side).load_state_dict(
      as_tensors(tensors), strict=True
    )


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto"])
def test_network_of_timm_begins_ours(name, tmp_path):
  timm = pytest.importorskip("timm")
  theirs = timm.create_model(name, pretrained=False, num_classes=5)
  path = tmp_path / "timm.safetensors"
  save_file({k: v.numpy() for k, v in theirs.state_dict().items()}, path)
  variables = torch_weights.backbone_from_safetensors(name, path)
  theirs.reset_classifier(0)
  found = create_backbone(name).apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(found, in_torch(theirs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  "name", ["vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_lite0"]
)
def test_whole_network_without_hidden_layer_in_timm(name):
  timm = pytest.importorskip("timm")
  ours = create_model(name, 3, classifier="linear", hidden=0)
  variables = {"batch_stats": {}, **random_variables(ours)}
  images = np.random.default_rng(0).normal(size=(1, 224, 224, 3))
  images = images.astype(np.float32)
  theirs = timm.create_model(name, pretrained=False, num_classes=3)
  tensors = as_tensors(torch_network.network_to_torchvision(name, variables))
  theirs.load_state_dict(tensors, strict=True)
  expected = jax.jit(
    functools.partial(ours.apply, train=False),
    compiler_options={"xla_backend_optimization_level": 0},
  )(variables, images)
  np.testing.assert_allclose(
    in_torch(theirs, images),
    expected,
    rtol=1e-3,
    atol=1e-4 * np.abs(expected).max(),
  )


def convert_pth(*arguments):
  return subprocess.run(
    [sys.executable, "tools/pth_to_safetensors.py", *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture
def checkpoint(tmp_path):
  """A file in the form of the authors': state dicts in a dictionary."""
  rng = np.random.default_rng(0)
  variables = random_variables(create_backbone("resnet10"))
  tensors = as_tensors(
    torch_weights.backbone_to_torchvision("resnet10", variables)
  )
  feat_model = {f"module.{name}": tensor for name, tensor in tensors.items()}
  own = rng.normal(size=(4, 4)).astype(np.float32)
  feat_model["module.fc_add.weight"] = torch.from_numpy(own)
  content = {
    "state_dict_best": {
      "feat_model": feat_model,
      "classifier": {"module.weight": torch.zeros(3, 4)},
    },
    "best_epoch": 55,
  }
  path = tmp_path / "model.pth"
  torch.save(content, path)
  return path, variables


def test_pth_becomes_weights_to_begin_with(checkpoint, tmp_path):
  path, variables = checkpoint
  target = tmp_path / "backbone.safetensors"
  key = "state_dict_best.feat_model"
  finished = convert_pth(path, target, f"--key={key}", "--drop=fc_add")
  assert finished.returncode == 0, finished.stderr
  assert "conv1.weight" in load_file(target)
  found = torch_weights.backbone_from_safetensors("resnet10", target)
  jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_state_dicts_of_a_pth_are_listed(checkpoint, tmp_path):
  finished = convert_pth(checkpoint[0], tmp_path / "a.safetensors")
  assert finished.returncode == 1
  assert "--key=state_dict_best.feat_model" in finished.stderr
  assert "--key=state_dict_best.classifier  (1 tensors)" in finished.stderr
  assert not (tmp_path / "a.safetensors").exists()


class Program:
  """Runs something when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return (open, (str(self.path), "w"))


def test_pth_with_a_program_is_refused(tmp_path):
  torch.save({"a": Program(tmp_path / "harm")}, tmp_path / "bad.pth")
  finished = convert_pth(tmp_path / "bad.pth", tmp_path / "a.safetensors")
  assert finished.returncode == 1
  assert "can't be loaded as weights" in finished.stderr
  assert not (tmp_path / "harm").exists()
