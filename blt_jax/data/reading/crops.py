"""Crop windows: random resized crops and the evaluation crop, as numbers.

The rules are torchvision's. All randomness comes in as uniforms, so that the
images' content and the readers' threads never decide it.
"""

import numpy as np

TRIES = 10


def crop_windows(
  heights: np.ndarray,
  widths: np.ndarray,
  uniforms: np.ndarray,
  *,
  scale: tuple[float, float],
  ratio: tuple[float, float],
) -> np.ndarray:
  """Windows of random resized crops (torchvision's RandomResizedCrop).

  Up to 10 tries of an area uniform in `scale` and a width / height log-uniform
  in `ratio`; the first that fits is placed uniformly. If none fits: the largest
  centred window whose width / height is in `ratio`.

  Args:
    heights: int [..], of the images, pixels.
    widths: int [..].
    uniforms: float64 [.., 22] in [0, 1).
    scale: range of the window's area over the image's,
      0 < low <= high <= 1.
    ratio: range of width / height, 0 < low <= high.

  Returns:
    int64 [.., 4]: top, left, height, width; always inside the image.

  Raises:
    ValueError: scale or ratio is not allowed.
  """
  check_ranges(scale, ratio)
  draws = crop_draws(uniforms, scale=scale, ratio=ratio)
  return place_crops(heights, widths, draws, ratio=ratio)


def check_ranges(
  scale: tuple[float, float],
  ratio: tuple[float, float],
  *,
  scale_name: str = "crop_scale",
) -> None:
  """Raises ValueError unless scale and ratio are ranges that crops can have."""
  if not 0 < scale[0] <= scale[1] <= 1:
    raise ValueError(f"{scale_name} = {scale}; allowed: 0 < low <= high <= 1")
  if not 0 < ratio[0] <= ratio[1] < np.inf:
    raise ValueError(f"crop_ratio = {ratio}; allowed: 0 < low <= high")


def crop_draws(
  uniforms: np.ndarray,
  *,
  scale: tuple[float, float],
  ratio: tuple[float, float],
) -> np.ndarray:
  """The part of a crop that does not depend on the image's size.

  Args:
    uniforms: float64 [.., 22] in [0, 1).
    scale: see crop_windows.
    ratio: see crop_windows.

  Returns:
    float64 [.., 22]: the widths of 10 tries and their heights, both relative to
    sqrt(height * width) of the image; where to put the window, y and x, 0..1.
  """
  areas = scale[0] + (scale[1] - scale[0]) * uniforms[..., :TRIES]
  low, high = np.log(ratio)
  ratios = np.exp(low + (high - low) * uniforms[..., TRIES : 2 * TRIES])
  relative = [np.sqrt(areas * ratios), np.sqrt(areas / ratios)]
  return np.concatenate([*relative, uniforms[..., 2 * TRIES :]], axis=-1)


def place_crops(
  heights: np.ndarray,
  widths: np.ndarray,
  draws: np.ndarray,
  *,
  ratio: tuple[float, float],
) -> np.ndarray:
  """Turns crop_draws into windows of images of known size; see crop_windows."""
  full_h = np.asarray(heights, np.float64)[..., None]
  full_w = np.asarray(widths, np.float64)[..., None]
  side = np.sqrt(full_h * full_w)
  # The fallback is an 11th try that always fits.
  last_w = np.clip(np.round(full_h * ratio[1]), 1, full_w)
  last_h = np.clip(np.round(full_w / ratio[0]), 1, full_h)
  w = np.round(side * draws[..., :TRIES])
  h = np.round(side * draws[..., TRIES : 2 * TRIES])
  w = np.concatenate([w, np.broadcast_to(last_w, w[..., :1].shape)], axis=-1)
  h = np.concatenate([h, np.broadcast_to(last_h, h[..., :1].shape)], axis=-1)
  fits = (w > 0) & (w <= full_w) & (h > 0) & (h <= full_h)
  choice = np.argmax(fits, axis=-1)[..., None]
  w = np.take_along_axis(w, choice, axis=-1)
  h = np.take_along_axis(h, choice, axis=-1)
  place = np.where(choice == TRIES, -1.0, draws[..., 2 * TRIES :])
  y = _offset(place[..., :1], full_h - h)
  x = _offset(place[..., 1:], full_w - w)
  return np.concatenate([y, x, h, w], axis=-1).astype(np.int64)


def _offset(place: np.ndarray, room: np.ndarray) -> np.ndarray:
  """Offset 0..room; a negative place means the centre."""
  spread = np.minimum(np.floor(place * (room + 1)), room)
  return np.where(place < 0, np.floor(room / 2), spread)


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
  """Shape whose short side is `size`; the long side is rounded down."""
  short = min(height, width)
  return size * height // short, size * width // short


def centre_offset(length: int, size: int) -> int:
  """Offset of a centred crop, halves rounded to even."""
  return round((length - size) / 2)
