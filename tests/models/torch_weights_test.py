import json
import pathlib
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from blt_jax import models
from blt_jax.models import torch_names, torch_weights, vit

GOLDEN = pathlib.Path(__file__).parent / "golden"
GOLDEN_FILES = sorted(GOLDEN.glob("*.json"))


def golden_shapes(name):
  """Names and shapes of torchvision's state dict, in order."""
  golden = json.loads((GOLDEN / f"{name}.json").read_text())
  return {key: tuple(shape) for key, shape in golden["state_dict"]}


def random_state_dict(name, seed=0):
  rng = np.random.default_rng(seed)
  return {
    key: np.zeros((), np.int64)
    if key.endswith("num_batches_tracked")
    else rng.normal(size=shape).astype(np.float32)
    for key, shape in golden_shapes(name).items()
  }


@pytest.fixture(scope="module")
def state_dict():
  return random_state_dict("resnet10")


def zeros(name):
  """Variables of a backbone, all zeros that take no memory."""
  backbone = models.create_backbone(name)
  images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
  shapes = jax.eval_shape(
    lambda images: backbone.init(jax.random.key(0), images, train=False),
    images,
  )
  return jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), shapes)


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: path.stem)
def test_state_dict_has_torchvision_names_shapes_and_order(path):
  found = torch_weights.backbone_to_torchvision(path.stem, zeros(path.stem))
  want = golden_shapes(path.stem)
  assert [(key, value.shape) for key, value in found.items()] == [*want.items()]


def test_resnet101_is_resnet50_with_a_longer_third_stage():
  want = {
    key: shape
    for key, shape in golden_shapes("resnet50").items()
    if not key.startswith("layer3")
  }
  # torchvision's resnet152 has the same blocks there, only more of them.
  want |= {
    key: shape
    for key, shape in golden_shapes("resnet152").items()
    if key.startswith("layer3") and int(key.split(".")[1]) < 23
  }
  found = torch_weights.backbone_to_torchvision("resnet101", zeros("resnet101"))
  assert {key: value.shape for key, value in found.items()} == want


def resnext_shape(key, shape):
  """resnet50's shape with twice the width, in 32 groups."""
  in_block = key.startswith("layer") and "downsample" not in key
  if not in_block or (".conv3" in key and len(shape) == 1):
    return shape
  if ".conv1" in key:
    return (2 * shape[0], *shape[1:])
  if ".conv2" in key:
    return (2 * shape[0], 2 * shape[1] // 32, *shape[2:])
  if ".conv3" in key:
    return (shape[0], 2 * shape[1], *shape[2:])
  widened = (".bn1" in key or ".bn2" in key) and shape
  return (2 * shape[0],) if widened else shape


def test_resnext50_is_resnet50_with_wide_grouped_convolutions():
  want = {
    key: resnext_shape(key, shape)
    for key, shape in golden_shapes("resnet50").items()
  }
  found = torch_weights.backbone_to_torchvision(
    "resnext50_32x4d", zeros("resnext50_32x4d")
  )
  assert [(key, value.shape) for key, value in found.items()] == [*want.items()]
  assert want["layer1.0.conv2.weight"] == (128, 4, 3, 3)


@pytest.mark.parametrize(
  "name",
  [
    "resnet10",
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
  ],
)
def test_round_trip_is_exact(name):
  want = random_state_dict(name)
  variables = torch_weights.backbone_from_torchvision(name, want)
  found = torch_weights.backbone_to_torchvision(name, variables)
  assert list(found) == list(want)
  for key, value in found.items():
    np.testing.assert_array_equal(value, want[key], strict=True)


def test_variables_are_those_of_the_backbone(state_dict):
  variables = torch_weights.backbone_from_torchvision("resnet10", state_dict)
  want = zeros("resnet10")
  assert jax.tree.structure(variables) == jax.tree.structure(want)
  shapes = jax.tree.map(lambda a, b: a.shape == b.shape, variables, want)
  assert all(jax.tree.leaves(shapes))
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    np.dtype(np.float32)
  }


