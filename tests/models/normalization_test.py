import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.models import normalization


def batch(n=8, channels=3, seed=0):
  x = jax.random.normal(jax.random.key(seed), (n, 5, 4, channels))
  return 3 * x + jnp.arange(channels).reshape(1, 1, 1, -1)


def some_variables(channels=3):
  """Nothing at its initial value."""
  ramp = jnp.arange(channels, dtype=jnp.float32)
  return {
    "params": {"scale": 1 + ramp, "bias": ramp - 0.5},
    "batch_stats": {"mean": 0.3 * ramp, "var": 2 + ramp},
  }


def normalise(x, mask=None, *, variables=None, train=True, **fields):
  y, updates = normalization.BatchNorm(**fields).apply(
    variables or some_variables(x.shape[-1]),
    x,
    use_running_average=not train,
    mask=mask,
    mutable=["batch_stats"],
  )
  return y, updates["batch_stats"]


def reference(x, variables):
  """PyTorch's training mode, in float64 numpy."""
  x = np.asarray(x, np.float64)
  params, stats = jax.tree.map(np.asarray, tuple(variables.values()))
  n = x.size // x.shape[-1]
  mean = x.mean((0, 1, 2))
  var = ((x - mean) ** 2).mean((0, 1, 2))
  y = (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]
  running = {
    "mean": 0.9 * stats["mean"] + 0.1 * mean,
    "var": 0.9 * stats["var"] + 0.1 * var * n / (n - 1),
  }
  return y, running


def assert_stats_close(stats, want, rtol=1e-5):
  np.testing.assert_allclose(stats["mean"], want["mean"], rtol, atol=1e-6)
  np.testing.assert_allclose(stats["var"], want["var"], rtol)


def test_training_equals_the_reference():
  # A small batch, so that n / (n - 1) is far from 1.
  x = batch(n=2)[:, :1, :2]
  y, stats = normalise(x)
  want, want_stats = reference(x, some_variables())
  np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
  assert_stats_close(stats, want_stats)


def test_inference_uses_the_running_statistics_and_keeps_them():
  x = batch()
  y, stats = normalise(x, train=False)
  variables = some_variables()
  params, running = variables["params"], variables["batch_stats"]
  want = (np.asarray(x) - np.asarray(running["mean"])) / np.sqrt(
    np.asarray(running["var"]) + 1e-5
  ) * np.asarray(params["scale"]) + np.asarray(params["bias"])
  np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
  for key in ("mean", "var"):
    np.testing.assert_array_equal(stats[key], running[key])


def test_initial_values():
  variables = normalization.BatchNorm().init(
    jax.random.key(0), batch(), use_running_average=False
  )
  want = {
    "params": {"scale": np.ones(3), "bias": np.zeros(3)},
    "batch_stats": {"mean": np.zeros(3), "var": np.ones(3)},
  }
  assert jax.tree.structure(variables) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, variables, want)


def test_axis_name_is_not_needed_at_initialisation():
  variables = normalization.BatchNorm(axis_name="batch").init(
    jax.random.key(0), batch(), use_running_average=False
  )
  assert variables["batch_stats"]["mean"].shape == (3,)


@pytest.mark.parametrize("dtype", [bool, jnp.float32])
def test_mask_equals_subset(dtype):
  mask = jnp.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
  # What must not count lies far off.
  x = batch() + 100 * ~mask.reshape(-1, 1, 1, 1)
  y, stats = normalise(x, mask.astype(dtype))
  want, want_stats = normalise(x[mask])
  np.testing.assert_allclose(y[mask], want, rtol=1e-5, atol=1e-6)
  assert_stats_close(stats, want_stats)


