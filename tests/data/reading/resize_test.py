"""The crop of evaluation, of images much longer than wide."""

import numpy as np
import pytest

from blt_jax.data.reading import crops


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
