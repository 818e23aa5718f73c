import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method.perturb import (
  halving_widths,
  perturb_image,
  perturb_images,
)
from blt_jax.models import create_model

NUM, SIZE, CLASSES = 8, 6, 5


def _logits(params, images):
  """A small network with a bend, so that gradients change from step to step."""
  hidden = jnp.tanh(images.reshape(images.shape[0], -1) @ params["first"])
  return hidden @ params["second"]


def _problem(seed=0):
  keys = jax.random.split(jax.random.key(seed), 4)
  params = {
    "first": jax.random.normal(keys[0], (SIZE * SIZE * 3, 16)) * 0.1,
    "second": jax.random.normal(keys[1], (16, CLASSES)) * 0.6,
  }
  images = jax.random.normal(keys[2], (NUM, SIZE, SIZE, 3))
  targets = jax.random.randint(keys[3], (NUM,), 0, CLASSES)
  confidences = jnp.linspace(0.1, 0.999, NUM)
  return functools.partial(_logits, params), images, targets, confidences


def _one_by_one(logits_fn, images, targets, confidences, *, momentum):
  """The method as a plain Python loop over images, written independently."""
  gradient_fn = jax.jit(
    jax.grad(lambda image, target: logits_fn(image[None])[0, target])
  )
  softmax_fn = jax.jit(lambda image: jax.nn.softmax(logits_fn(image[None])[0]))
  results = []
  for image, target, confidence in zip(
    images, targets, confidences, strict=True
  ):
    velocity, updates = np.zeros_like(image), 0
    while True:
      reached = bool(softmax_fn(image)[target] > confidence)
      if reached or updates == 15:
        break
      velocity = momentum * velocity + gradient_fn(image, target)
      image = image + 0.7 * velocity
      updates += 1
    results.append((np.asarray(image), updates, reached))
  return [np.stack(part) for part in zip(*results, strict=True)]


@pytest.fixture(scope="module", params=[0.0, 1.0])
def solved(request):
  """A momentum, a problem and its solution by the paper's loop, in float64.

  In float32 the two forms differ by their rounding: products of matrices round
  otherwise for another number of images.
  """
  logits_fn, *arrays = _problem()
  with jax.enable_x64(True):
    params = jax.tree.map(np.float64, logits_fn.args[0])
    logits_fn = functools.partial(_logits, params)
    arrays = [
      np.asarray(a, np.float64 if a.dtype == np.float32 else None)
      for a in arrays
    ]
    solve = jax.jit(
      functools.partial(perturb_image, logits_fn, momentum=request.param)
    )
    results = [solve(*each) for each in zip(*arrays, strict=True)]
  return (
    request.param,
    (logits_fn, *arrays),
    jax.tree.map(lambda *parts: np.stack(parts), *results),
  )


def test_ascent_of_the_paper_equals_an_independent_loop(solved):
  momentum, problem, result = solved
  with jax.enable_x64(True):
    images, updates, reached = _one_by_one(*problem, momentum=momentum)
  np.testing.assert_array_equal(result.num_updates, updates)
  np.testing.assert_array_equal(result.reached, reached)
  np.testing.assert_allclose(result.images, images, rtol=1e-9)
  assert len(set(updates.tolist())) > 3  # the images do finish at many times


@pytest.mark.parametrize(
  "widths", [(), (8,), (3,), (1,), (20, 3, 1), (4, 2, 1)], ids=str
)
def test_fast_form_equals_the_ascent_of_the_paper(solved, widths):
  momentum, problem, expected = solved
  perturb = functools.partial(
    perturb_images, problem[0], momentum=momentum, widths=widths
  )
  with jax.enable_x64(True):
    result = jax.jit(perturb)(*problem[1:])
  assert result.num_updates.dtype == expected.num_updates.dtype == np.int32
  np.testing.assert_array_equal(result.num_updates, expected.num_updates)
  np.testing.assert_array_equal(result.reached, expected.reached)
  np.testing.assert_allclose(result.images, expected.images, rtol=1e-9)


