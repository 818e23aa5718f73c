import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from blt_jax import losses

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 2])


def test_cross_entropy_by_hand():
  expected = [np.log(1 + np.exp(-1.5) + np.exp(-3.0)), np.log(3)]
  np.testing.assert_allclose(
    losses.cross_entropy(LOGITS, LABELS), expected, rtol=1e-6
  )


def test_margin_lowers_the_true_logit():
  expected = -special.log_softmax([[1.5, 0.5, -1.0], [0, 0, -0.5]], axis=1)
  np.testing.assert_allclose(
    losses.cross_entropy(LOGITS, LABELS, margin=0.5),
    expected[[0, 1], LABELS],
    rtol=1e-6,
  )


def test_gradient_is_softmax_minus_one_hot():
  gradient = jax.grad(lambda z: losses.cross_entropy(z, LABELS).sum())(LOGITS)
  expected = special.softmax(LOGITS, axis=1) - np.eye(3)[LABELS]
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_half_precision_logits_give_a_float32_loss():
  loss = losses.cross_entropy(jnp.asarray(LOGITS, jnp.bfloat16), LABELS)
  assert loss.dtype == jnp.float32


def test_mask_equals_subset_even_where_masked_values_are_not_finite():
  values = jnp.array([1.0, jnp.inf, 3.0, jnp.nan])
  weights = jnp.array([1.0, 0.0, 1.0, 0.0])
  assert losses.weighted_mean(values, weights) == 2.0


def test_shares_of_two_devices_add_up_to_the_mean():
  values, weights = jnp.arange(6.0), jnp.array([1.0, 1, 0, 1, 0, 1])
  parts = [
    losses.weighted_mean(values[s], weights[s], total_weight=weights.sum())
    for s in (slice(0, 3), slice(3, 6))
  ]
  np.testing.assert_allclose(sum(parts), (0 + 1 + 3 + 5) / 4)


def test_mean_of_nothing_is_zero():
  assert losses.weighted_mean(jnp.ones(3), jnp.zeros(3)) == 0.0
