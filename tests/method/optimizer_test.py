import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method import optimizer


def test_rate_drops_after_the_epochs_named():
  schedule = optimizer.step_schedule(0.1, (2, 3), steps_per_epoch=10)
  rates = [float(schedule(step)) for step in (0, 19, 20, 29, 30, 99)]
  np.testing.assert_allclose(
    rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6
  )


def test_three_steps_equal_coupled_sgd_by_hand():
  params = {
    "backbone": {"w": jnp.array([1.0, -2.0])},
    "classifier": {"w": jnp.array([0.5])},
  }
  tx = optimizer.sgd(
    lambda _: 0.01, lambda _: 0.1, momentum=0.9, weight_decay=5e-4
  )
  opt_state = tx.init(params)
  by_hand = {"backbone": np.array([1.0, -2.0]), "classifier": np.array([0.5])}
  velocity = {name: np.zeros_like(w) for name, w in by_hand.items()}
  for step in range(1, 4):
    grads = jax.tree.map(lambda w, s=step: w * s, params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = jax.tree.map(jnp.add, params, updates)
    for name, rate in (("backbone", 0.01), ("classifier", 0.1)):
      w = by_hand[name]
      velocity[name] = 0.9 * velocity[name] + (w * step + 5e-4 * w)
      by_hand[name] = w - rate * velocity[name]
  for name, w in by_hand.items():
    np.testing.assert_allclose(params[name]["w"], w, rtol=1e-6)


STEPS, WARMUP = 20, 5


def test_cosine_with_warmup_at_every_step():
  schedule = optimizer.warmed_up(
    optimizer.cosine_schedule(0.3, steps=STEPS, warmup_steps=WARMUP), WARMUP
  )
  rates = [float(schedule(step)) for step in range(STEPS + 1)]
  np.testing.assert_allclose(
    rates[:WARMUP], [0.06, 0.12, 0.18, 0.24, 0.3], rtol=1e-6
  )
  for step in range(WARMUP, STEPS + 1):
    angle = math.pi * (step - WARMUP) / (STEPS - WARMUP)
    expected = 0.3 * (1 + math.cos(angle)) / 2
    assert rates[step] == pytest.approx(expected, rel=1e-5, abs=1e-8)
  assert rates[STEPS] == pytest.approx(0, abs=1e-8) != rates[STEPS - 1]


def test_warmup_may_take_the_whole_stage():
  schedule = optimizer.warmed_up(
    optimizer.cosine_schedule(1.0, steps=4, warmup_steps=4), 4
  )
  np.testing.assert_allclose(
    [schedule(step) for step in range(4)], [0.25, 0.5, 0.75, 1]
  )


def test_warmup_before_drops_changes_no_other_rate():
  plain = optimizer.step_schedule(0.1, (2,), steps_per_epoch=10)
  assert optimizer.warmed_up(plain, 0) is plain
  warmed = optimizer.warmed_up(plain, 4)
  np.testing.assert_allclose(
    [warmed(step) for step in (0, 3, 19, 20)],
    [0.025, 0.1, 0.1, 0.01],
    rtol=1e-6,
  )


def _random_params():
  rng = np.random.default_rng(0)
  return {
    "backbone": {
      "pos_embed": rng.normal(size=(1, 2, 3)),
      "conv1": {"kernel": rng.normal(size=(1, 1, 3, 2))},
      "bn1": {"scale": rng.normal(size=2)},
    },
    "classifier": {"kernel": rng.normal(size=(2, 3)), "bias": np.ones(3)},
  }


# Of the three steps below.
RATES = {"backbone": (1e-3, 2e-3, 3e-3), "classifier": (0.1, 0.2, 0.3)}


def _schedules():
  return [
    lambda step, part=part: jnp.array(RATES[part])[step] for part in RATES
  ]


def _updated(tx, params):
  """Parameters after three steps, whose gradients are 1, 2 and 3 times them."""
  params = jax.tree.map(lambda each: jnp.array(each, jnp.float32), params)
  opt_state = tx.init(params)
  for step in range(3):
    grads = jax.tree.map(lambda w, s=step: w * (s + 1), params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = jax.tree.map(jnp.add, params, updates)
  return params


def _adamw_by_hand(w, rates, *, decay):
  m, v = np.zeros_like(w), np.zeros_like(w)
  for t, rate in enumerate(rates, start=1):
    grad = w * t
    m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
    step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    w = w - rate * (step + decay * w)
  return w


def test_adamw_by_hand_decays_kernels_alone():
  params = _random_params()
  found = _updated(optimizer.adamw(*_schedules(), weight_decay=0.5), params)

  def check(path, w, ours):
    part, name = path[0].key, path[-1].key
    decay = 0.5 if name == "kernel" else 0
    expected = _adamw_by_hand(w, RATES[part], decay=decay)
    # In float32, 1 - 0.999^t has lost some digits.
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)

  jax.tree_util.tree_map_with_path(check, params, found)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_factors_scale_rates_and_nothing_else(name):
  """Parameters with a factor move as with rates that are so much lower."""
  make = getattr(optimizer, name)
  params, factor = _random_params(), 0.25
  plain = make(*_schedules(), weight_decay=0.1)
  lower = make(
    *(lambda step, rate=rate: factor * rate(step) for rate in _schedules()),
    weight_decay=0.1,
  )
  mixed = make(
    *_schedules(),
    weight_decay=0.1,
    factor_fn=lambda path: factor if path[:2] == ("backbone", "conv1") else 1,
  )
  plain, lower, mixed = (_updated(tx, params) for tx in (plain, lower, mixed))
  np.testing.assert_allclose(
    mixed["backbone"].pop("conv1")["kernel"],
    lower["backbone"]["conv1"]["kernel"],
    rtol=1e-6,
  )
  del plain["backbone"]["conv1"]
  jax.tree.map(np.testing.assert_array_equal, mixed, plain)