def test_image_past_its_threshold_comes_back_bit_identical():
  logits_fn, images, targets, _ = _problem()
  probabilities = jax.nn.softmax(logits_fn(images))
  reached = probabilities[jnp.arange(NUM), targets]
  confidences = jnp.where(jnp.arange(NUM) % 2 == 0, reached * 0.99, 0.999)
  result = perturb_images(logits_fn, images, targets, confidences)
  np.testing.assert_array_equal(result.images[::2], images[::2])
  assert result.reached[::2].all()
  np.testing.assert_array_equal(result.num_updates[::2], 0)
  assert (result.num_updates[1::2] > 0).all()


def test_numpy_arrays_are_fine():
  logits_fn, *arrays = _problem()
  result = perturb_images(logits_fn, *map(np.asarray, arrays), widths=(3,))
  expected = perturb_images(logits_fn, *arrays, widths=(3,))
  np.testing.assert_array_equal(result.images, expected.images)


def test_stops_after_max_steps_and_says_that_it_was_not_reached():
  logits_fn, images, targets, _ = _problem()
  result = perturb_images(
    logits_fn, images, targets, jnp.full(NUM, 1.0), max_steps=15
  )
  np.testing.assert_array_equal(result.num_updates, 15)
  assert not result.reached.any()


def test_last_allowed_update_can_reach_the_confidence():
  logits_fn, images, targets, _ = _problem()
  confidences = jnp.full(NUM, 0.5)
  full = perturb_images(logits_fn, images, targets, confidences, max_steps=99)
  most = int(full.num_updates.max())
  assert 0 < most < 99
  capped = perturb_images(
    logits_fn, images, targets, confidences, max_steps=most
  )
  assert capped.reached.all()


def test_without_steps_images_are_checked_but_not_moved():
  problem = _problem()
  result = perturb_images(*problem, max_steps=0)
  np.testing.assert_array_equal(result.images, problem[1])
  assert result.reached.any()
  assert not result.reached.all()


def test_negative_confidence_switches_an_image_off():
  logits_fn, images, targets, _ = _problem()
  result = perturb_images(logits_fn, images, targets, jnp.full(NUM, -1.0))
  np.testing.assert_array_equal(result.images, images)
  np.testing.assert_array_equal(result.num_updates, 0)


def test_images_of_a_broken_network_are_left_as_they_are():
  images = jnp.ones((3, 2, 2, 1))

  def logits_fn(images):
    # The second image's logits are NaN.
    broken = jnp.where(jnp.arange(3) == 1, jnp.nan, 1.0)[:, None]
    means = images.mean(axis=(1, 2, 3))[:, None]
    return jnp.concatenate([means, -means], axis=1) * broken

  result = perturb_images(
    logits_fn, images, jnp.array([1, 1, 1]), jnp.full(3, 0.9), step_size=1.0
  )
  assert result.reached.tolist() == [True, False, True]
  assert result.num_updates[1] == 0
  np.testing.assert_array_equal(result.images[1], images[1])


@pytest.mark.parametrize("widths", [(1,), (2, 1), (3,), (8, 4, 2, 1)], ids=str)
def test_lanes_pass_through_the_network_only_what_is_not_done(widths):
  logits_fn, images, targets, confidences = _problem()
  confidences = confidences.at[::3].set(-1.0)  # 3 of 8 are switched off.
  passes = []

  def counted(x):
    jax.debug.callback(lambda: passes.append(len(x)))
    return logits_fn(x)

  result = perturb_images(counted, images, targets, confidences, widths=widths)
  jax.effects_barrier()
  looks = np.asarray(result.num_updates + 1)[np.asarray(confidences) >= 0]
  assert sum(passes) == _lane_passes(looks, widths)
  if widths[-1] == 1 == widths[0]:
    assert sum(passes) == looks.sum()


def _lane_passes(looks, widths):
  """Lanes times iterations, where image i needs looks[i] of them."""
  queue, lanes, passes = list(looks), [], 0
  for width, enough in zip(widths, [*widths[1:], 0], strict=True):
    while True:
      while queue and len(lanes) < width:
        lanes.append(queue.pop(0))
      if len(lanes) <= enough:
        break
      passes += width
      lanes = [left - 1 for left in lanes if left > 1]
  return passes


