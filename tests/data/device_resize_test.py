import functools

import jax
import numpy as np
import pytest
from PIL import Image

from blt_jax.data import device_resize
from blt_jax.data.device_resize import resize_batch, resize_crops
from blt_jax.data.reading import resize as array_images

SIDE, SIZE = 40, 20
resize = jax.jit(resize_crops, static_argnums=2)


def crops_in_canvases(shapes, seed=0):
  """Images of noise, and the canvases that they lie in, amid other noise."""
  rng = np.random.default_rng(seed)
  canvases = rng.integers(0, 256, (len(shapes), SIDE, SIDE, 3), np.uint8)
  images = [
    c[:h, :w].copy() for c, (h, w) in zip(canvases, shapes, strict=True)
  ]
  return images, canvases, np.array(shapes, np.int32)


def test_every_shape_is_resized_to_the_bytes_of_the_host():
  shapes = [(h, w) for h in range(1, SIDE + 1, 3) for w in range(1, SIDE + 1)]
  images, canvases, extents = crops_in_canvases(shapes)
  resized = np.asarray(resize(canvases, extents, SIZE))
  for image, ours in zip(images, resized, strict=True):
    expected = array_images.resize(image, SIZE, SIZE)
    np.testing.assert_array_equal(ours, expected, str(image.shape))


def test_pillow_itself_is_never_further_away_than_one():
  shapes = [(h, w) for h in range(1, SIDE + 1, 3) for w in range(1, SIDE + 1)]
  images, canvases, extents = crops_in_canvases(shapes)
  resized = np.asarray(resize(canvases, extents, SIZE)).astype(int)
  for image, ours in zip(images, resized, strict=True):
    expected = Image.fromarray(image).resize(
      (SIZE, SIZE), Image.Resampling.BILINEAR
    )
    assert np.abs(ours - np.asarray(expected)).max() <= 1, image.shape


def test_what_lies_around_an_image_plays_no_part():
  _, canvases, extents = crops_in_canvases([(31, 7), (SIDE, 12)])
  others = canvases.copy()
  others[0, 31:], others[0, :, 7:], others[1, :, 12:] = 0, 255, 0
  np.testing.assert_array_equal(
    resize(canvases, extents, SIZE), resize(others, extents, SIZE)
  )


def test_an_image_of_the_right_size_stays_as_it_is():
  images, canvases, extents = crops_in_canvases([(SIZE, SIZE)])
  np.testing.assert_array_equal(resize(canvases, extents, SIZE)[0], images[0])


def test_extremes_of_bytes_are_kept():
  canvases = np.zeros((2, SIDE, SIDE, 3), np.uint8)
  canvases[1] = 255
  extents = np.array([[33, 17], [33, 17]], np.int32)
  resized = np.asarray(resize(canvases, extents, SIZE))
  assert resized[0].max() == 0
  assert resized[1].min() == 255


@pytest.mark.parametrize("length", [1, 5, 224, 225, 333, 448])
def test_weights_are_the_filters(length):
  weights = np.asarray(
    jax.jit(device_resize.resize_weights, static_argnums=(1, 2))(
      np.int32(length), 448, 224
    )
  )
  ratio = length / 224
  for k in (0, 1, 111, 223):
    distance = np.abs(np.arange(length) + 0.5 - (k + 0.5) * ratio)
    expected = np.maximum(0, 1 - distance / max(ratio, 1))
    expected = np.floor(expected / expected.sum() * 2**22 + 0.5)
    np.testing.assert_array_equal(weights[k, :length], expected)
    assert not weights[k, length:].any()


def test_a_batch_loses_its_canvases_and_keeps_the_rest():
  images, canvases, extents = crops_in_canvases([(30, 25), (9, SIDE)])
  batch = {
    "image": canvases,
    "image_extent": extents,
    "label": np.array([3, 1]),
    "source_image": canvases[::-1],
    "source_extent": extents[::-1],
    "source_used": np.array([True, False]),
  }
  resized = jax.jit(functools.partial(resize_batch, size=SIZE))(batch)
  assert set(resized) == set(batch) - {"image_extent", "source_extent"}
  for i, image in enumerate(images):
    expected = array_images.resize(image, SIZE, SIZE)
    np.testing.assert_array_equal(resized["image"][i], expected)
    np.testing.assert_array_equal(resized["source_image"][1 - i], expected)
  assert resized["label"].tolist() == [3, 1]


def test_a_batch_without_canvases_is_left_alone():
  batch = {"image": np.zeros((2, SIZE, SIZE, 3), np.uint8)}
  assert resize_batch(batch, SIZE)["image"] is batch["image"]
