import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from blt_jax import models
from blt_jax.method.train_step import merge
from blt_jax.models import parts, torch_names


class _Means(nn.Module):
  """A backbone without parameters."""

  @nn.compact
  def __call__(self, images, *, train, mask):
    return images.mean((1, 2))


def some_params(backbone):
  """Shapes of a network's parameters, of the backbone as they are."""
  flat = {
    ("backbone", *path[1:]): shape
    for path, shape in torch_names.paths(backbone).items()
    if path[0] == "params"
  }
  flat |= {("hidden", "bias"): (512,), ("classifier", "kernel"): (512, 7)}
  return traverse_util.unflatten_dict(flat)


def trained_below(backbone, train):
  """The modules and parameters of a backbone that are trained, sorted."""
  trained, frozen = parts.split(backbone, some_params(backbone), train=train)
  assert merge(trained, frozen) == some_params(backbone)
  assert {"hidden", "classifier"} <= set(trained)
  return sorted(trained.get("backbone", {}))


@pytest.mark.parametrize(
  ("backbone", "train", "modules"),
  [
    ("resnet10", "classifier", []),
    ("resnet10", "last:1", ["layer4_0"]),
    ("resnet50", "last:2", ["layer4_1", "layer4_2"]),
    (
      "tf_efficientnet_lite0",
      "last:1",
      ["features_7_0", "features_8_0", "features_8_1"],
    ),
    ("vit_tiny_patch16_224", "last:2", ["blocks__10", "blocks__11", "norm"]),
    ("convnext_atto", "last:1", ["head__norm", "stages__3__blocks__1"]),
    ("vit_tiny_patch16_224", "adapters", []),
  ],
)
def test_last_blocks_and_what_is_behind_them(backbone, train, modules):
  assert trained_below(backbone, train) == modules


@pytest.mark.parametrize("backbone", ["resnet10", "vit_tiny_patch16_224"])
def test_norms_and_biases_are_vectors_and_all_of_a_norm(backbone):
  trained, frozen = parts.split(
    backbone, some_params(backbone), train="norms_and_biases"
  )
  names = {path[-1] for path in traverse_util.flatten_dict(trained["backbone"])}
  assert names == {"scale", "bias"}
  left = {path[-1] for path in traverse_util.flatten_dict(frozen["backbone"])}
  assert not left & names
  shapes = traverse_util.flatten_dict(trained["backbone"]).values()
  assert {len(shape) for shape in shapes} == {1}


def test_all_is_the_whole_tree():
  params = some_params("resnet10")
  assert parts.split("resnet10", params, train="all") == (params, {})


def test_a_network_without_hidden_layer_classifies_the_features():
  network = models.create_model("small_resnet10", 7, hidden=0)
  network = network.clone(backbone=_Means())
  images = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
  variables = network.init(jax.random.key(0), images, train=False)
  assert set(variables["params"]) == {"classifier"}
  features = images.mean((1, 2))
  kernel = np.asarray(variables["params"]["classifier"]["kernel"])
  lengths = np.linalg.norm(features, axis=1, keepdims=True)
  expected = (
    20
    * (features / (0.5 + lengths))
    @ (kernel / np.linalg.norm(kernel, axis=0)[None])
  )
  found = network.apply(variables, images, train=False)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