@pytest.mark.parametrize("widths", [(0,), (2, 4), (3, 3)], ids=str)
def test_widths_that_do_not_fall_are_refused(widths):
  with pytest.raises(ValueError, match="widths are"):
    perturb_images(*_problem(), widths=widths)


def test_images_do_not_influence_one_another():
  logits_fn, images, targets, confidences = _problem()
  together = perturb_images(logits_fn, images, targets, confidences)
  alone = perturb_images(logits_fn, images[3:4], targets[3:4], confidences[3:4])
  np.testing.assert_allclose(together.images[3], alone.images[0], rtol=1e-5)
  assert together.num_updates[3] == alone.num_updates[0]


def test_no_images_are_fine():
  logits_fn, images, targets, confidences = _problem()
  result = perturb_images(logits_fn, images[:0], targets[:0], confidences[:0])
  assert result.images.shape == (0, SIZE, SIZE, 3)


def test_vmap_over_problems_equals_one_after_the_other():
  logits_fn, images, targets, confidences = _problem()

  def stack(x):
    return jnp.stack([x[:4], x[4:]])

  perturb = functools.partial(perturb_images, logits_fn)
  mapped = jax.vmap(perturb)(stack(images), stack(targets), stack(confidences))
  plain = perturb(images, targets, confidences)
  np.testing.assert_array_equal(
    mapped.num_updates.reshape(-1), plain.num_updates
  )
  np.testing.assert_allclose(
    mapped.images.reshape(images.shape), plain.images, rtol=1e-5, atol=1e-6
  )


def test_vmap_over_a_network_of_ours():
  model = create_model("small_resnet10", CLASSES, hidden=8)
  images = jax.random.normal(jax.random.key(0), (2, 2, 8, 8, 3))
  variables = jax.jit(functools.partial(model.init, train=False))(
    jax.random.key(1), images[0]
  )
  perturb = functools.partial(
    perturb_images,
    lambda x: model.apply(variables, x, train=False),
    targets=jnp.array([1, 2]),
    confidences=jnp.array([0.4, 0.4]),
    max_steps=3,
  )
  mapped = jax.jit(jax.vmap(perturb))(images)
  plain = jax.jit(perturb)(images[1])
  np.testing.assert_array_equal(mapped.num_updates[1], plain.num_updates)
  np.testing.assert_allclose(
    mapped.images[1], plain.images, rtol=1e-3, atol=1e-3
  )


def test_model_is_traced_once_for_all_values():
  logits_fn, images, targets, confidences = _problem()
  traces = []

  def counting(x):
    traces.append(x.shape)
    return logits_fn(x)

  perturb = jax.jit(functools.partial(perturb_images, counting))
  perturb(images, targets, confidences)
  first = len(traces)
  perturb(images + 1, (targets + 1) % CLASSES, confidences * 0.5)
  assert len(traces) == first


def test_only_image_gradients_are_computed():
  """Forward and image gradient need 2 products a layer, weights a third."""
  problem = _problem()
  text = str(
    jax.make_jaxpr(functools.partial(perturb_images, problem[0]))(*problem[1:])
  )
  assert text.count("dot_general") == 4  # two layers, forward and backward


