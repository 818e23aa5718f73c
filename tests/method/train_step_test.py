import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.config.schema import LOSSES
from blt_jax.method import hallucinate, losses, train_step
from blt_jax.models import classifiers, create_model, efficientnet
from blt_jax.models.network import Network
from blt_jax.training.devices import deal
from blt_jax.training.objective import Objective, build_objective
from configs import digits_lt
from tests import small_step
from tests.marks import long_test
from tests.small_step import BATCH, CLASSES, SLOTS

MODEL = create_model("small_resnet10", CLASSES, hidden=16, axis_name="batch")
# A small EfficientNet that drops far more than usual.
NOISY = Network(
  backbone=efficientnet.EfficientNet(
    stages=(efficientnet.MBConvConfig(2, 8, 3, 1, expansion=1),),
    filters=8,
    features=16,
    stochastic_depth=0.9,
    dropout=0.5,
    axis_name="batch",
  ),
  hidden=classifiers.Linear(16),
  classifier=classifiers.SquashingCosine(CLASSES),
)


@pytest.fixture(scope="module")
def state():
  return small_step.make_state(MODEL)


@pytest.fixture(scope="module")
def noisy_state():
  return small_step.make_state(NOISY)


@pytest.fixture(scope="module")
def batch():
  return small_step.make_batch(0)


@pytest.fixture(scope="module")
def static(batch):
  """A batch whose slots hold images that were hallucinated before."""
  return _with_source_images(batch, batch.sources.image / np.float32(128) - 1)


def _with_source_images(batch, images):
  return batch._replace(sources=batch.sources._replace(image=images))


@functools.cache
def _step(devices, *, static=False):
  step = functools.partial(
    train_step.train_step,
    tx=small_step.TX,
    preprocess_fn=small_step.preprocess,
    hallucinate_fn=hallucinate.reuse
    if static
    else functools.partial(
      hallucinate.hallucinate,
      preprocess_fn=small_step.preprocess,
      confidence=(0.5, 0.6),
      ascent={"max_steps": 3},
    ),
  )
  return small_step.over_devices(step, devices)


def _run(state, batch, devices=1, **options):
  step = _step(devices, **options)
  new_state, metrics = step(state, deal(batch, devices))
  return jax.device_get((new_state.replace(rng=()), metrics))


@pytest.mark.parametrize("devices", [4])
def test_devices_change_nothing_but_rounding(state, batch, devices):
  one, many = _run(state, batch), _run(state, batch, devices)
  small_step.assert_close(many, one, rtol=2e-4)
  assert one[1]["hallucinated"] == 3
  assert one[1]["updates"] > 0


@long_test("compiles two steps")
@pytest.mark.parametrize("devices", [4])
def test_devices_do_not_change_what_is_dropped(noisy_state, static, devices):
  one, many = (_run(noisy_state, static, n, static=True) for n in (1, devices))
  small_step.assert_close(many, one, rtol=2e-4)


def test_the_same_step_twice_gives_the_same_bits(state, batch):
  first, second = _run(state, batch), _run(state, batch)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_unused_slot_has_no_part_in_anything(state, batch):
  other = jax.tree.map(np.copy, batch)
  other.sources.image[3] = 255
  other.sources.label[3] = (other.sources.label[3] + 1) % CLASSES
  jax.tree.map(
    np.testing.assert_array_equal, _run(state, batch), _run(state, other)
  )


def test_unused_slot_does_not_change_what_is_dropped(noisy_state, static):
  other = jax.tree.map(np.copy, static)
  other.sources.image[3] = 255
  jax.tree.map(
    np.testing.assert_array_equal,
    _run(noisy_state, static, static=True),
    _run(noisy_state, other, static=True),
  )


def test_used_slot_takes_part(state, batch):
  other = jax.tree.map(np.copy, batch)
  other.sources.image[0] = 255
  assert _run(state, batch)[1]["loss"] != _run(state, other)[1]["loss"]