def test_convolutions_become_height_width_in_out(state_dict):
  variables = torch_weights.backbone_from_torchvision("resnet10", state_dict)
  kernel = variables["params"]["conv1"]["kernel"]
  assert kernel[6, 5, 2, 40] == state_dict["conv1.weight"][40, 2, 6, 5]


def test_variables_do_not_alias_the_state_dict():
  state_dict = random_state_dict("resnet10")
  variables = torch_weights.backbone_from_torchvision("resnet10", state_dict)
  before = variables["params"]["bn1"]["bias"].copy()
  state_dict["bn1.bias"] += 1
  np.testing.assert_array_equal(variables["params"]["bn1"]["bias"], before)


def test_last_layer_and_counters_are_ignored(state_dict):
  bare = {
    key: value
    for key, value in state_dict.items()
    if not key.endswith("num_batches_tracked")
  }
  with_fc = bare | {"fc.weight": np.ones((9, 512)), "fc.bias": np.ones(9)}
  want = torch_weights.backbone_from_torchvision("resnet10", state_dict)
  found = torch_weights.backbone_from_torchvision("resnet10", with_fc)
  jax.tree.map(np.testing.assert_array_equal, found, want)


def test_last_layer_called_classifier_is_ignored():
  state_dict = random_state_dict("efficientnet_b0")
  whole = state_dict | {"classifier.1.weight": np.ones((9, 1280))}
  found = torch_weights.backbone_from_torchvision("efficientnet_b0", whole)
  want = torch_weights.backbone_from_torchvision("efficientnet_b0", state_dict)
  jax.tree.map(np.testing.assert_array_equal, found, want)


def test_last_layer_called_head_is_ignored():
  name = "vit_tiny_patch16_224"
  state_dict = random_state_dict(name)
  whole = state_dict | {"head.weight": np.ones((9, 192)), "head.bias": 0}
  found = torch_weights.backbone_from_torchvision(name, whole)
  want = torch_weights.backbone_from_torchvision(name, state_dict)
  jax.tree.map(np.testing.assert_array_equal, found, want)


def test_norm_in_the_head_of_a_convnext_is_part_of_the_backbone():
  assert torch_names.is_last_layer("convnext_tiny", "head.fc.weight")
  assert not torch_names.is_last_layer("convnext_tiny", "head.norm.weight")


def test_dense_layers_become_in_out_and_tokens_stay():
  state_dict = random_state_dict("vit_tiny_patch16_224")
  params = torch_weights.backbone_from_torchvision(
    "vit_tiny_patch16_224", state_dict, image_size=224
  )["params"]
  kernel = params["blocks__3"]["attn__qkv"]["kernel"]
  assert kernel.shape == (192, 576)
  assert kernel[5, 77] == state_dict["blocks.3.attn.qkv.weight"][77, 5]
  np.testing.assert_array_equal(params["pos_embed"], state_dict["pos_embed"])


def test_image_size_that_a_backbone_does_not_take_is_refused():
  with pytest.raises(ValueError, match="image_size is 100; expected 96 or 112"):
    torch_weights.backbone_from_torchvision(
      "vit_tiny_patch16_224", {}, image_size=100
    )


@pytest.mark.parametrize("side", [24, 14])
def test_position_embeddings_of_a_file_may_have_any_square_grid(side, tmp_path):
  name = "vit_tiny_patch16_224"
  state_dict = random_state_dict(name)
  given = np.random.default_rng(1).normal(size=(1, side**2 + 1, 192))
  state_dict["pos_embed"] = given.astype(np.float32)
  params = torch_weights.backbone_from_torchvision(name, state_dict)["params"]
  np.testing.assert_array_equal(params["pos_embed"], state_dict["pos_embed"])
  save_file(state_dict, tmp_path / "file")
  said = []
  found = torch_weights.backbone_from_safetensors(
    name, tmp_path / "file", image_size=160, say=said.append
  )
  np.testing.assert_array_equal(
    found["params"]["pos_embed"],
    vit.resample_positions(state_dict["pos_embed"], (10, 10)),
  )
  assert said == [
    f"{tmp_path}/file: position embeddings of {side} x {side} patches are "
    "resampled to the 10 x 10 of images of 160 pixels"
  ]
  back = torch_weights.backbone_to_torchvision(name, found)
  assert back["pos_embed"].shape == (1, 101, 192)