def test_gradient_with_mask_equals_subset():
  mask = jnp.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
  x = batch()

  def loss(x, mask, weight):
    y, _ = normalise(x, mask)
    return (jnp.sin(y) * weight.reshape(-1, 1, 1, 1)).sum()

  gradient = jax.grad(loss)(x, mask, mask.astype(jnp.float32))
  want = jax.grad(loss)(x[mask], None, jnp.ones(5))
  np.testing.assert_allclose(gradient[mask], want, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(gradient[~mask], 0 * x[~mask])


def test_not_a_number_in_a_masked_image_stays_out_of_the_statistics():
  mask = jnp.arange(8) != 5
  x = batch().at[5].set(jnp.nan)
  y, stats = normalise(x, mask)
  want, want_stats = normalise(x[mask])
  np.testing.assert_allclose(y[mask], want, rtol=1e-5, atol=1e-6)
  assert_stats_close(stats, want_stats)


def test_batch_without_unmasked_images_changes_nothing():
  y, stats = normalise(batch(), jnp.zeros(8, bool))
  assert jnp.isfinite(y).all()
  for key, value in some_variables()["batch_stats"].items():
    np.testing.assert_array_equal(stats[key], value)


def test_single_value_has_finite_statistics():
  y, stats = normalise(jnp.ones((1, 1, 1, 3)))
  assert jnp.isfinite(y).all()
  assert jnp.isfinite(stats["var"]).all()


def test_constant_channel_never_gets_a_negative_variance():
  # In float32 the mean of squares less the square of the mean is not 0 here.
  x = jnp.full((16, 5, 4, 3), 1234.567)
  y, stats = normalise(x)
  assert jnp.isfinite(y).all()
  assert (stats["var"] >= 0.9 * some_variables()["batch_stats"]["var"]).all()


def masked_loss(variables, x, mask, *, axis_name):
  """Sum over the unmasked images; statistics come along."""
  y, stats = normalise(x, mask, variables=variables, axis_name=axis_name)
  return (jnp.sin(y) * mask.reshape(-1, 1, 1, 1)).sum(), (y, stats)


def gradient(variables, x, mask, *, axis_name=None):
  """Of the loss over all devices, by parameters and by images."""
  (_, aux), (grads, grad_x) = jax.value_and_grad(
    functools.partial(masked_loss, axis_name=axis_name),
    argnums=(0, 1),
    has_aux=True,
  )(variables, x, mask)
  if axis_name is not None:
    grads = jax.lax.psum(grads, axis_name)
  return aux, grads["params"], grad_x


# Unequal counts of unmasked images a device, down to none at all.
MASK = jnp.array([1, 1, 1, 0, 0, 0, 1, 1], bool)


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_agree_with_one_device(devices):
  x = batch()
  (y, stats), params, for_x = gradient(some_variables(), x, MASK)
  over_devices = jax.pmap(
    functools.partial(gradient, axis_name="batch"),
    axis_name="batch",
    in_axes=(None, 0, 0),
    devices=jax.devices()[:devices],
  )
  split = (devices, 8 // devices)
  (ys, stats_each), params_each, for_xs = over_devices(
    some_variables(), x.reshape(*split, *x.shape[1:]), MASK.reshape(split)
  )
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
  close(ys.reshape(x.shape), y)
  close(for_xs.reshape(x.shape), for_x)
  for device in range(devices):
    at_device = jax.tree.map(lambda a, d=device: a[d], stats_each)
    assert_stats_close(at_device, stats)
    jax.tree.map(close, jax.tree.map(lambda a: a[0], params_each), params)


def test_without_mask_devices_agree_with_one_device():
  x = batch()
  y, stats = normalise(x)
  ys, stats_each = jax.pmap(
    lambda x: normalise(x, axis_name="batch"), axis_name="batch"
  )(x.reshape(4, 2, *x.shape[1:]))
  np.testing.assert_allclose(ys.reshape(x.shape), y, rtol=1e-4, atol=1e-5)
  assert_stats_close(jax.tree.map(lambda a: a[3], stats_each), stats)


def test_without_axis_name_devices_differ():
  x = batch()
  _, stats = jax.pmap(normalise)(x.reshape(4, 2, *x.shape[1:]))
  assert not np.allclose(stats["mean"][0], stats["mean"][1])


def test_bfloat16_gives_bfloat16_from_float32_statistics():
  x = batch().astype(jnp.bfloat16)
  y, stats = normalise(x, dtype=jnp.bfloat16)
  _, want = normalise(x.astype(jnp.float32))
  assert y.dtype == jnp.bfloat16
  assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
  assert_stats_close(stats, want)
