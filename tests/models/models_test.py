import functools
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax import models
from blt_jax.models import (
  convnext,
  densenet,
  efficientnet,
  resnet,
  torch_weights,
  vit,
)
from tests.marks import long_test

GOLDEN = pathlib.Path(__file__).parent / "golden"
GOLDEN_NAMES = (
  "resnet10",
  "resnet18",
  "resnet34",
  "resnet50",
  "resnet152",
  "densenet121",
  "efficientnet_b0",
  "vit_tiny_patch16_224",
  "vit_small_patch16_224",
  "vit_small_patch14_dinov2",
  "vit_base_patch16_clip_quickgelu_224",
  "convnext_tiny",
)
# These have no file; torch_weights_test.py compares the names and shapes of two
# with those of their relatives, and pytorch_test.py those of timm with timm.
NOT_GOLDEN = (
  "resnet101",
  "resnext50_32x4d",
  "small_resnet10",
  "tf_efficientnet_lite0",
  "vit_base_patch16_224",
  "vit_large_patch16_224",
  "vit_base_patch16_clip_224",
  "vit_base_patch14_dinov2",
  "vit_small_patch14_reg4_dinov2",
  "vit_base_patch14_reg4_dinov2",
  "convnext_atto",
  "convnext_nano",
  "convnext_small",
  "convnext_base",
)
# Features of these are compared where BLT_LONG_TESTS is set, and the others at
# these sizes alone: smaller networks have the same blocks.
LONG = (
  *("resnet34", "resnet152", "convnext_tiny"),
  *("vit_small_patch16_224", "vit_base_patch16_clip_quickgelu_224"),
)
SIZES = {"resnet152": ("32",), "convnext_tiny": ("96",)}

# Parameters of whole models with 10 classes (squashing cosine).
NUM_PARAMETERS = {
  "resnet10": 5_173_568,
  "resnet18": 11_444_288,
  "resnet34": 21_552_448,
  "resnet50": 24_562_240,
  "resnet101": 43_554_368,
  "resnet152": 59_198_016,
  "resnext50_32x4d": 24_034_112,
  "small_resnet10": 378_704,
  "densenet121": 7_483_776,
  "efficientnet_b0": 4_668_540,
  "tf_efficientnet_lite0": 4_032_000,
  "vit_tiny_patch16_224": 5_628_352,
  "vit_small_patch16_224": 21_867_904,
  "vit_base_patch16_224": 86_197_504,
  "vit_large_patch16_224": 303_831_552,
  "vit_base_patch16_clip_224": 86_198_272,
  "vit_base_patch16_clip_quickgelu_224": 86_198_272,
  "vit_small_patch14_dinov2": 22_258_432,
  "vit_base_patch14_dinov2": 86_978_560,
  "vit_small_patch14_reg4_dinov2": 22_259_584,
  "vit_base_patch14_reg4_dinov2": 86_980_864,
  "convnext_atto": 3_543_992,
  "convnext_nano": 15_285_872,
  "convnext_tiny": 28_218_976,
  "convnext_small": 49_853_536,
  "convnext_base": 88_096_384,
}
# What torchvision and timm publish, with a last layer of 1000 classes.
PUBLISHED_TOTALS = {
  "resnet18": (11_689_512, 512),
  "resnet34": (21_797_672, 512),
  "resnet50": (25_557_032, 2048),
  "resnet101": (44_549_160, 2048),
  "resnet152": (60_192_808, 2048),
  "resnext50_32x4d": (25_028_904, 2048),
  "densenet121": (7_978_856, 1024),
  "efficientnet_b0": (5_288_548, 1280),
  "vit_tiny_patch16_224": (5_717_416, 192),
  "vit_small_patch16_224": (22_050_664, 384),
  "vit_base_patch16_224": (86_567_656, 768),
  "vit_large_patch16_224": (304_326_632, 1024),
  "convnext_nano": (15_593_560, 640),
  "convnext_tiny": (28_589_128, 768),
  "convnext_small": (50_223_688, 768),
  "convnext_base": (88_591_464, 1024),
  "tf_efficientnet_lite0": (4_652_008, 1280),
}


