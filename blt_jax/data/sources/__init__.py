"""Where images come from: one loader a source, each returning a Dataset."""

from blt_jax.data.sources.arrays import (
  from_arrays,
  load_digits_lt,
  load_npz,
  load_tfds,
)
from blt_jax.data.sources.image_folders import load_image_folder
from blt_jax.data.sources.image_lists import load_image_lists
from blt_jax.data.sources.inaturalist import load_inaturalist

__all__ = [
  "from_arrays",
  "load_digits_lt",
  "load_image_folder",
  "load_image_lists",
  "load_inaturalist",
  "load_npz",
  "load_tfds",
]
