import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from blt_jax.config.schema import LOSSES
from blt_jax.method import losses

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 2])
COUNTS = np.array([100, 20, 5])


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


# Each loss with settings unlike its defaults, and the same one written anew:
# for one image, in float64.


def _cross_entropy(z, y):
  return np.log(np.sum(np.exp(z - z[y])))


def _focal(z, y):
  p = np.exp(z[y]) / np.sum(np.exp(z))
  return -((1 - p) ** 1.5) * np.log(p)


def _class_balanced(z, y):
  weights = [(1 - 0.9) / (1 - 0.9**n) for n in COUNTS]
  return weights[y] * 3 / sum(weights) * _cross_entropy(z, y)


def _balanced_softmax(z, y):
  return -np.log(COUNTS[y] * np.exp(z[y]) / np.sum(COUNTS * np.exp(z)))


def _logit_adjustment(z, y):
  factors = (COUNTS / COUNTS.sum()) ** 0.7
  return -np.log(factors[y] * np.exp(z[y]) / np.sum(factors * np.exp(z)))


def _ldam(z, y):
  k = 0.4 * 5**0.25  # The smallest class has 5 images.
  exponents = [
    4 * (z[c] - (k / COUNTS[c] ** 0.25) * (c == y)) for c in range(3)
  ]
  return np.log(np.sum(np.exp(exponents))) - exponents[y]


CASES = {
  "cross_entropy": (losses.cross_entropy, _cross_entropy),
  "focal": (functools.partial(losses.focal, gamma=1.5), _focal),
  "class_balanced": (
    functools.partial(losses.class_balanced, class_counts=COUNTS, beta=0.9),
    _class_balanced,
  ),
  "balanced_softmax": (
    functools.partial(losses.balanced_softmax, class_probabilities=COUNTS),
    _balanced_softmax,
  ),
  "logit_adjustment": (
    functools.partial(
      losses.logit_adjustment,
      class_probabilities=COUNTS / COUNTS.sum(),
      tau=0.7,
    ),
    _logit_adjustment,
  ),
  "ldam": (
    functools.partial(
      losses.ldam, class_counts=COUNTS, max_margin=0.4, scale=4.0
    ),
    _ldam,
  ),
}
each_loss = pytest.mark.parametrize(
  "loss_fn, reference", CASES.values(), ids=CASES
)


@pytest.fixture(scope="module")
def examples():
  """(logits [40, 3], labels [40])."""
  rng = np.random.default_rng(0)
  return rng.normal(0, 3, (40, 3)).astype(np.float32), rng.integers(0, 3, 40)


def test_every_loss_has_a_case():
  assert tuple(CASES) == LOSSES


@each_loss
def test_loss_agrees_with_one_written_anew(loss_fn, reference, examples):
  logits, labels = examples
  pairs = zip(logits.astype(np.float64), labels, strict=True)
  expected = [reference(z, y) for z, y in pairs]
  # Small losses are differences of large numbers: rounding is absolute.
  np.testing.assert_allclose(
    loss_fn(logits, labels), expected, rtol=1e-5, atol=1e-5
  )


@each_loss
def test_gradient_is_the_slope_of_the_one_written_anew(
  loss_fn, reference, examples
):
  logits, labels = examples
  gradient = jax.grad(lambda z: loss_fn(z, labels).sum())(logits)
  step = 1e-6 * np.eye(3)
  slopes = [
    [(reference(z + s, y) - reference(z - s, y)) / 2e-6 for s in step]
    for z, y in zip(logits.astype(np.float64), labels, strict=True)
  ]
  np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)


@each_loss
def test_loss_of_an_image_does_not_depend_on_the_others(
  loss_fn, reference, examples
):
  del reference
  logits, labels = examples
  whole = loss_fn(logits, labels)
  np.testing.assert_allclose(
    whole[10:20], loss_fn(logits[10:20], labels[10:20]), rtol=1e-6
  )
  used = jnp.arange(40) < 20
  np.testing.assert_allclose(
    losses.weighted_mean(whole, used.astype(jnp.float32)),
    loss_fn(logits[:20], labels[:20]).mean(),
    rtol=1e-5,
  )


@each_loss
def test_loss_and_gradient_are_finite_for_extreme_logits(loss_fn, reference):
  del reference
  logits = jnp.array([[1000.0, 0, 0], [0, 1000.0, 0], [90.0, 90, 90]])
  labels = jnp.array([0, 0, 0])
  values, gradient = jax.jit(
    lambda z: (
      loss_fn(z, labels),
      jax.grad(lambda z: loss_fn(z, labels).sum())(z),
    )
  )(logits)
  assert np.isfinite(values).all()
  assert np.isfinite(gradient).all()
  assert (np.asarray(values) >= 0).all()


@each_loss
def test_half_precision_logits_give_a_float32_loss(loss_fn, reference):
  del reference
  loss = loss_fn(jnp.asarray(LOGITS, jnp.bfloat16), LABELS)
  assert loss.dtype == jnp.float32
  assert loss.shape == (2,)


