"""Resizing, and the crop of evaluation of images much longer than wide."""

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.reading import crops


def _linear(x):
  return np.maximum(0, 1 - np.abs(x))


def _cubic(x):
  """Keys's cubic convolution with a = -1/2."""
  x = np.abs(x)
  near = 1.5 * x**3 - 2.5 * x**2 + 1
  far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  return np.where(x < 1, near, np.where(x < 2, far, 0))


KERNELS = {"bilinear": _linear, "bicubic": _cubic}


def _weights(kernel, length, size):
  """float64 [size, length]: widened by the ratio where it makes smaller."""
  ratio = length / size
  centres = (np.arange(size) + 0.5) * ratio
  distances = np.arange(length) + 0.5 - centres[:, None]
  weights = kernel(distances / max(ratio, 1))
  return weights / weights.sum(axis=1, keepdims=True)


def _resized(image, height, width, kernel):
  """Along the rows, then along the columns, both rounded to bytes.

  Weights are whole numbers, of which 2^22 stands for 1, as in Pillow.
  """
  for equation, length, size in (
    ("kx,yxc->ykc", image.shape[1], width),
    ("ky,yxc->kxc", image.shape[0], height),
  ):
    weights = _weights(kernel, length, size) * 2**22
    whole = np.trunc(weights + np.copysign(0.5, weights)).astype(int)
    sums = np.einsum(equation, whole, image.astype(int))
    image = np.clip((sums + 2**21) >> 22, 0, 255)
  return image


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [(8, 8), (24, 17), (96, 96), (50, 130)])
def test_pixels_are_those_of_the_filter(name, size):
  rng = np.random.default_rng(0)
  for shape in ((8, 8), (40, 31), (150, 200), (1, 9)):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    half = image[:, : shape[1] // 2]
    half[:] = half // 128 * 255  # Bicubic sums leave the range of bytes.
    found = crops.resize(image, *size, interpolation=name)
    np.testing.assert_array_equal(
      found, _resized(image, *size, KERNELS[name]), str(shape)
    )


@pytest.mark.parametrize("name", KERNELS)
def test_pixels_are_pillows(name):
  weights = Image.Resampling[name.upper()]
  rng = np.random.default_rng(1)
  for shape in ((8, 8), (40, 31), (30, 200)):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    for height, width in ((16, 16), (20, 33), (*shape,)):
      found = crops.resize(image, height, width, interpolation=name)
      rows = Image.fromarray(image).resize((width, shape[0]), weights)
      np.testing.assert_array_equal(
        found, rows.resize((width, height), weights)
      )


def test_bicubic_overshoots_at_an_edge_and_bilinear_does_not():
  edge = np.full((20, 20, 3), 50, np.uint8)
  edge[:, 10:] = 200
  smooth = crops.resize(edge, 80, 80, interpolation="bilinear")
  sharp = crops.resize(edge, 80, 80, interpolation="bicubic")
  assert (smooth.min(), smooth.max()) == (50, 200)
  assert sharp.min() < 45
  assert sharp.max() > 205


@pytest.mark.parametrize("shape", [(40, 7000), (7000, 40)])
def test_crop_of_a_long_image_is_the_middle_of_all_of_it(shape):
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  cropped = crops.resize_and_crop(image, image_size=32, resize_size=48)
  height, width = crops.resized_shape(*shape, 48)
  whole = crops.resize(image, height, width)
  y, x = (height - 32) // 2, (width - 32) // 2
  np.testing.assert_array_equal(cropped, whole[y : y + 32, x : x + 32])


def test_an_image_that_is_a_line_takes_little_memory():
  # 39 GB, were it resized as a whole.
  line = np.zeros((1, 200_000, 3), np.uint8)
  line[:, 99_900:100_100] = (10, 20, 30)
  cropped = crops.resize_and_crop(line, image_size=224, resize_size=256)
  assert cropped.shape == (224, 224, 3)
  assert (cropped == (10, 20, 30)).all()