def read_golden(name):
  return json.loads((GOLDEN / f"{name}.json").read_text())


def test_names_are_those_that_can_be_created():
  modules = (resnet, densenet, efficientnet, vit, convnext)
  names = [name for module in modules for name in module.CONFIGS]
  assert list(models.BACKBONES) == names


def test_names_need_no_flax():
  program = (
    "import sys; from blt_jax import models; "
    "print(sorted({'jax', 'flax'} & set(sys.modules)))"
  )
  finished = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert finished.stdout == "[]\n"


def frac(x):
  return x - np.trunc(x)


def golden_weight(index, name, shape):
  """An entry of the state dict, as shared/golden/README.md defines it."""
  if name.endswith("num_batches_tracked"):
    return np.zeros((), np.int64)
  n = math.prod(shape)
  i = np.arange(n, dtype=np.float64)
  u = frac(np.sin(12.9898 * i + 78.233 * (index + 1)) * 43758.5453)
  if name.endswith("running_var"):
    values = 1 + 0.5 * u
  elif name.endswith(("cls_token", "pos_embed", "reg_token")):
    values = 0.5 * u
  elif name.endswith("gamma"):
    values = 0.5 + 0.25 * u
  elif len(shape) == 1:
    values = 1 + 0.1 * u if name.endswith("weight") else 0.1 * u
  else:
    values = u * math.sqrt(3 / (n / shape[0])) * 0.9
  return values.reshape(shape).astype(np.float32)


def golden_images(size):
  i = np.arange(2 * 3 * size * size, dtype=np.float64)
  images = frac(np.sin(0.731 * i + 1.7) * 9631.77).reshape(2, 3, size, size)
  return images.astype(np.float32).transpose(0, 2, 3, 1)


def golden_variables(name):
  entries = read_golden(name)["state_dict"]
  state_dict = {
    key: golden_weight(index, key, shape)
    for index, (key, shape) in enumerate(entries)
  }
  return torch_weights.backbone_from_torchvision(name, state_dict)


def shapes_of(model, size=224):
  """Shapes of a model's variables; computes none of them."""
  images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(
    lambda images: model.init(jax.random.key(0), images, train=False), images
  )


def num_parameters(params):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@functools.cache
def shapes_of_model(name):
  """Shapes of the parameters of a model with 10 classes."""
  return shapes_of(models.create_model(name, 10))["params"]


def initial(model, pick):
  """What `pick` takes of a model's initial parameters; compiles only that."""
  images = jnp.zeros((1, 16, 16, 3))

  @jax.jit
  def init(rng):
    return pick(model.init(rng, images, train=False)["params"])

  return jax.tree.map(np.asarray, init(jax.random.key(0)))


@pytest.fixture(scope="module")
def small_model():
  """A model and variables of which none has its initial value."""
  model = models.create_model("small_resnet10", 10)
  rng = np.random.default_rng(0)

  def values(path, shape):
    centre = 1 if path[-1].key in ("scale", "var") else 0
    return np.float32(centre + 0.2 * rng.uniform(-1, 1, shape.shape))

  return model, jax.tree.map_with_path(values, shapes_of(model))


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=long_test("large")) if name in LONG else name
    for name in GOLDEN_NAMES
  ],
)
def test_features_agree_with_torchvision_or_timm(name):
  golden = read_golden(name)["features"]
  variables = golden_variables(name)
  backbone = models.create_backbone(name)
  # Unoptimised, they compile several times faster and run nearly as fast.
  apply = jax.jit(
    lambda v, x: backbone.apply(v, x, train=False),
    compiler_options={"xla_backend_optimization_level": 0},
  )
  is_long = "BLT_LONG_TESTS" in os.environ
  for size in golden if is_long else SIZES.get(name, golden):
    features = np.asarray(apply(variables, golden_images(int(size))))
    want = golden[size]
    scale = np.abs(want["first8"]).max()
    assert features.shape == (2, want["dim"])
    np.testing.assert_allclose(
      features[:, :8], want["first8"], rtol=1e-3, atol=1e-5 * scale
    )
    np.testing.assert_allclose(features.mean(), want["mean"], rtol=1e-3)
    np.testing.assert_allclose(features.std(ddof=1), want["std"], rtol=1e-3)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_backbone_parameter_count_agrees_with_golden(name):
  found = num_parameters(shapes_of_model(name)["backbone"])
  assert found == read_golden(name)["backbone_parameters"]