@pytest.mark.parametrize(
  "shape", [(1, 193, 192), (1, 196, 192), (1, 1, 192), (1, 197, 9), (197, 192)]
)
def test_position_embeddings_of_no_square_are_refused(shape):
  name = "vit_tiny_patch16_224"
  state_dict = random_state_dict(name) | {"pos_embed": np.ones(shape)}
  with pytest.raises(
    ValueError,
    match=rf"'pos_embed' has shape {re.escape(f'{shape}')}; expected "
    r"\(1, 197, 192\), or those of another square of patches\.$",
  ):
    torch_weights.backbone_from_torchvision(name, state_dict)


def test_lite0_has_the_names_of_timm():
  names = list(torch_names.torch_shapes("tf_efficientnet_lite0"))
  assert names[:2] == ["conv_stem.weight", "bn1.weight"]
  assert "blocks.0.0.conv_pw.weight" in names
  assert "blocks.6.0.bn3.running_var" in names
  assert names[-5] == "conv_head.weight"
  assert not any("se." in name for name in names)


def test_names_in_published_densenet_files_are_understood():
  state_dict = random_state_dict("densenet121")
  published = {
    re.sub(r"(layer\d+\.)(norm|conv)([12])", r"\1\2.\3", key): value
    for key, value in state_dict.items()
  }
  assert "features.denseblock4.denselayer16.norm.2.weight" in published
  assert "features.conv0.weight" in published
  found = torch_weights.backbone_from_torchvision("densenet121", published)
  want = torch_weights.backbone_from_torchvision("densenet121", state_dict)
  jax.tree.map(np.testing.assert_array_equal, found, want)


def test_depthwise_kernels_become_height_width_one_out():
  state_dict = random_state_dict("efficientnet_b0")
  variables = torch_weights.backbone_from_torchvision(
    "efficientnet_b0", state_dict
  )
  kernel = variables["params"]["features_3_0"]["block_1_0"]["kernel"]
  assert kernel.shape == (5, 5, 1, 144)
  torch_kernel = state_dict["features.3.0.block.1.0.weight"]
  assert kernel[4, 2, 0, 77] == torch_kernel[77, 0, 4, 2]


def test_missing_tensor_is_named(state_dict):
  del (partial := dict(state_dict))["layer2.0.bn1.running_mean"]
  with pytest.raises(
    ValueError,
    match=r"resnet10, state dict: 'layer2.0.bn1.running_mean' is missing; "
    r"expected shape \(128,\)",
  ):
    torch_weights.backbone_from_torchvision("resnet10", partial)


def test_unexpected_tensor_is_named():
  with pytest.raises(
    ValueError, match=r"'layer1.1.conv1.weight' is unexpected; .*'conv1.weight'"
  ):
    torch_weights.backbone_from_torchvision(
      "resnet10", random_state_dict("resnet18")
    )


def test_wrong_shape_is_named(state_dict):
  wrong = state_dict | {"conv1.weight": np.zeros((64, 3, 3, 3))}
  with pytest.raises(
    ValueError,
    match=r"'conv1.weight' has shape \(64, 3, 3, 3\); "
    r"expected \(64, 3, 7, 7\)",
  ):
    torch_weights.backbone_from_torchvision("resnet10", wrong)


def test_unknown_backbone_is_named():
  with pytest.raises(ValueError, match="'alexnet'; expected one of resnet10, "):
    torch_weights.backbone_from_torchvision("alexnet", {})


