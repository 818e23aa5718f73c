import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax import models
from blt_jax.models import convnext, layers, vit

SMALL = vit.ViT(width=16, depth=1, patch=4, native_size=16, head_width=8)
LARGE_IMAGE = (1, 24, 16, 3)


def init(backbone, shape=LARGE_IMAGE):
  return jax.eval_shape(
    lambda: backbone.init(jax.random.key(0), jnp.zeros(shape), train=False)
  )


def bicubic(position):
  """Keys' kernel with a = -0.5, which PyTorch takes where it antialiases."""
  x = abs(position)
  if x < 1:
    return 1.5 * x**3 - 2.5 * x**2 + 1
  return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights(old, new):
  """[new, old] of PyTorch's interpolate(mode="bicubic", antialias=True)."""
  scale = max(old / new, 1)
  matrix = np.zeros((new, old))
  for row in range(new):
    centre = (row + 0.5) * old / new
    for column in range(old):
      matrix[row, column] = bicubic((column + 0.5 - centre) / scale)
  return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("grid", [(3, 5), (9, 6), (2, 2), (12, 1)])
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("library", [np, jnp])
def test_positions_are_resampled_as_in_pytorch(grid, prefix, library):
  given = np.random.default_rng(0).normal(size=(1, prefix + 36, 4))
  found = vit.resample_positions(library.asarray(given, "float32"), grid)
  assert isinstance(found, np.ndarray) == (library is np)
  assert found.dtype == np.float32
  square = given[:, prefix:].reshape(6, 6, 4)
  expected = np.einsum(
    "ih,jw,hwd->ijd", weights(6, grid[0]), weights(6, grid[1]), square
  )
  np.testing.assert_allclose(
    found[0, prefix:], expected.reshape(-1, 4), atol=1e-5
  )
  np.testing.assert_array_equal(
    found[:, :prefix], np.float32(given[:, :prefix])
  )


@pytest.mark.parametrize("count", [36, 37])
def test_positions_of_their_own_grid_stay(count):
  positions = jnp.ones((1, count, 4))
  assert vit.resample_positions(positions, (6, 6)) is positions


def test_parameters_may_have_any_square_grid():
  larger, shape = SMALL.clone(native_size=24), (1, 24, 24, 3)
  variables = init(larger, shape)
  assert variables["params"]["pos_embed"].shape == (1, 37, 16)
  images = jax.ShapeDtypeStruct(shape, jnp.float32)
  expected, found = (
    jax.jit(functools.partial(each.apply, train=False))
    .lower(variables, images)
    .as_text()
    for each in (larger, SMALL)
  )
  assert found == expected


def test_fresh_positions_are_for_the_images_to_come():
  name = "vit_small_patch14_dinov2"
  assert models.create_backbone(name, image_size=98).native_size == 98
  assert models.create_backbone(name).native_size == 518
  models.create_backbone("resnet10", image_size=98)


def test_images_that_do_not_fit_patches_are_refused():
  with pytest.raises(
    ValueError, match="24 x 18 pixels; expected multiples of 4, the side"
  ):
    init(SMALL, (1, 24, 18, 3))


def test_images_too_small_for_convnext_are_refused():
  backbone = convnext.ConvNeXt(depths=(1, 1), filters=(8, 8))
  with pytest.raises(ValueError, match="7 x 9 pixels; expected at least 8 x 8"):
    init(backbone, (1, 7, 9, 3))


@pytest.mark.parametrize(
  "name, size, fitting",
  [
    ("resnet10", 17, (17,)),
    ("tf_efficientnet_lite0", 17, (17,)),
    ("vit_tiny_patch16_224", 160, (160,)),
    ("vit_tiny_patch16_224", 9, (16,)),
    ("vit_small_patch14_dinov2", 100, (98, 112)),
    ("convnext_atto", 31, (32,)),
    ("convnext_atto", 33, (33,)),
  ],
)
def test_sizes_that_a_backbone_takes(name, size, fitting):
  assert models.fitting_sizes(name, size) == fitting


@pytest.mark.parametrize(
  "name, size",
  [
    ("vit_tiny_patch16_224", 40),
    ("vit_tiny_patch16_224", 48),
    ("vit_small_patch14_dinov2", 16),
    ("vit_small_patch14_dinov2", 42),
    ("convnext_atto", 31),
    ("convnext_atto", 33),
  ],
)
def test_sizes_that_fit_are_those_that_the_network_takes(name, size):
  backbone = models.create_backbone(name)
  fits = not models.expected_size(name, size)
  try:
    init(backbone, (1, size, size, 3))
  except ValueError:
    assert not fits
  else:
    assert fits


def test_parameters_keep_the_native_positions():
  params = init(SMALL)["params"]
  assert params["pos_embed"].shape == (1, 17, 16)
  with_registers = init(SMALL.clone(registers=3))["params"]
  assert with_registers["pos_embed"].shape == (1, 16, 16)
  assert with_registers["reg_token"].shape == (1, 3, 16)


def test_patch_convolution_is_a_convolution():
  images = np.random.default_rng(0).normal(size=(2, 9, 13, 3))
  images = images.astype(np.float32)
  patches = layers.PatchConv(5, 4)
  variables = patches.init(jax.random.key(0), images)
  variables["params"]["bias"] = jnp.arange(5.0)
  expected = jax.lax.conv_general_dilated(
    images,
    variables["params"]["kernel"],
    (4, 4),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  found = patches.apply(variables, images)
  assert found.shape == (2, 2, 3, 5)
  np.testing.assert_allclose(
    found, expected + np.arange(5.0).reshape(1, 1, 1, 5), atol=1e-5
  )


@pytest.mark.parametrize(
  "backbone",
  [
    SMALL.clone(pre_norm=True, registers=2, layer_scale=0.1),
    convnext.ConvNeXt(depths=(1, 1), filters=(8, 16)),
  ],
)
def test_bfloat16_keeps_norms_and_features_float32(backbone):
  backbone = backbone.clone(dtype=jnp.bfloat16)
  variables = init(backbone)
  for leaf in jax.tree.leaves(variables):
    assert leaf.dtype == jnp.float32
  images = jax.ShapeDtypeStruct(LARGE_IMAGE, jnp.float32)
  apply = jax.jit(functools.partial(backbone.apply, train=True))
  lowered = apply.lower(variables, images)
  assert lowered.out_info.dtype == jnp.float32
  lines = lowered.as_text().splitlines()
  roots = [line for line in lines if "stablehlo.rsqrt" in line]
  assert len(roots) >= 3
  assert not any("bf16" in line for line in roots)
  products = [
    line
    for line in lines
    if "stablehlo.dot_general" in line or "stablehlo.convolution" in line
  ]
  # All but the resampling of the positions.
  in_bfloat16 = [line for line in products if "bf16" in line]
  assert len(in_bfloat16) >= 5
  assert len(products) - len(in_bfloat16) <= 2