def test_never_confused_classes_train_like_a_batch_without_slots(state, batch):
  diagonal = state.replace(confusion=jnp.eye(CLASSES, dtype=jnp.int32))
  with_slots, metrics = _run(diagonal, batch)
  plain_batch = batch._replace(sources=None)
  plain, plain_metrics = _run(diagonal, plain_batch)
  small_step.assert_close(with_slots, plain, rtol=1e-5)
  assert metrics["hallucinated"] == 0
  np.testing.assert_allclose(metrics["loss"], plain_metrics["loss"], rtol=1e-5)


def test_step_equals_plain_gradients_of_the_enlarged_batch(state, batch):
  """One device's SGD step by hand, without pmap, masks or unused slots."""
  rng = jax.random.fold_in(state.rng, state.step)
  image_rng, slot_rng = jax.random.split(rng)
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  made = jax.jit(
    functools.partial(
      hallucinate.hallucinate,
      preprocess_fn=small_step.preprocess,
      confidence=(0.5, 0.6),
      ascent={"max_steps": 3},
    ),
    static_argnums=1,
  )(
    fold(slot_rng, jnp.arange(SLOTS)),
    state.logits,
    state.confusion,
    batch.sources,
  )
  real = small_step.preprocess(fold(image_rng, jnp.arange(BATCH)), batch.image)
  images = jnp.concatenate([real, made.images[:3]])
  labels = np.concatenate([batch.label, batch.sources.label[:3]])
  plain = create_model("small_resnet10", CLASSES, hidden=16)

  def loss_fn(params):
    logits, updates = plain.apply(
      {"params": params, "batch_stats": state.batch_stats},
      images,
      train=True,
      mutable=["batch_stats"],
    )
    picked = jax.nn.log_softmax(logits)[jnp.arange(BATCH + 3), labels]
    return -picked.mean(), updates["batch_stats"]

  (loss, batch_stats), grads = jax.jit(
    jax.value_and_grad(loss_fn, has_aux=True)
  )(state.params)
  after, metrics = _run(state, batch)
  np.testing.assert_allclose(metrics["loss"], loss * (BATCH + 3), rtol=1e-4)
  assert metrics["weight"] == BATCH + 3
  small_step.assert_close(after.batch_stats, batch_stats, rtol=1e-4)
  for name, rate in (("backbone", 0.1), ("hidden", 0.1), ("classifier", 0.2)):
    expected = jax.tree.map(
      lambda w, g, rate=rate: w - rate * (g + 5e-4 * w),
      state.params[name],
      grads[name],
    )
    small_step.assert_close(after.params[name], expected, rtol=2e-4)


def test_each_step_draws_anew(state, batch):
  _, first = _run(state, batch)
  _, later = _run(state.replace(step=jnp.int32(5)), batch)
  assert first["loss"] != later["loss"]


def test_step_counts_and_keeps_the_confusion_matrix(state, batch):
  after, _ = _run(state, batch)
  assert after.step == 1
  np.testing.assert_array_equal(after.confusion, state.confusion)