@pytest.mark.parametrize("name", PUBLISHED_TOTALS)
def test_parameter_count_agrees_with_what_is_published(name):
  total, features = PUBLISHED_TOTALS[name]
  last_layer = 1000 * features + 1000
  found = num_parameters(shapes_of_model(name)["backbone"])
  assert found == total - last_layer


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_model_parameter_count(name):
  assert num_parameters(shapes_of_model(name)) == NUM_PARAMETERS[name]


def test_every_backbone_has_a_parameter_count():
  assert sorted(models.BACKBONES) == sorted(NUM_PARAMETERS)


def test_every_backbone_has_golden_features_or_is_named_here():
  assert sorted(models.BACKBONES) == sorted(GOLDEN_NAMES + NOT_GOLDEN)


@pytest.mark.parametrize(
  "name", [name for name in models.BACKBONES if not name.startswith("vit_")]
)
def test_smallest_image_leaves_something_to_pool(name):
  backbone = models.create_backbone(name)
  size = models.fitting_sizes(name, 16)[0]

  def outputs(images):
    _, updates = backbone.init_with_output(
      jax.random.key(0),
      images,
      train=False,
      capture_intermediates=True,
      mutable=True,
    )
    return updates["intermediates"]

  images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  shapes = [
    leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(outputs, images))
  ]
  assert len(shapes) > 20
  assert all(min(shape) > 0 for shape in shapes)


def test_linear_classifier_adds_a_bias():
  linear = models.create_model("small_resnet10", 10, classifier="linear")
  found = num_parameters(shapes_of(linear)["params"])
  assert found == NUM_PARAMETERS["small_resnet10"] + 10


def test_top_level_names():
  shapes = shapes_of(models.create_model("small_resnet10", 7, hidden=32))
  params = shapes["params"]
  assert set(shapes) == {"params", "batch_stats"}
  assert set(params) == {"backbone", "hidden", "classifier"}
  assert set(shapes["batch_stats"]) == {"backbone"}
  assert params["hidden"]["kernel"].shape == (128, 32)
  assert params["hidden"]["bias"].shape == (32,)
  assert params["classifier"]["kernel"].shape == (32, 7)


def test_convolutions_start_kaiming_normal_fan_out():
  kernel = initial(
    models.create_backbone("small_resnet10"),
    lambda params: params["layer4_0"]["conv1"]["kernel"],
  )
  # Of 64 inputs and 128 outputs: not fan-in.
  std = math.sqrt(2 / (3 * 3 * 128))
  assert kernel.shape == (3, 3, 64, 128)
  assert kernel.std() == pytest.approx(std, rel=0.02)
  # A normal distribution, not a truncated or uniform one.
  assert np.abs(kernel).max() > 3.5 * std


def test_every_scale_starts_at_one():
  model = models.create_model("small_resnet10", 10)
  scales = initial(
    model,
    lambda params: [
      leaf
      for path, leaf in jax.tree.leaves_with_path(params["backbone"])
      if path[-1].key == "scale"
    ],
  )
  assert len(scales) == 12
  assert all((scale == 1).all() for scale in scales)


def test_hidden_layer_starts_as_torch_linear():
  model = models.create_model("small_resnet10", 10)
  hidden = initial(model, lambda params: params["hidden"])
  bound = 1 / math.sqrt(128)
  for leaf in (hidden["kernel"], hidden["bias"]):
    assert np.abs(leaf).max() <= bound
    assert np.abs(leaf).max() > 0.98 * bound
    assert abs(leaf.mean()) < 0.1 * bound


