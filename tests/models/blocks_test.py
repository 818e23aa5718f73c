"""The depth of every parameter of every backbone."""

import pytest

from blt_jax.models import BACKBONES, blocks, torch_names

# Blocks by the depths that the papers give.
COUNTS = {
  "resnet10": 4,
  "resnet18": 8,
  "resnet34": 16,
  "resnet50": 16,
  "resnet101": 33,
  "resnet152": 50,
  "resnext50_32x4d": 16,
  "small_resnet10": 4,
  "densenet121": 58,
  "efficientnet_b0": 16,
  "tf_efficientnet_lite0": 16,
  "vit_large_patch16_224": 24,
  "convnext_atto": 12,
  "convnext_nano": 14,
  "convnext_tiny": 18,
  "convnext_small": 36,
  "convnext_base": 36,
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_has_a_depth(backbone):
  depths = {
    path[1]: blocks.depth_of(backbone, ("backbone", *path[1:]))
    for path in torch_names.paths(backbone)
    if path[0] == "params"
  }
  count = blocks.num_blocks(backbone)
  assert count == COUNTS.get(backbone, 12)
  for part in ("hidden", "classifier"):
    depth = blocks.depth_of(backbone, (part, "kernel"))
    assert depth == depths.setdefault(part, depth) == count + 1
  assert set(depths.values()) == set(range(count + 2))
  # Nothing is named that the network does not have.
  named = {name for names in blocks.blocks(backbone) for name in names}
  assert named - depths.keys() <= {"reg_token", "norm_pre"}


# What is in no block by its name.
PLACES = {
  ("vit_base_patch16_clip_224", "norm_pre"): 0,
  ("vit_small_patch14_reg4_dinov2", "reg_token"): 0,
  ("vit_tiny_patch16_224", "pos_embed"): 0,
  ("vit_tiny_patch16_224", "blocks__11"): 12,
  ("vit_tiny_patch16_224", "norm"): 13,
  ("convnext_atto", "stages__1__downsample__1"): 3,
  ("convnext_atto", "stages__2__blocks__1"): 6,
  ("densenet121", "features_denseblock1_denselayer6"): 6,
  ("densenet121", "features_transition1"): 6,
  ("densenet121", "features_denseblock2_denselayer1"): 7,
  ("tf_efficientnet_lite0", "features_2_1"): 3,
  ("tf_efficientnet_lite0", "features_8_0"): 17,
  ("resnet50", "layer4_2"): 16,
}


@pytest.mark.parametrize(("backbone", "name"), PLACES)
def test_depths_grow_from_the_images_to_the_classes(backbone, name):
  path = ("backbone", name, "kernel")
  assert blocks.depth_of(backbone, path) == PLACES[backbone, name]


def test_a_part_that_a_block_has_beside_it_belongs_to_it():
  path = ("backbone", "blocks__3", "adapter__down", "kernel")
  assert blocks.depth_of("vit_tiny_patch16_224", path) == 4


@pytest.mark.parametrize("path", [("backbone", "layer9_0"), ("head", "conv1")])
def test_unknown_parts_are_refused(path):
  with pytest.raises(ValueError, match=f"parameter {path[0]}/{path[1]} has no"):
    blocks.depth_of("resnet10", path)