@pytest.mark.parametrize("devices", [1, 4])
def test_evaluation_keeps_order_and_mask(state, batch, devices):
  step = functools.partial(
    train_step.eval_step,
    normalize_fn=lambda images: images / 128.0 - 1.0,
    with_logits=True,
  )
  mapped = small_step.over_devices(step, devices)
  mask = np.arange(BATCH) < 5
  dealt = deal(train_step.EvalBatch(batch.image, batch.label, mask), devices)
  outputs = jax.device_get(mapped(state, dealt))
  logits = np.asarray(state.logits(batch.image / np.float32(128) - 1))
  np.testing.assert_array_equal(outputs["label"], batch.label)
  np.testing.assert_array_equal(outputs["mask"], mask)
  (prediction,), (in_top5,) = outputs["prediction"], outputs["in_top5"]
  np.testing.assert_allclose(outputs["logits"][0], logits, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(prediction, logits.argmax(axis=1))
  worse = (logits < logits[np.arange(BATCH), batch.label][:, None]).sum(1)
  np.testing.assert_array_equal(in_top5, worse >= CLASSES - 5)


def test_gradient_is_measured(state, batch):
  after, metrics = _run(state, batch)
  squares = 0.0
  for name, rate in (("backbone", 0.1), ("hidden", 0.1), ("classifier", 0.2)):
    for before, now in zip(
      jax.tree.leaves(state.params[name]),
      jax.tree.leaves(after.params[name]),
      strict=True,
    ):
      # The first step of SGD moves by the rate times gradient and decay.
      gradient = (np.asarray(before) - now) / rate - 5e-4 * np.asarray(before)
      squares += np.square(gradient, dtype=np.float64).sum()
  assert metrics["gradient_norm"] == pytest.approx(np.sqrt(squares), rel=1e-2)


@pytest.mark.parametrize("value, largest", [(-7, 7), (np.nan, np.inf)])
def test_largest_pixel_is_that_of_the_used_slots(state, static, value, largest):
  images = static.sources.image.copy()
  images[1, 3, 3, 1] = value
  images[-1] = 99  # The unused slot.
  _, metrics = _run(state, _with_source_images(static, images), static=True)
  assert metrics["largest_pixel"] == largest


class _Linear(nn.Module):
  """The least that `train_step` takes for a network."""

  @nn.compact
  def __call__(self, images, *, train, mask=None, image_rngs=None):
    self.variable("batch_stats", "unused", jnp.zeros, ())
    pixels = images.reshape(len(images), -1)
    return nn.Dense(CLASSES, use_bias=False, name="classifier")(pixels)


def test_ascent_and_update_give_the_network_images_of_float32(batch):
  state, given = small_step.make_state(_Linear()), []

  def apply_fn(variables, images, *, train, **options):
    given.append((train, str(images.dtype)))
    return state.apply_fn(variables, images, train=train, **options)

  step = functools.partial(
    train_step.train_step,
    tx=small_step.TX,
    preprocess_fn=small_step.preprocess,
    hallucinate_fn=functools.partial(
      hallucinate.hallucinate, preprocess_fn=small_step.preprocess
    ),
  )
  trace = jax.make_jaxpr(step, axis_env=[("batch", 1)])
  trace(state.replace(apply_fn=apply_fn), batch)
  # A network of bfloat16 rounds both in the same way.
  assert set(given) == {(False, "float32"), (True, "float32")}


def test_each_image_and_slot_has_its_own_key_for_the_network(static):
  state, given = small_step.make_state(_Linear()), []

  def apply_fn(variables, images, *, train, image_rngs=None, **options):
    if train:
      given.append(image_rngs)
    return state.apply_fn(variables, images, train=train, **options)

  def keys_of(batch, devices):
    def step(state, batch):
      given.clear()
      train_step.train_step(
        state.replace(apply_fn=apply_fn),
        batch,
        tx=small_step.TX,
        preprocess_fn=small_step.preprocess,
        hallucinate_fn=hallucinate.reuse,
      )
      return jax.random.key_data(given[0])

    dealt = deal(batch, devices)
    return np.asarray(
      jax.pmap(
        step,
        axis_name="batch",
        in_axes=(None, 0),
        devices=jax.devices()[:devices],
      )(state, dealt)
    )

  (one,), two = keys_of(static, 1), keys_of(static, 2)
  assert len(np.unique(one, axis=0)) == BATCH + SLOTS
  half = BATCH // 2
  np.testing.assert_array_equal(two[:, :half].reshape(BATCH, -1), one[:BATCH])
  # Slots are dealt in turn.
  for device in range(2):
    np.testing.assert_array_equal(two[device, half:], one[BATCH + device :: 2])
  plain = static._replace(sources=None)
  (without,) = keys_of(plain, 1)
  np.testing.assert_array_equal(without, one[:BATCH])


COUNTS = np.array([60, 40, 30, 20, 10, 5])


def _linear_step(batch, objective, devices=1):
  """(state before, state after, metrics) of a step of the linear network."""
  state = small_step.make_state(_Linear())
  step = functools.partial(
    train_step.train_step,
    tx=small_step.TX,
    preprocess_fn=lambda rngs, images: images / 128.0 - 1.0,
    hallucinate_fn=hallucinate.reuse,
    loss_fn=objective.loss_fn,
    class_weights=objective.class_weights,
  )
  mapped = small_step.over_devices(step, devices)
  after, metrics = mapped(state, deal(batch, devices))
  return state, *jax.device_get((after.replace(rng=()), metrics))


def _expected_kernel(state, batch, objective):
  """The kernel after a step of the linear network, and the mean loss."""
  real = batch.image / np.float32(128) - 1
  images = np.concatenate([real, batch.sources.image[:-1]])
  pixels = images.reshape(len(images), -1)
  labels = np.concatenate([batch.label, batch.sources.label[:-1]])
  kernel = np.asarray(state.params["classifier"]["kernel"])
  parts = np.ones(len(labels))
  if objective.class_weights is not None:
    parts = objective.class_weights[labels]
  parts = parts / parts.sum()
  values, pull_back = jax.vjp(
    lambda z: objective.loss_fn(z, labels), jnp.asarray(pixels @ kernel)
  )
  (slopes,) = pull_back(jnp.asarray(parts, jnp.float32))
  gradient = pixels.T @ np.asarray(slopes)
  # Plain SGD: the first step has no momentum yet; see small_step.make_state.
  return kernel - 0.2 * (gradient + 5e-4 * kernel), parts @ np.asarray(values)


@pytest.mark.parametrize("loss", LOSSES)
def test_step_goes_down_the_slope_of_its_loss(static, loss):
  config = digits_lt.get_config()
  config.model.loss = loss
  objective = build_objective(config, COUNTS, target=None)
  state, after, metrics = _linear_step(static, objective)
  kernel, mean = _expected_kernel(state, static, objective)
  found = after.params["classifier"]["kernel"]
  np.testing.assert_allclose(found, kernel, rtol=1e-3, atol=1e-5)
  assert metrics["weight"] == BATCH + SLOTS - 1
  found_mean = metrics["loss"] / metrics["weight"]
  np.testing.assert_allclose(found_mean, mean, rtol=1e-4)


@pytest.mark.parametrize("devices", [1, 2])
def test_class_weights_make_a_weighted_mean_of_the_whole_batch(static, devices):
  weights = np.array([0.1, 0.2, 0.5, 1, 2, 4])
  objective = Objective(losses.cross_entropy, weights)
  state, after, metrics = _linear_step(static, objective, devices)
  kernel, mean = _expected_kernel(state, static, objective)
  found = after.params["classifier"]["kernel"]
  np.testing.assert_allclose(found, kernel, rtol=1e-3, atol=1e-5)
  found_mean = metrics["loss"] / metrics["weight"]
  np.testing.assert_allclose(found_mean, mean, rtol=1e-4)


def test_only_ratios_of_class_weights_matter(static):
  one, other = (
    _linear_step(static, Objective(losses.cross_entropy, factor * COUNTS))
    for factor in (1.0, 0.25)
  )
  small_step.assert_close(one[1:], other[1:], rtol=1e-5)


def test_evaluation_adjusts_the_logits(state, batch):
  step = functools.partial(
    train_step.eval_step,
    normalize_fn=lambda images: images / 128.0 - 1.0,
    adjust_fns=[None, lambda logits: -logits],
  )
  mapped = small_step.over_devices(step, 1)
  mask = np.ones(BATCH, bool)
  outputs = jax.device_get(
    mapped(
      state,
      deal(train_step.EvalBatch(batch.image, batch.label, mask), 1),
    )
  )
  assert "logits" not in outputs
  logits = np.asarray(state.logits(batch.image / np.float32(128) - 1))
  plain, adjusted = outputs["prediction"]
  np.testing.assert_array_equal(plain, logits.argmax(axis=1))
  np.testing.assert_array_equal(adjusted, logits.argmin(axis=1))
  # Five of six classes: all but the likeliest.
  expected = batch.label != logits.argmax(axis=1)
  np.testing.assert_array_equal(outputs["in_top5"][1], expected)
