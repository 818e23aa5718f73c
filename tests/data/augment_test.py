import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn import datasets

from blt_jax.data import augment

# Pillow rounds to bytes on the way, of which two steps can each cost one.
BYTES = 2.01 / 255
OPERATIONS = ("brightness", "contrast", "saturation")
NO_JITTER = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
  """Crops of two photographs, uint8 [4, 96, 128, 3]."""
  photos = datasets.load_sample_images().images
  crops = [p[y : y + 96, 200:328] for p in photos for y in (100, 300)]
  return np.stack(crops)


def keys(count: int, seed: int = 0) -> jax.Array:
  return jax.random.split(jax.random.key(seed), count)


def unit(images: np.ndarray) -> jax.Array:
  return jnp.asarray(images, jnp.float32) / 255


def by_pillow(images: np.ndarray, operation: Callable) -> np.ndarray:
  results = [operation(Image.fromarray(image)) for image in images]
  return np.stack([np.asarray(result) for result in results])


def adjusted(name, images, factors):
  """Images after a single operation with a factor each."""
  return augment.color_jitter(
    images,
    [name],
    factors=factors[:, None],
    order=jnp.zeros((len(images), 1), jnp.int32),
  )


def test_brightness_is_pillows(photos):
  for factor in (0.6, 1.4):
    expected = by_pillow(
      photos, lambda p, f=factor: ImageEnhance.Brightness(p).enhance(f)
    )
    ours = adjusted("brightness", unit(photos), jnp.full(4, factor))
    np.testing.assert_allclose(ours, unit(expected), atol=BYTES)


def test_contrast_is_pillows(photos):
  for factor in (0.6, 1.4):
    expected = by_pillow(
      photos, lambda p, f=factor: ImageEnhance.Contrast(p).enhance(f)
    )
    ours = adjusted("contrast", unit(photos), jnp.full(4, factor))
    np.testing.assert_allclose(ours, unit(expected), atol=BYTES)


def test_saturation_is_pillows(photos):
  for factor in (0.6, 1.4):
    expected = by_pillow(
      photos, lambda p, f=factor: ImageEnhance.Color(p).enhance(f)
    )
    ours = adjusted("saturation", unit(photos), jnp.full(4, factor))
    np.testing.assert_allclose(ours, unit(expected), atol=BYTES)


@pytest.mark.parametrize("degrees", [-10.0, -3.3, 0.7, 8.0, 33.0, 170.0])
@pytest.mark.parametrize("turned", [False, True])
def test_rotation_is_pillows_nearest(photos, degrees, turned):
  images = photos.swapaxes(1, 2) if turned else photos[:, :, :97]
  expected = by_pillow(
    images, lambda p: p.rotate(degrees, Image.Resampling.NEAREST)
  )
  ours = augment.rotate(jnp.asarray(images), jnp.full(4, degrees))
  assert np.mean(np.all(ours == expected, axis=-1)) > 0.995


def test_rotation_keeps_the_type_and_fills_with_zero():
  images = jnp.full((1, 9, 9, 3), 7, jnp.uint8)
  rotated = augment.rotate(images, jnp.array([45.0]))
  assert rotated.dtype == jnp.uint8
  assert set(np.unique(rotated)) == {0, 7}
  assert not rotated[0, 0].any(axis=-1)[0]


def test_rotation_turns_each_image_by_its_own_angle(photos):
  square = jnp.asarray(photos[:, :, :96])
  rotated = augment.rotate(square, jnp.array([0.0, 90.0, 180.0, -90.0]))
  for image, result, turns in zip(square, rotated, (0, 1, 2, 3), strict=True):
    np.testing.assert_array_equal(result, np.rot90(image, turns))


