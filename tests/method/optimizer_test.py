import jax
import jax.numpy as jnp
import numpy as np

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
