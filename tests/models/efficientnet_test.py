import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method.perturb import perturb_images
from blt_jax.models import (
  classifiers,
  create_backbone,
  efficientnet,
  layers,
)
from blt_jax.models.efficientnet import MBConvConfig
from blt_jax.models.network import Network

# Everything that efficientnet_b0 has, only less of it.
SMALL = efficientnet.EfficientNet(
  stages=(
    MBConvConfig(blocks=1, filters=8, size=3, strides=1, expansion=1),
    MBConvConfig(blocks=2, filters=12, size=5, strides=2, expansion=3),
  ),
  filters=8,
  features=32,
  stochastic_depth=0.8,
  dropout=0.5,
)
KEYS = jax.random.split(jax.random.key(9), 6)


NETWORK = Network(
  backbone=SMALL,
  hidden=classifiers.Linear(8),
  classifier=classifiers.Linear(3),
)


@pytest.fixture(scope="module")
def network_variables():
  """Variables of a network of which none has its initial value."""
  images = jnp.zeros((1, 16, 16, 3))
  shapes = jax.eval_shape(
    lambda: NETWORK.init(jax.random.key(0), images, train=False)
  )
  rng = np.random.default_rng(0)

  def values(path, leaf):
    if path[-1].key == "kernel":
      std = math.sqrt(2 / math.prod(leaf.shape[:-1]))
      return np.float32(rng.normal(size=leaf.shape) * std)
    centre = 1 if path[-1].key in ("scale", "var") else 0
    return np.float32(centre + 0.2 * rng.uniform(-1, 1, leaf.shape))

  return jax.tree.map_with_path(values, shapes)


@pytest.fixture(scope="module")
def variables(network_variables):
  """The backbone's."""
  return {name: part["backbone"] for name, part in network_variables.items()}


def _images(count, size=16):
  rng = np.random.default_rng(1)
  return rng.normal(size=(count, size, size, 3)).astype(np.float32)


def _infer(backbone, variables, images):
  apply = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
  return np.asarray(apply(variables, images))


@functools.partial(jax.jit, static_argnames=("stochastic_depth", "dropout"))
def _train_jitted(variables, images, rngs, mask, **rates):
  return SMALL.clone(**rates).apply(
    variables,
    images,
    train=True,
    mask=mask,
    image_rngs=rngs,
    mutable=["batch_stats"],
  )


def _train(variables, images, rngs, *, mask=None, **rates):
  """Features and statistics; compiled once for each kind of call."""
  return _train_jitted(variables, images, rngs, mask, **rates)


def test_training_without_keys_is_refused(variables):
  with pytest.raises(
    ValueError, match="image_rngs is None; expected one PRNG key"
  ):
    _train(variables, _images(2), None)


def test_keys_must_be_as_many_as_the_images(variables):
  with pytest.raises(ValueError, match="has 6 keys; expected 2, one an image"):
    _train(variables, _images(2), KEYS)


def test_rates_of_zero_need_no_keys(variables):
  images = _images(6)
  off = {"stochastic_depth": 0.0, "dropout": 0.0}
  features, _ = _train(variables, images, None, **off)
  assert (features != 0).all()


def test_inference_drops_nothing(variables):
  calm = SMALL.clone(stochastic_depth=0.0, dropout=0.0)

  def program(backbone, **options):
    return str(
      jax.make_jaxpr(
        lambda x: backbone.apply(variables, x, train=False, **options)
      )(_images(6))
    )

  assert program(SMALL) == program(SMALL, image_rngs=KEYS) == program(calm)


def test_the_same_keys_drop_the_same(variables):
  first, again, other = (
    _train(variables, _images(6), keys)[0]
    for keys in (KEYS, KEYS, jax.random.split(jax.random.key(10), 6))
  )
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other)


def test_training_with_a_mask_equals_training_on_the_subset(variables):
  images, mask = _images(6), np.array([1, 0, 1, 1, 0, 1], bool)
  features, masked = _train(variables, images, KEYS, mask=mask)
  want, subset = _train(variables, images[mask], KEYS[mask])
  np.testing.assert_allclose(features[mask], want, rtol=1e-3, atol=1e-4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    masked,
    subset,
  )