def test_flip_mirrors_the_chosen_images(photos):
  flipped = augment.hflip(
    jnp.asarray(photos), jnp.array([True, False, False, True])
  )
  np.testing.assert_array_equal(flipped[1:3], photos[1:3])
  np.testing.assert_array_equal(flipped[::3], photos[::3, :, ::-1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_factor_one_leaves_the_image(photos, name):
  np.testing.assert_array_equal(
    adjusted(name, unit(photos), jnp.ones(4)), unit(photos)
  )


def test_factor_zero_leaves_black_flat_grey_and_grey(photos):
  images, zeros = unit(photos), jnp.zeros(4)
  grey = np.asarray(images, np.float64) @ np.array([0.299, 0.587, 0.114])
  flat = grey.mean(axis=(1, 2), keepdims=True) + 0 * grey
  np.testing.assert_array_equal(adjusted("brightness", images, zeros), 0)
  contrast = adjusted("contrast", images, zeros)
  np.testing.assert_allclose(contrast, flat[..., None] + 0 * photos, rtol=1e-5)
  saturation = adjusted("saturation", images, zeros)
  np.testing.assert_allclose(saturation, grey[..., None] + 0 * photos, 1e-5)


def test_color_jitter_applies_the_operations_in_the_given_order(photos):
  orders = jnp.array(list(itertools.permutations(range(3))))
  factors = jnp.tile(jnp.array([[1.4, 0.6, 1.3]]), (6, 1))
  images = jnp.tile(unit(photos[:1]), (6, 1, 1, 1))
  jittered = augment.color_jitter(
    images, OPERATIONS, factors=factors, order=orders
  )
  for i, order in enumerate(orders):
    expected = images[:1]
    for j in order:
      expected = adjusted(OPERATIONS[j], expected, factors[0, j : j + 1])
    np.testing.assert_allclose(jittered[i], expected[0], atol=1e-6)


def test_color_jitter_results_depend_on_the_order(photos):
  orders = jnp.array(list(itertools.permutations(range(3))))
  jittered = augment.color_jitter(
    jnp.tile(unit(photos[:1]), (6, 1, 1, 1)),
    OPERATIONS,
    factors=jnp.tile(jnp.array([[1.4, 0.6, 1.3]]), (6, 1)),
    order=orders,
  )
  assert len(np.unique(np.asarray(jittered).reshape(6, -1), axis=0)) == 6


def test_all_strengths_zero_only_scales(photos):
  ours = augment.augment(keys(4), photos, flip=0.0, rotation=0.0, **NO_JITTER)
  assert ours.dtype == jnp.float32
  np.testing.assert_allclose(ours, unit(photos), rtol=1e-6)


def test_output_is_float32_between_zero_and_one(photos):
  ours = jax.jit(augment.augment)(keys(4), photos)
  assert ours.dtype == jnp.float32
  assert ours.shape == photos.shape
  assert ours.min() >= 0
  assert ours.max() <= 1


def test_an_images_result_depends_on_its_key_alone(photos):
  together = augment.augment(keys(4), photos)
  alone = augment.augment(keys(4)[2:3], photos[2:3])
  np.testing.assert_allclose(together[2:3], alone, atol=1e-6)


def test_the_same_keys_repeat_and_others_do_not(photos):
  apply = jax.jit(augment.augment)
  np.testing.assert_array_equal(apply(keys(4), photos), apply(keys(4), photos))
  assert not np.array_equal(apply(keys(4), photos), apply(keys(4, 1), photos))


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_flips_happen_at_the_given_rate(rate):
  images = np.zeros((4000, 1, 2, 3), np.uint8)
  images[:, :, 0] = 255
  flipped = augment.augment(
    keys(4000), images, flip=rate, rotation=0.0, **NO_JITTER
  )
  # Four standard deviations of a share over 4000 draws.
  assert abs(np.mean(flipped[:, 0, 1, 0]) - rate) < 4 * 0.5 / 4000**0.5


def test_angles_fill_the_range_on_both_sides(monkeypatch):
  drawn = []
  monkeypatch.setattr(
    augment, "rotate", lambda x, degrees: drawn.append(degrees) or x
  )
  images = np.zeros((4000, 1, 1, 3), np.uint8)
  augment.augment(keys(4000), images, rotation=10.0, **NO_JITTER)
  counts, _ = np.histogram(drawn[0], bins=10, range=(-10, 10))
  assert counts.sum() == 4000
  # Five standard deviations of a bin of probability 1/10.
  assert np.abs(counts - 400).max() < 5 * (4000 * 0.09) ** 0.5


def recorded_jitter(monkeypatch, **strengths):
  drawn = {}

  def record(images, operations, *, factors, order):
    drawn.update(operations=operations, factors=factors, order=order)
    return images

  monkeypatch.setattr(augment, "color_jitter", record)
  images = np.zeros((6000, 1, 1, 3), np.uint8)
  augment.augment(keys(6000), images, rotation=0.0, **strengths)
  return drawn


def test_each_of_the_six_orders_is_as_frequent(monkeypatch):
  drawn = recorded_jitter(monkeypatch)
  orders, counts = np.unique(drawn["order"], axis=0, return_counts=True)
  assert len(orders) == 6
  # Five standard deviations of a count of probability 1/6.
  assert np.abs(counts - 1000).max() < 5 * (6000 * 5 / 36) ** 0.5


def test_factors_fill_their_ranges_and_are_not_negative(monkeypatch):
  drawn = recorded_jitter(
    monkeypatch, brightness=0.1, contrast=0.4, saturation=1.5
  )
  low, high = drawn["factors"].min(axis=0), drawn["factors"].max(axis=0)
  np.testing.assert_allclose(low, [0.9, 0.6, 0.0], atol=0.01)
  np.testing.assert_allclose(high, [1.1, 1.4, 2.5], atol=0.01)


def test_an_operation_of_strength_zero_is_left_out(monkeypatch):
  drawn = recorded_jitter(
    monkeypatch, brightness=0.2, contrast=0.0, saturation=0.3
  )
  assert drawn["operations"] == ["brightness", "saturation"]
  assert drawn["order"].shape == (6000, 2)
  np.testing.assert_allclose(
    drawn["factors"].max(axis=0), [1.2, 1.3], atol=0.01
  )


def test_normalize_uses_each_channels_mean_and_deviation():
  images = jnp.tile(jnp.array([0.485, 0.456, 1.0]), (2, 3, 3, 1))
  ours = augment.normalize(images)
  np.testing.assert_allclose(ours[..., :2], 0, atol=1e-6)
  np.testing.assert_allclose(ours[..., 2], (1 - 0.406) / 0.225, rtol=1e-6)
  other = augment.normalize(images, mean=(0, 0, 0), std=(0.5, 0.5, 2.0))
  np.testing.assert_allclose(other[0, 0, 0], [0.97, 0.912, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
  "images",
  [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4, 1), np.uint8)],
)
def test_images_that_are_not_rgb_bytes_are_refused(images):
  with pytest.raises(ValueError, match=r"images is .*; expected uint8 \[n, h"):
    augment.augment(keys(2), images)


def test_a_single_key_for_several_images_is_refused(photos):
  with pytest.raises(ValueError, match="expected 4 keys, one an image"):
    augment.augment(jax.random.key(0), photos)


def test_the_compiled_program_is_the_same_for_every_key(photos):
  traces = []

  @jax.jit
  def traced(rngs, images):
    traces.append(None)
    return augment.augment(rngs, images)

  traced(keys(4, 0), photos)
  traced(keys(4, 1), photos)
  assert len(traces) == 1