def test_logits_follow_from_the_features(small_model):
  model, variables = small_model
  images = np.random.default_rng(1).normal(size=(3, 16, 16, 3))

  @jax.jit
  def apply(images):
    features = model.apply(variables, images, train=False, method="features")
    return features, model.apply(variables, images, train=False)

  features, logits = map(np.asarray, apply(images.astype(np.float32)))
  params = variables["params"]
  x = features @ params["hidden"]["kernel"] + params["hidden"]["bias"]
  x = np.maximum(x, 0)
  length = np.linalg.norm(x, axis=1, keepdims=True)
  kernel = params["classifier"]["kernel"]
  cosine = (x @ kernel) / length / np.linalg.norm(kernel, axis=0)
  assert features.shape == (3, 128)
  np.testing.assert_allclose(
    logits, 20 * length / (0.5 + length) * cosine, rtol=1e-4, atol=1e-5
  )


def test_alpha_and_beta_reach_the_classifier():
  model = models.create_model("resnet10", 10, alpha=15.0, beta=1.5)
  assert (model.classifier.alpha, model.classifier.beta) == (15.0, 1.5)


def test_axis_name_and_dtype_reach_the_backbone():
  model = models.create_model(
    "resnet10", 10, dtype=jnp.bfloat16, axis_name="batch"
  )
  assert model.backbone.axis_name == "batch"
  assert model.backbone.dtype == model.hidden.dtype == jnp.bfloat16


def test_inference_mode_changes_no_statistics(small_model):
  model, variables = small_model

  @jax.jit
  def evaluate(images):
    return model.apply(variables, images, train=False, mutable=["batch_stats"])

  _, updates = evaluate(jnp.ones((2, 16, 16, 3)))
  same = jax.tree.map(
    lambda a, b: bool((a == b).all()),
    updates["batch_stats"],
    variables["batch_stats"],
  )
  assert all(jax.tree.leaves(same))


def test_training_with_a_mask_equals_training_on_the_subset(small_model):
  model, variables = small_model
  images = np.random.default_rng(1).normal(size=(6, 16, 16, 3))
  images = images.astype(np.float32)
  mask = np.array([1, 0, 1, 1, 0, 1], bool)

  @jax.jit
  def train(images, mask):
    return model.apply(
      variables, images, train=True, mask=mask, mutable=["batch_stats"]
    )

  logits, masked = train(images, mask)
  want, subset = train(images[mask], None)
  np.testing.assert_allclose(logits[mask], want, rtol=1e-3, atol=1e-4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    masked,
    subset,
  )


def test_bfloat16_keeps_logits_parameters_and_statistics_float32():
  model = models.create_model("small_resnet10", 10, dtype=jnp.bfloat16)

  def train(images):
    variables = model.init(jax.random.key(0), images, train=False)
    logits, updates = model.apply(
      variables, images, train=True, mutable=["batch_stats"]
    )
    return variables, logits, updates

  images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
  for leaf in jax.tree.leaves(jax.eval_shape(train, images)):
    assert leaf.dtype == jnp.float32


def test_bfloat16_computes_in_bfloat16():
  backbone = models.create_backbone("small_resnet10", dtype=jnp.bfloat16)
  variables = shapes_of(backbone)
  images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
  program = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
  text = program.lower(variables, images).as_text()
  convolutions = [
    line for line in text.splitlines() if "stablehlo.convolution" in line
  ]
  assert len(convolutions) == 12
  for line in convolutions:
    assert line.rstrip().endswith("xbf16>")


def test_unknown_backbone_is_named():
  with pytest.raises(
    ValueError, match="'resnet11'; expected one of resnet10, res"
  ):
    models.create_model("resnet11", 10)


def test_unknown_classifier_is_named():
  with pytest.raises(
    ValueError, match="'cosine'; expected one of squashing_cosine, linear"
  ):
    models.create_model("resnet10", 10, classifier="cosine")