def test_focal_by_hand():
  p = 1 / (1 + np.exp(-1.5) + np.exp(-3.0))
  expected = [-((1 - p) ** 2) * np.log(p), (2 / 3) ** 2 * np.log(3)]
  np.testing.assert_allclose(losses.focal(LOGITS, LABELS), expected, rtol=1e-5)


def test_gradient_of_focal_in_closed_form():
  gradient = jax.grad(lambda z: losses.focal(z, LABELS, gamma=2.0).sum())(
    LOGITS
  )
  s = special.softmax(LOGITS.astype(np.float64), axis=1)
  p = s[[0, 1], LABELS][:, None]
  # dloss/dp dp/dz, with dp/dz = p (onehot - s).
  slope = 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p
  expected = slope * p * (np.eye(3)[LABELS] - s)
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_focal_of_two_classes_is_the_sigmoid_form_of_optax():
  z = np.linspace(-6, 6, 25, dtype=np.float32)
  labels = np.arange(25) % 2
  np.testing.assert_allclose(
    losses.focal(np.stack([0 * z, z], axis=1), labels, gamma=1.5),
    optax.losses.sigmoid_focal_loss(z, labels, gamma=1.5),
    rtol=1e-4,
  )


def test_focal_knows_small_doubts():
  # In float32 the probability is 1 and 1 - p is 0.
  logits = jnp.array([[30.0, 0.0]])
  loss, gradient = jax.value_and_grad(
    lambda z: losses.focal(z, jnp.array([0]), gamma=0.5).sum()
  )(logits)
  assert losses.cross_entropy(logits, jnp.array([0]))[0] < 1e-12
  assert loss >= 0
  assert np.isfinite(gradient).all()


def test_class_balanced_by_hand():
  # beta 0.5: effective numbers 1.5, 1.75 of 2, 3 images; so do the weights.
  loss = losses.class_balanced(
    np.zeros((2, 2), np.float32),
    np.array([0, 1]),
    class_counts=[2, 3],
    beta=0.5,
  )
  weights = np.array([1 / 1.5, 1 / 1.75])
  expected = 2 * weights / weights.sum() * np.log(2)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_balanced_softmax_by_hand():
  loss = losses.balanced_softmax(
    np.zeros((2, 3), np.float32),
    np.array([0, 2]),
    class_probabilities=[0.5, 0.3, 0.2],
  )
  np.testing.assert_allclose(loss, [np.log(2), np.log(5)], rtol=1e-6)


def test_logit_adjustment_by_hand():
  loss = losses.logit_adjustment(
    np.zeros((2, 2), np.float32),
    np.array([0, 1]),
    class_probabilities=[0.75, 0.25],
    tau=2.0,
  )
  np.testing.assert_allclose(loss, [np.log(10 / 9), np.log(10)], rtol=1e-6)


def test_ldam_by_hand():
  # 16 and 1 images: margins 0.25 and 0.5.
  loss = losses.ldam(
    np.array([[1.0, 0.0], [1.0, 0.0]], np.float32),
    np.array([0, 1]),
    class_counts=[16, 1],
    max_margin=0.5,
    scale=2.0,
  )
  expected = [np.log1p(np.exp(-1.5)), np.log1p(np.exp(3.0))]
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
  "loss_fn",
  [
    functools.partial(losses.focal, gamma=0.0),
    functools.partial(losses.class_balanced, class_counts=COUNTS, beta=0.0),
    functools.partial(losses.class_balanced, class_counts=[7, 7, 7]),
    functools.partial(losses.balanced_softmax, class_probabilities=[9, 9, 9]),
    functools.partial(
      losses.logit_adjustment, class_probabilities=[0.2, 0.2, 0.2], tau=3.0
    ),
    functools.partial(
      losses.logit_adjustment, class_probabilities=COUNTS, tau=0.0
    ),
    functools.partial(
      losses.ldam, class_counts=COUNTS, max_margin=0.0, scale=1.0
    ),
  ],
)
def test_limit_is_cross_entropy(loss_fn, examples):
  np.testing.assert_allclose(
    loss_fn(*examples), losses.cross_entropy(*examples), rtol=1e-5, atol=1e-6
  )


def test_equal_counts_make_ldam_a_plain_margin(examples):
  np.testing.assert_allclose(
    losses.ldam(*examples, class_counts=[7, 7, 7], max_margin=0.5, scale=1.0),
    losses.cross_entropy(*examples, margin=0.5),
    rtol=1e-6,
  )


def test_logit_adjustment_of_tau_1_is_balanced_softmax(examples):
  np.testing.assert_array_equal(
    losses.logit_adjustment(*examples, class_probabilities=COUNTS),
    losses.balanced_softmax(*examples, class_probabilities=COUNTS),
  )


