import jax
import numpy as np
import pytest
from PIL import Image

from blt_jax.data import device_resize
from blt_jax.data.device_resize import resize_crops
from blt_jax.data.reading import crops

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
    expected = crops.resize(image, SIZE, SIZE)
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


@pytest.mark.parametrize("length", [1, 37, 319, 320])
def test_the_largest_allowed_ratio_gives_the_bytes_of_the_host(length):
  image = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
  image[:160] = 255  # The largest sums.
  extents = np.array([[length, 320]], np.int32)
  resized = resize(image[None], extents, SIZE)[0]
  expected = crops.resize(image[:length], SIZE, SIZE)
  np.testing.assert_array_equal(resized, expected)


@pytest.mark.parametrize("side, size", [(321, 20), (8192, 64), (8193, 8192)])
def test_canvases_for_which_the_numbers_are_too_short_are_refused(side, size):
  with pytest.raises(ValueError, match=f"side is {side} pixels for .* {size};"):
    device_resize.resize_weights(np.int32(side), side, size)
