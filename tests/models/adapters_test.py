"""Adapters of vision transformers, their widths and their files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from blt_jax import models
from blt_jax.models import parts, torch_network, torch_weights, vit
from tests import small_run

NAME = "vit_tiny_patch16_224"
SMALL = {
  "width": 8,
  "depth": 2,
  "patch": 8,
  "native_size": 16,
  "head_width": 4,
}
IMAGES = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype("f4")


@pytest.fixture(scope="module")
def small_vit():
  """A small network has the name of a larger one."""
  with small_run.network_of(vit.CONFIGS, NAME, **SMALL):
    yield


def make_network(width):
  return models.create_model(
    NAME, 3, classifier="linear", hidden=0, adapter_width=width
  )


@pytest.fixture(scope="module")
def variables(small_vit):
  """Of a network with adapters."""
  init = functools.partial(make_network(2).init, train=False)
  return jax.jit(init)(jax.random.key(0), IMAGES)


def test_a_network_begins_as_it_is_without_adapters(variables):
  _, frozen = parts.split(NAME, variables["params"], train="adapters")
  plain = {
    "params": {**frozen, "classifier": variables["params"]["classifier"]}
  }

  @jax.jit
  def both(plain, variables):
    return tuple(
      make_network(width).apply(values, IMAGES, train=False)
      for width, values in ((0, plain), (2, variables))
    )

  np.testing.assert_array_equal(*both(plain, variables))


def test_an_adapter_is_the_formula_of_lift():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(2, 5, 8)).astype("f4")
  adapter = vit.Adapter(4)
  shapes = jax.eval_shape(adapter.init, jax.random.key(0), x)
  params = jax.tree.map(lambda s: rng.normal(size=s.shape), shapes)
  found = adapter.apply(params, x)
  p = params["params"]
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  y = y * p["norm"]["scale"].reshape(1, 1, -1) + p["norm"]["bias"].reshape(
    1, 1, -1
  )
  y = y @ p["down"]["kernel"] + p["down"]["bias"].reshape(1, 1, -1)
  y = np.maximum(y, 0) @ p["up"]["kernel"] + p["up"]["bias"].reshape(1, 1, -1)
  np.testing.assert_allclose(found, p["factor"][0] * y, rtol=1e-4, atol=1e-4)


def test_the_initial_weights_are_those_of_lift():
  params = vit.Adapter(64).init(jax.random.key(0), jnp.zeros((1, 1, 300)))
  params = params["params"]
  # kaiming_normal_(a=sqrt(5)): a gain of sqrt(2 / (1 + 5)) / sqrt(fan in).
  np.testing.assert_allclose(
    np.std(params["down"]["kernel"]), np.sqrt(1 / 3 / 300), rtol=0.03
  )
  assert params["factor"].tolist() == [1.0]
  for leaf in (params["up"]["kernel"], params["up"]["bias"]):
    assert not np.any(leaf)


@pytest.mark.parametrize(
  ("classes", "width"), [(1, 1), (10, 1), (100, 4), (365, 8), (8142, 256)]
)
def test_the_width_follows_classes_and_blocks(classes, width):
  # Of the 12 blocks: 2^floor(log2(C / 24)), as LIFT's runs had it.
  assert parts.adapter_width("vit_base_patch16_clip_224", classes) == width


def test_a_file_holds_the_adapters(variables, tmp_path):
  path = tmp_path / "a.safetensors"
  rng = np.random.default_rng(0)
  variables = {"batch_stats": {}} | jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype("f4"), variables
  )
  save_file(torch_network.network_to_torchvision(NAME, variables), path)
  names = {name for name in load_file(path) if "adapter" in name}
  assert len(names) == 14
  assert {"blocks.1.adapter.down.weight", "blocks.0.adapter.factor"} <= names
  about = {"hidden": 0, "num_classes": 3, "bias": True}
  read = torch_network.network_from_safetensors(
    NAME, path, **about, adapter_width=2
  )
  assert traverse_util.flatten_dict(read).keys() == (
    traverse_util.flatten_dict(variables).keys()
  )
  jax.tree.map(np.testing.assert_array_equal, read, variables)
  with pytest.raises(ValueError, match="adapter.* has shape .*; expected"):
    torch_network.network_from_safetensors(NAME, path, **about, adapter_width=3)


def test_adapters_of_a_file_are_left_out_of_its_backbone(variables, tmp_path):
  path, said = tmp_path / "a.safetensors", []
  tensors = torch_network.network_to_torchvision(
    NAME, {"batch_stats": {}, **variables}
  )
  save_file(tensors, path)
  found = torch_weights.backbone_from_safetensors(NAME, path, say=said.append)
  _, frozen = parts.split(NAME, variables["params"], train="adapters")
  jax.tree.map(
    np.testing.assert_array_equal, found["params"], frozen["backbone"]
  )
  assert said == [
    f"{path}: its last layer is left out ('head.bias', 'head.weight'); its "
    "adapters are left out (14 tensors, such as 'blocks.0.adapter.down.bias')"
  ]


def test_other_networks_take_no_adapters():
  with pytest.raises(ValueError, match="'resnet10'; expected a vision transf"):
    models.create_model("resnet10", 3, adapter_width=1)