def test_dropout_takes_the_pooled_features(variables):
  images = _images(6)
  noisy, _ = _train(variables, images, KEYS, stochastic_depth=0.0)
  calm, _ = _train(variables, images, None, stochastic_depth=0.0, dropout=0.0)
  lost = np.asarray(noisy) == 0
  assert 0.35 < lost.mean() < 0.65
  np.testing.assert_allclose(noisy, np.where(lost, 0, 2 * calm), rtol=1e-4)


def _block(**fields):
  settings = {"filters": 8, "size": 3, "strides": 1, "expansion": 2}
  return efficientnet.InvertedBottleneck(
    **(settings | {"drop_rate": 0.75} | fields),
    conv=layers.conv,
    norm=functools.partial(layers.norm, jnp.float32, None, False, None),
  )


def test_image_that_loses_a_block_keeps_its_input():
  block, x = _block(), jax.random.normal(jax.random.key(0), (3, 4, 4, 8))
  variables = jax.jit(lambda x: block.init(jax.random.key(1), x, None))(x)
  keep = jnp.array([True, False, True])
  apply = jax.jit(block.apply)
  whole, y = apply(variables, x, None), apply(variables, x, keep)
  np.testing.assert_array_equal(y[1], x[1])
  np.testing.assert_allclose(
    (y - x)[keep], 4 * (whole - x)[keep], rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("fields", [{"strides": 2}, {"filters": 12}])
def test_block_that_is_not_added_is_never_lost(fields):
  block, x = _block(**fields), jnp.ones((2, 4, 4, 8))
  variables = jax.jit(lambda x: block.init(jax.random.key(1), x, None))(x)
  program = jax.make_jaxpr(block.apply)
  assert str(program(variables, x, None)) == str(
    jax.make_jaxpr(lambda v, x: block.apply(v, x, jnp.array([True, False])))(
      variables, x
    )
  )


def test_rates_of_b0_rise_linearly_over_its_blocks():
  rates = []

  def note(call, arguments, options, context):
    if isinstance(context.module, efficientnet.InvertedBottleneck):
      rates.append(context.module.drop_rate)
    return call(*arguments, **options)

  backbone = create_backbone("efficientnet_b0")
  with nn.intercept_methods(note):
    jax.eval_shape(
      lambda: backbone.init(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False
      )
    )
  np.testing.assert_allclose(rates, np.arange(16) * 0.2 / 16)
  assert backbone.dropout == 0.2


def test_perturbation_follows_the_gradient(network_variables):
  images, targets = _images(2), np.array([2, 0])

  @jax.jit
  def perturb(images):
    def logits(images):
      return NETWORK.apply(network_variables, images, train=False)

    moved = perturb_images(
      logits, images, targets, jnp.full(2, 1.0), max_steps=1, step_size=1.0
    )
    gradient = moved.images - images
    length = jnp.sqrt(jnp.square(gradient).sum((1, 2, 3)))
    step = 0.02 * gradient / length[:, None, None, None]
    rise = logits(images + step) - logits(images - step)
    return moved.num_updates, length, rise[np.arange(2), targets] / 0.04

  updates, length, slope = perturb(images)
  np.testing.assert_array_equal(updates, [1, 1])
  np.testing.assert_allclose(slope, length, rtol=0.03)


def test_bfloat16_is_close_to_float32(variables):
  images = _images(4)
  fine = _infer(SMALL, variables, images)
  features = _infer(SMALL.clone(dtype=jnp.bfloat16), variables, images)
  assert features.dtype == jnp.float32
  assert np.abs(features - fine).max() > 0
  np.testing.assert_allclose(features, fine, atol=0.05 * np.abs(fine).max())


def test_initial_values_are_torchvision_s():
  images = jnp.zeros((1, 8, 8, 3))

  @jax.jit
  def init(rng):
    params = create_backbone("efficientnet_b0").init(rng, images, train=False)
    return params["params"]["features_6_1"]

  block = jax.tree.map(np.asarray, init(jax.random.key(0)))
  # Kaiming normal of the fan-out, of which depthwise kernels have all channels.
  for name, fan in (("block_1_0", 5 * 5 * 1152), ("block_3_0", 192)):
    kernel, std = block[name]["kernel"], math.sqrt(2 / fan)
    assert kernel.std() == pytest.approx(std, rel=0.02)
    assert np.abs(kernel).max() > 3.5 * std
  squeeze = block["block_2"]
  assert squeeze["fc1"]["kernel"].shape == (1, 1, 1152, 48)
  assert (squeeze["fc1"]["bias"] == 0).all()
  assert (squeeze["fc2"]["bias"] == 0).all()
