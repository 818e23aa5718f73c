"""Crops: the windows of random and evaluation crops, and their resizing.

The rules are torchvision's. All random numbers are passed in, so they depend
neither on the images' content nor on the readers' threads.
"""

import math

import numpy as np

TRIES = 10
"""Number of windows of random size that are tried in an image."""

UNIFORMS = 2 * TRIES + 2
"""Random numbers a crop needs: each try's area and ratio, then y and x."""

INTERPOLATIONS = ("bilinear", "bicubic")
"""Pillow's filters that images are resized with, both antialiased."""

# Long side over short side; of a longer image only the middle is used.
_LONGEST = 64


def check_ranges(
  scale: tuple[float, float],
  ratio: tuple[float, float],
  *,
  scale_name: str = "crop_scale",
) -> None:
  """Raises ValueError unless scale and ratio are ranges that crops can have."""
  if not 0 < scale[0] <= scale[1] <= 1:
    raise ValueError(f"{scale_name} is {scale}; expected 0 < low <= high <= 1.")
  if not 0 < ratio[0] <= ratio[1] < np.inf:
    raise ValueError(f"crop_ratio is {ratio}; expected 0 < low <= high.")


def check_interpolation(name: str) -> None:
  """Raises ValueError unless it is one of INTERPOLATIONS."""
  if name not in INTERPOLATIONS:
    raise ValueError(
      f"interpolation is {name!r}; expected {' or '.join(INTERPOLATIONS)}."
    )


def crop_draws(
  uniforms: np.ndarray,
  *,
  scale: tuple[float, float],
  ratio: tuple[float, float],
) -> np.ndarray:
  """The part of a random crop that does not depend on the image's size.

  Up to 10 tries of an area uniform in `scale` and a width / height log-uniform
  in `ratio`.

  Args:
    uniforms: float64 [.., UNIFORMS] in [0, 1).
    scale: range of the window's area over the image's,
      0 < low <= high <= 1.
    ratio: range of width / height, 0 < low <= high.

  Returns:
    float64 [.., UNIFORMS]: the widths of the tries and their heights, both
    relative to sqrt(height * width) of the image; where to put the window, y
    and x, 0..1.
  """
  areas = scale[0] + (scale[1] - scale[0]) * uniforms[..., :TRIES]
  low, high = np.log(ratio)
  ratios = np.exp(low + (high - low) * uniforms[..., TRIES : 2 * TRIES])
  relative = [np.sqrt(areas * ratios), np.sqrt(areas / ratios)]
  return np.concatenate([*relative, uniforms[..., 2 * TRIES :]], axis=-1)


def place_crop(
  height: int,
  width: int,
  draws: np.ndarray,
  *,
  ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
  """The window of a random resized crop (torchvision's RandomResizedCrop).

  The first try that fits is placed uniformly. If none fits: the largest centred
  window whose width / height is in `ratio`.

  Args:
    height: of the image, pixels.
    width: of the image, pixels.
    draws: float64 [UNIFORMS] of `crop_draws`.
    ratio: range of width / height, as in `crop_draws`.

  Returns:
    Top, left, height, width; always inside the image.
  """
  side = math.sqrt(height * width)
  *tries, place_y, place_x = draws.tolist()
  for relative_w, relative_h in zip(tries[:TRIES], tries[TRIES:], strict=True):
    w, h = round(side * relative_w), round(side * relative_h)
    if 0 < w <= width and 0 < h <= height:
      return _offset(place_y, height - h), _offset(place_x, width - w), h, w
  w = min(max(round(height * ratio[1]), 1), width)
  h = min(max(round(width / ratio[0]), 1), height)
  return (height - h) // 2, (width - w) // 2, h, w


def _offset(place: float, room: int) -> int:
  """0..room, for a place in [0, 1)."""
  return min(int(place * (room + 1)), room)


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
  """Shape whose short side is `size`; the long side is rounded down."""
  short = min(height, width)
  return size * height // short, size * width // short


def centre_offset(length: int, size: int) -> int:
  """Offset of a centred crop, halves rounded to even."""
  return round((length - size) / 2)


def resize_and_crop(
  image: np.ndarray,
  *,
  image_size: int,
  resize_size: int,
  interpolation: str = "bilinear",
) -> np.ndarray:
  """Resizes the short side and crops the centre, for evaluation.

  If an image is over 64 times as long as wide, its ends are cut off first,
  because the whole of it, resized, could take all memory.

  Args:
    image: uint8 [h, w, 3].
    image_size: s, side of the result in pixels, <= resize_size.
    resize_size: length of the short side before the crop.
    interpolation: one of INTERPOLATIONS.

  Returns:
    uint8 [s, s, 3].
  """
  height, width = image.shape[:2]
  longest = _LONGEST * min(height, width)
  y, x = max(0, height - longest) // 2, max(0, width - longest) // 2
  image = image[y : height - y, x : width - x]
  height, width = resized_shape(height - 2 * y, width - 2 * x, resize_size)
  y = centre_offset(height, image_size)
  x = centre_offset(width, image_size)
  resized = resize(image, height, width, interpolation=interpolation)
  return resized[y : y + image_size, x : x + image_size]


def resize(
  image: np.ndarray,
  height: int,
  width: int,
  *,
  interpolation: str = "bilinear",
) -> np.ndarray:
  """Resizes as torchvision does with Pillow images, antialiased.

  The weight of a pixel at a distance x from the centre of a pixel of the result
  is max(0, 1 - |x|) for bilinear; for bicubic (Keys, 1981, with a = -1/2)
  1.5 |x|^3 - 2.5 |x|^2 + 1 up to 1 and -0.5 |x|^3 + 2.5 |x|^2 - 4 |x| + 2 up to
  2. Distances are in pixels of the larger of the two images, and the weights of
  a result are scaled to a sum of 1.

  Each row is resized first, then each column, both rounded to bytes, as Pillow
  did up to version 12. Since 13 Pillow takes columns first where that is
  cheaper, which can change a value by 1; two calls keep the order, so that all
  versions of Pillow and `device_resize` give the same bytes.

  Args:
    image: uint8 [h, w, 3].
    height: of the result.
    width: of the result.
    interpolation: one of INTERPOLATIONS.

  Returns:
    uint8 [height, width, 3].
  """
  from PIL import Image  # The library does without Pillow.

  weights = Image.Resampling[interpolation.upper()]
  resized = Image.fromarray(image).resize((width, image.shape[0]), weights)
  return np.asarray(resized.resize((width, height), weights))