def test_only_ratios_of_probabilities_matter(examples):
  np.testing.assert_allclose(
    losses.balanced_softmax(*examples, class_probabilities=COUNTS),
    losses.balanced_softmax(*examples, class_probabilities=COUNTS / 125),
    rtol=1e-5,
    atol=1e-6,
  )


def test_adjusted_logits_by_hand():
  adjusted = losses.adjust_logits(
    LOGITS, class_probabilities=[0.5, 0.25, 0.25], tau=2.0
  )
  shift = 2 * np.log([2, 4, 4])
  np.testing.assert_allclose(adjusted, LOGITS + shift, rtol=1e-6)


def test_adjustment_gives_bayes_rule_of_equally_frequent_classes():
  # Two classes whose images look alike but for their frequencies.
  prior = np.array([0.9, 0.1])
  logits = np.log(prior)[None, :].astype(np.float32)
  adjusted = losses.adjust_logits(logits, class_probabilities=prior, tau=1.0)
  np.testing.assert_allclose(jax.nn.softmax(adjusted), [[0.5, 0.5]], rtol=1e-6)


def test_adjustment_undoes_the_shift_of_the_loss(examples):
  logits, labels = examples
  shifted = losses.adjust_logits(logits, class_probabilities=COUNTS, tau=0.7)
  np.testing.assert_allclose(
    losses.logit_adjustment(
      shifted, labels, class_probabilities=COUNTS, tau=0.7
    ),
    losses.cross_entropy(logits, labels),
    rtol=1e-4,
    atol=1e-5,
  )


TARGET = np.array([0.2, 0.5, 0.3])


def test_correction_to_target_frequencies_agrees_with_float64(examples):
  logits, labels = examples
  factors = (COUNTS / COUNTS.sum() / TARGET) ** 0.7
  shift = 0.7 * np.log(COUNTS / TARGET)
  frequencies = {
    "class_probabilities": COUNTS / COUNTS.sum(),
    "target_probabilities": TARGET,
    "tau": 0.7,
  }
  weighted = factors * np.exp(logits.astype(np.float64))
  true = weighted[np.arange(len(labels)), labels]
  np.testing.assert_allclose(
    losses.logit_adjustment(logits, labels, **frequencies),
    -np.log(true / weighted.sum(axis=1)),
    rtol=1e-5,
    atol=1e-6,
  )
  adjusted = losses.adjust_logits(logits, **frequencies)
  np.testing.assert_allclose(
    special.softmax(adjusted, axis=1),
    special.softmax(logits.astype(np.float64) - shift, axis=1),
    rtol=1e-5,
  )


def test_target_of_the_training_frequencies_is_cross_entropy(examples):
  loss = losses.balanced_softmax(
    *examples, class_probabilities=COUNTS, target_probabilities=COUNTS
  )
  np.testing.assert_array_equal(loss, losses.cross_entropy(*examples))


def test_training_with_a_target_learns_bayes_rule_for_it():
  # A network that sees nothing of an image gives one z for all. Its mean loss
  # over the training images is least where softmax(z) is the target.
  share = COUNTS / COUNTS.sum()

  def mean_loss(z):
    each = losses.balanced_softmax(
      jnp.tile(z, (3, 1)),
      jnp.arange(3),
      class_probabilities=COUNTS,
      target_probabilities=TARGET,
    )
    return jnp.sum(jnp.asarray(share, jnp.float32) * each)

  slope = jax.jit(jax.grad(mean_loss))
  np.testing.assert_allclose(slope(jnp.log(TARGET)), np.zeros(3), atol=1e-6)
  assert np.abs(slope(jnp.zeros(3))).max() > 0.05


def test_adjustment_to_a_target_is_bayes_rule_for_it():
  # Densities of the three classes at two images.
  density = np.array([[0.9, 0.4, 0.1], [0.2, 0.2, 0.7]])
  logits = np.log(density * COUNTS / COUNTS.sum()).astype(np.float32)
  adjusted = losses.adjust_logits(
    logits, class_probabilities=COUNTS, target_probabilities=TARGET, tau=1.0
  )
  expected = density * TARGET / (density * TARGET).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(
    special.softmax(adjusted, axis=1), expected, rtol=1e-5
  )


@pytest.mark.parametrize(
  "loss_fn, message",
  [
    (
      functools.partial(losses.ldam, class_counts=[5, 4]),
      r"class_counts has shape \(2,\); expected \(3,\)",
    ),
    (
      functools.partial(losses.class_balanced, class_counts=[5, 0, 1]),
      "class_counts of class 1 is 0; expected a number above 0",
    ),
    (
      functools.partial(
        losses.balanced_softmax, class_probabilities=[1, 1, np.nan]
      ),
      "class_probabilities of class 2 is nan; expected a number above 0",
    ),
  ],
)
def test_numbers_that_are_not_one_for_each_class_are_refused(loss_fn, message):
  with pytest.raises(ValueError, match=message):
    loss_fn(LOGITS, LABELS)


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
