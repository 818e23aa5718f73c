"""Windows of random resized crops, from uniforms, for many images at once."""

import numpy as np

from blt_jax.data.reading import crops


def crop_windows(heights, widths, uniforms, *, scale, ratio):
  """int64 [.., 4]: top, left, height, width, of uniforms [.., 22]."""
  draws = crops.crop_draws(uniforms, scale=scale, ratio=ratio)
  heights = np.broadcast_to(heights, draws.shape[:-1]).ravel().tolist()
  widths = np.broadcast_to(widths, draws.shape[:-1]).ravel().tolist()
  rows = draws.reshape(-1, draws.shape[-1])
  windows = [
    crops.place_crop(height, width, row, ratio=ratio)
    for height, width, row in zip(heights, widths, rows, strict=True)
  ]
  return np.array(windows).reshape(*draws.shape[:-1], 4)