def test_network_and_inputs_stay_untouched():
  model = create_model("small_resnet10", CLASSES)
  images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
  variables = jax.jit(functools.partial(model.init, train=False))(
    jax.random.key(1), images
  )
  before = jax.tree.map(np.array, (variables, images))
  result = jax.jit(perturb_images, static_argnums=0)(
    lambda x: model.apply(variables, x, train=False),
    images,
    jnp.array([1, 2]),
    jnp.array([0.99, 0.99]),
  )
  assert (result.num_updates > 0).all()
  jax.tree.map(np.testing.assert_array_equal, before, (variables, images))


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_shard_map_over_devices_equals_one_device(momentum):
  logits_fn, *arrays = _problem()
  ascend = functools.partial(
    perturb_images, logits_fn, momentum=momentum, widths=(3, 1)
  )
  mesh = jax.make_mesh((2,), ("batch",))
  batch = jax.P("batch")
  over_devices = jax.shard_map(
    ascend, mesh=mesh, in_specs=batch, out_specs=batch, check_vma=False
  )
  dealt = jax.device_put(arrays, jax.NamedSharding(mesh, batch))
  shared = jax.jit(over_devices)(*dealt)
  expected = ascend(*arrays)
  np.testing.assert_array_equal(shared.num_updates, expected.num_updates)
  np.testing.assert_allclose(shared.images, expected.images, atol=1e-5)


def test_half_precision_takes_factors_of_any_kind():
  logits_fn, images, *rest = _problem()
  images = images.astype(jnp.bfloat16)
  expected = perturb_images(logits_fn, images, *rest, momentum=0.5)
  factors = {"momentum": np.float32(0.5), "step_size": np.float32(0.7)}
  result = perturb_images(logits_fn, images, *rest, **factors)
  assert result.images.dtype == jnp.bfloat16
  assert (result.num_updates > 0).any()
  # The same but for where products are rounded.
  np.testing.assert_allclose(
    result.images.astype(float), expected.images.astype(float), atol=0.2
  )


def test_updates_too_small_for_bfloat16_add_up():
  def logits_fn(images):
    value = images.astype(jnp.bfloat16).astype(jnp.float32).sum((1, 2, 3))
    return jnp.stack([value, jnp.zeros_like(value)], axis=1)

  # Above 1 the numbers of bfloat16 are 1/128 apart: the network sees a change
  # once the image is nearer to the next one, after 5 updates of 1/1024.
  result = perturb_images(
    logits_fn,
    jnp.ones((1, 1, 1, 1)),
    jnp.array([0]),
    jax.nn.sigmoid(jnp.array([1 + 1 / 256])),
    step_size=1 / 1024,
  )
  assert int(result.num_updates[0]) == 5
  assert bool(result.reached[0])
  assert float(result.images[0, 0, 0, 0]) == 1 + 5 / 1024


def test_confidence_that_is_no_number_is_not_reached():
  logits_fn, images, targets, _ = _problem()
  result = perturb_images(logits_fn, images, targets, jnp.full(NUM, jnp.nan))
  np.testing.assert_array_equal(result.images, images)
  assert not result.reached.any()


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      {"images": np.zeros((8, 6, 6, 3), np.uint8)},
      "images are uint8.* floats",
    ),
    ({"images": np.float32(0)}, r"images are float32\[\]; .* floats"),
    ({"targets": np.zeros(8, bool)}, "targets are bool; expected integers"),
    ({"targets": np.zeros(8)}, "targets are float32; expected integers"),
  ],
)
def test_wrong_types_are_refused_by_name(changes, message):
  logits_fn, images, targets, confidences = _problem()
  arguments = {"images": images, "targets": targets} | changes
  with pytest.raises(ValueError, match=message):
    perturb_images(logits_fn, confidences=confidences, **arguments)


@pytest.mark.parametrize("name", ["targets", "confidences"])
def test_wrong_shape_is_refused_by_name(name):
  logits_fn, images, targets, confidences = _problem()
  arguments = {"targets": targets, "confidences": confidences}
  arguments[name] = arguments[name][:3]
  with pytest.raises(
    ValueError, match=rf"{name} has shape \(3,\); expected \(8,\)"
  ):
    perturb_images(logits_fn, images, **arguments)


def test_negative_max_steps_is_refused():
  with pytest.raises(ValueError, match="max_steps is -1"):
    perturb_images(*_problem(), max_steps=-1)


def test_widths_halve():
  assert halving_widths(17) == (8, 4, 2, 1)
  assert halving_widths(20, narrowest=4) == (10, 5)
  assert halving_widths(256) == (128, 64, 32, 16)
  assert halving_widths(1) == (1,)
  assert halving_widths(3, narrowest=4) == (1,)
