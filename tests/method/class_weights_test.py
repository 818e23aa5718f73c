import numpy as np
import pytest

from blt_jax.method import losses

COUNTS = np.array([1280, 100, 20, 5])


def test_class_balanced_weights_by_hand():
  # 1 - 0.5^n: 1/2 and 3/4, so the weights are as 3 to 2, with mean 1.
  weights = losses.class_balanced_weights([1, 2], 0.5)
  np.testing.assert_allclose(weights, [1.2, 0.8])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9999, 1.0])
def test_class_balanced_weights_have_mean_1(beta):
  weights = losses.class_balanced_weights(COUNTS, beta)
  np.testing.assert_allclose(weights.sum(), 4)


def test_beta_0_weighs_all_classes_alike():
  weights = losses.class_balanced_weights(COUNTS, 0.0)
  np.testing.assert_array_equal(weights, np.ones(4))


def test_beta_1_is_the_limit_the_inverse_count():
  weights = losses.class_balanced_weights(COUNTS, 1.0)
  np.testing.assert_allclose(weights * COUNTS, weights[0] * COUNTS[0])
  close = losses.class_balanced_weights(COUNTS, 1 - 1e-9)
  np.testing.assert_allclose(close, weights, rtol=1e-5)


@pytest.mark.parametrize("beta", [-0.1, 1.1, np.nan])
def test_beta_out_of_range_is_refused(beta):
  with pytest.raises(ValueError, match=f"beta is {beta}; expected a number"):
    losses.class_balanced_weights(COUNTS, beta)


def test_ldam_margins_by_hand():
  margins = losses.ldam_margins([81, 16, 1], 0.6)
  np.testing.assert_allclose(margins, [0.2, 0.3, 0.6])


def test_ldam_margins_of_equal_counts_are_equal():
  np.testing.assert_array_equal(losses.ldam_margins([7, 7], 0.5), [0.5, 0.5])


def test_negative_margin_is_refused():
  with pytest.raises(ValueError, match="max_margin is -1; expected 0 or more"):
    losses.ldam_margins(COUNTS, -1)


def test_table_of_counts_is_refused():
  with pytest.raises(ValueError, match=r"has shape \(1, 2\); expected \(C,\)"):
    losses.ldam_margins([[1, 2]], 0.5)