def test_missing_variable_is_named():
  variables = zeros("resnet10")
  del variables["params"]["layer4_0"]["bn2"]["scale"]
  with pytest.raises(
    ValueError, match=r"'params/layer4_0/bn2/scale' is missing"
  ):
    torch_weights.backbone_to_torchvision("resnet10", variables)


def test_unexpected_variable_is_named():
  with pytest.raises(ValueError, match=r"'\w+/layer1_1/\w+/\w+' is unexpected"):
    torch_weights.backbone_to_torchvision("resnet10", zeros("resnet18"))


def test_wrong_shape_of_a_variable_is_named():
  variables = zeros("resnet10")
  variables["params"]["bn1"]["scale"] = np.ones(5)
  with pytest.raises(
    ValueError, match=r"'params/bn1/scale' has shape \(5,\); expected \(64,\)"
  ):
    torch_weights.backbone_to_torchvision("resnet10", variables)


PREFIXES = [
  *("model.", "backbone.", "encoder.", "net.", "state_dict.module."),
  *("teacher.backbone.", "module.encoder_q.", "student._orig_mod."),
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_backbone_may_be_a_part_of_another_network(tmp_path, prefix):
  tensors = random_state_dict("resnet10")
  stored = {prefix + key: value for key, value in tensors.items()}
  stored |= {"projector.weight": np.zeros(3), "queue": np.zeros(2)}
  save_file(stored, tmp_path / "file")
  said = []
  found = torch_weights.backbone_from_safetensors(
    "resnet10", tmp_path / "file", say=said.append
  )
  expected = torch_weights.backbone_from_torchvision("resnet10", tensors)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert said == [
    f"{tmp_path}/file: '{prefix}conv1.weight' is taken for 'conv1.weight'; "
    "left out: 2 other tensors, such as 'projector.weight'"
  ]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_of_a_wrapped_network_are_understood(
  tmp_path, prefix, state_dict
):
  stored = {prefix + key: value for key, value in state_dict.items()}
  save_file(stored, tmp_path / "file")
  said = []
  found = torch_weights.backbone_from_safetensors(
    "resnet10", tmp_path / "file", say=said.append
  )
  expected = torch_weights.backbone_from_torchvision("resnet10", state_dict)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert said == [
    f"{tmp_path}/file: '{prefix}conv1.weight' is taken for 'conv1.weight'"
  ]


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0"])
def test_wrapper_amid_the_names_is_understood(name):
  tensors = random_state_dict(name)
  wrapped = {
    key.replace("features.", "features.module."): value
    for key, value in tensors.items()
  }
  found = torch_weights.backbone_from_torchvision(name, wrapped)
  expected = torch_weights.backbone_from_torchvision(name, tensors)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_one_of_several_networks_has_to_be_chosen(state_dict):
  both = {
    f"module.{part}.{key}": value
    for part in ("encoder_q", "encoder_k")
    for key, value in state_dict.items()
  }
  message = (
    "resnet10, state dict: it holds 2 networks: 'conv1.weight' may be "
    "'module.encoder_k.conv1.weight', 'module.encoder_q.conv1.weight'; expected"
  )
  with pytest.raises(ValueError, match=message):
    torch_weights.backbone_from_torchvision("resnet10", both)


def test_part_that_is_not_whole_is_refused(state_dict):
  wrapped = {f"net.{key}": value for key, value in state_dict.items()}
  del wrapped["net.bn1.weight"]
  with pytest.raises(ValueError, match="'bn1.weight' is missing; expected sha"):
    torch_weights.backbone_from_torchvision("resnet10", wrapped)


def test_names_of_another_framework_are_shown():
  other = {"resnet.embedder.convolution.weight": np.zeros(3)}
  with pytest.raises(
    ValueError, match="Its names are such as 'resnet.embedder"
  ):
    torch_weights.backbone_from_torchvision("resnet10", other)
