import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method.perturb import perturb_images
from blt_jax.models import classifiers, create_backbone, densenet
from blt_jax.models.network import Network

# Everything that densenet121 has, only less of it.
SMALL = densenet.DenseNet(block_sizes=(1, 1, 1, 1), growth=4, filters=8)


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


def _images(count, size):
  rng = np.random.default_rng(1)
  return rng.normal(size=(count, size, size, 3)).astype(np.float32)


def _infer(backbone, variables, images):
  apply = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
  return np.asarray(apply(variables, images))


@pytest.mark.parametrize("size", [16, 28])
def test_images_smaller_than_torchvision_allows_have_features(variables, size):
  features = _infer(SMALL, variables, _images(2, size))
  assert np.isfinite(features).all()
  assert not np.allclose(features[0], features[1])


def test_training_with_a_mask_equals_training_on_the_subset(variables):
  images, mask = _images(6, 32), np.array([1, 0, 1, 1, 0, 1], bool)
  train = jax.jit(
    lambda x, mask: SMALL.apply(
      variables, x, train=True, mask=mask, mutable=["batch_stats"]
    )
  )
  features, masked = train(images, mask)
  want, subset = train(images[mask], None)
  np.testing.assert_allclose(features[mask], want, rtol=1e-3, atol=1e-4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    masked,
    subset,
  )


def test_keys_change_nothing(network_variables):
  def program(**options):
    return str(
      jax.make_jaxpr(
        lambda x: NETWORK.apply(
          network_variables, x, train=True, mutable=["batch_stats"], **options
        )
      )(_images(3, 16))
    )

  assert program() == program(image_rngs=jax.random.split(jax.random.key(0), 3))


def test_perturbation_follows_the_gradient(network_variables):
  images, targets = _images(2, 16), np.array([2, 0])

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
  images = _images(2, 16)
  fine = _infer(SMALL, variables, images)
  features = _infer(SMALL.clone(dtype=jnp.bfloat16), variables, images)
  assert features.dtype == jnp.float32
  assert np.abs(features - fine).max() > 0
  np.testing.assert_allclose(features, fine, atol=0.05 * np.abs(fine).max())


def test_convolutions_start_kaiming_normal_fan_in():
  images = jnp.zeros((1, 8, 8, 3))

  @jax.jit
  def init(rng):
    params = create_backbone("densenet121").init(rng, images, train=False)
    layer = params["params"]["features_denseblock4_denselayer1"]
    return layer["conv2"]["kernel"]

  kernel = np.asarray(init(jax.random.key(0)))
  # Of 128 inputs and 32 outputs: not fan-out.
  std = math.sqrt(2 / (3 * 3 * 128))
  assert kernel.shape == (3, 3, 128, 32)
  assert kernel.std() == pytest.approx(std, rel=0.02)
  # A normal distribution, not a truncated or uniform one.
  assert np.abs(kernel).max() > 3.5 * std
