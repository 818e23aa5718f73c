"""Resizes decoded images with Pillow, as torchvision does."""

import numpy as np

from blt_jax.data.reading import crops

# Of an image that is longer, in units of its short side, the middle is used.
_LONGEST = 64


def resize_and_crop(
  image: np.ndarray, *, image_size: int, resize_size: int
) -> np.ndarray:
  """Resizes the short side and crops the centre, for evaluation.

  Of an image that is over 64 times as long as wide the ends are cut off first:
  the rest of it, resized, could take all memory.

  Args:
    image: uint8 [h, w, 3].
    image_size: s, side of the result in pixels, <= resize_size.
    resize_size: length of the short side before the crop.

  Returns:
    uint8 [s, s, 3].
  """
  height, width = image.shape[:2]
  longest = _LONGEST * min(height, width)
  y, x = max(0, height - longest) // 2, max(0, width - longest) // 2
  image = image[y : height - y, x : width - x]
  height, width = crops.resized_shape(
    height - 2 * y, width - 2 * x, resize_size
  )
  y = crops.centre_offset(height, image_size)
  x = crops.centre_offset(width, image_size)
  resized = resize(image, height, width)
  return resized[y : y + image_size, x : x + image_size]


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Bilinear and antialiased, as torchvision resizes Pillow images.

  Rows first, then columns, each rounded to bytes, as Pillow did up to version
  12; since 13 it takes columns first where that is cheaper, which can change a
  value by 1. So neither Pillow's version nor `device_resize` changes a bit.

  Args:
    image: uint8 [h, w, 3].
    height: of the result.
    width: of the result.

  Returns:
    uint8 [height, width, 3].
  """
  from PIL import Image  # The library does without Pillow.

  bilinear = Image.Resampling.BILINEAR
  resized = Image.fromarray(image).resize((width, image.shape[0]), bilinear)
  return np.asarray(resized.resize((width, height), bilinear))
