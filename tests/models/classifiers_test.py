import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.models import classifiers


def squashing_cosine(features, weights, *, alpha, beta):
  """The equation, one logit at a time, in float64."""
  logits = np.empty((len(features), weights.shape[1]))
  for i, f in enumerate(np.asarray(features, np.float64)):
    for c, w in enumerate(np.asarray(weights, np.float64).T):
      length = math.sqrt(sum(f * f))
      cosine = sum(f * w) / (length * math.sqrt(sum(w * w)))
      logits[i, c] = alpha * length / (beta + length) * cosine
  return logits


def init(classifier, size):
  return classifier.init(jax.random.key(0), jnp.zeros((1, size)))


@pytest.mark.parametrize(
  "alpha, beta, length", [(20.0, 0.5, 1.0), (15.0, 1.5, 30.0), (25, 1, 0.01)]
)
def test_squashing_cosine_equals_its_equation(alpha, beta, length):
  features = length * jax.random.normal(jax.random.key(1), (4, 16))
  classifier = classifiers.SquashingCosine(7, alpha=alpha, beta=beta)
  variables = init(classifier, 16)
  logits = classifier.apply(variables, features)
  want = squashing_cosine(
    features, variables["params"]["kernel"], alpha=alpha, beta=beta
  )
  np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)


def test_squashing_cosine_by_hand():
  classifier = classifiers.SquashingCosine(2)
  kernel = jnp.array([[2.0, 0.0], [0.0, -7.0]])
  logits = classifier.apply(
    {"params": {"kernel": kernel}}, jnp.array([[3.0, 4.0]])
  )
  np.testing.assert_allclose(
    logits, [[20 * 5 / 5.5 * 0.6, -20 * 5 / 5.5 * 0.8]], rtol=1e-6
  )


def test_squashing_cosine_has_one_parameter_within_its_bounds():
  params = init(classifiers.SquashingCosine(100), 512)["params"]
  kernel = params["kernel"]
  bound = 1 / math.sqrt(512)
  assert set(params) == {"kernel"}
  assert kernel.shape == (512, 100)
  assert jnp.abs(kernel).max() <= bound
  # Uniform in the bounds: it comes near both, with deviation bound / sqrt(3).
  assert kernel.max() > 0.999 * bound
  assert kernel.min() < -0.999 * bound
  assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def gradients(features, kernel):
  def total(features, kernel):
    logits = classifiers.SquashingCosine(kernel.shape[1]).apply(
      {"params": {"kernel": kernel}}, features
    )
    return logits.sum()

  return jax.grad(total, argnums=(0, 1))(features, kernel)


def test_zero_features_have_zero_logits():
  classifier = classifiers.SquashingCosine(5)
  logits = classifier.apply(init(classifier, 8), jnp.zeros((2, 8)))
  np.testing.assert_array_equal(logits, np.zeros((2, 5)))


def test_zero_features_have_finite_gradients():
  kernel = jax.random.normal(jax.random.key(0), (8, 5))
  for_features, for_kernel = gradients(jnp.zeros((2, 8)), kernel)
  # The limit at f = 0: alpha / beta * w / |w|.
  direction = (kernel / jnp.linalg.norm(kernel, axis=0)[None]).sum(1)
  np.testing.assert_allclose(for_features[0], 40 * direction, rtol=1e-5)
  np.testing.assert_array_equal(for_kernel, np.zeros((8, 5)))


def test_zero_weights_have_zero_logits_and_finite_gradients():
  features = jax.random.normal(jax.random.key(0), (2, 8))
  kernel = jnp.zeros((8, 5))
  logits = classifiers.SquashingCosine(5).apply(
    {"params": {"kernel": kernel}}, features
  )
  np.testing.assert_array_equal(logits, np.zeros((2, 5)))
  for gradient in gradients(features, kernel):
    assert jnp.isfinite(gradient).all()


def test_squashing_cosine_ignores_the_length_of_weights():
  features = jax.random.normal(jax.random.key(0), (3, 8))
  kernel = jax.random.normal(jax.random.key(1), (8, 5))
  classifier = classifiers.SquashingCosine(5)
  short = classifier.apply({"params": {"kernel": kernel}}, features)
  long = classifier.apply({"params": {"kernel": 9 * kernel}}, features)
  np.testing.assert_allclose(short, long, rtol=1e-4, atol=1e-5)


def test_squashing_cosine_of_bfloat16_features_is_float32():
  classifier = classifiers.SquashingCosine(5)
  features = jax.random.normal(jax.random.key(0), (3, 8), jnp.bfloat16)
  variables = init(classifier, 8)
  logits = classifier.apply(variables, features)
  want = classifier.apply(variables, features.astype(jnp.float32))
  assert logits.dtype == jnp.float32
  np.testing.assert_array_equal(logits, want)


def test_linear_equals_its_equation():
  x = jax.random.normal(jax.random.key(1), (4, 6))
  linear = classifiers.Linear(3)
  variables = init(linear, 6)
  params = jax.tree.map(np.asarray, variables["params"])
  want = np.asarray(x) @ params["kernel"] + params["bias"]
  np.testing.assert_allclose(linear.apply(variables, x), want, rtol=1e-5)


def test_linear_starts_as_torch_linear():
  params = init(classifiers.Linear(256), 64)["params"]
  for leaf in (params["kernel"], params["bias"]):
    assert jnp.abs(leaf).max() <= 1 / 8
    assert jnp.abs(leaf).max() > 0.98 / 8
    assert leaf.std() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.1)
  assert not (params["kernel"][0] == params["bias"]).any()


def test_linear_classifier_of_bfloat16_features_is_float32():
  linear = classifiers.Linear(3)
  x = jnp.ones((2, 6), jnp.bfloat16)
  assert linear.apply(init(linear, 6), x).dtype == jnp.float32
