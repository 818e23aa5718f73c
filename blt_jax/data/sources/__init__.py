"""Where images come from: one loader a source, each returning a Dataset."""

from blt_jax.data.sources.arrays import from_arrays, load_digits_lt
from blt_jax.data.sources.dispatch import SourceFiles, load
from blt_jax.data.sources.image_folders import load_image_folder
from blt_jax.data.sources.image_lists import load_image_lists
from blt_jax.data.sources.inaturalist import load_inaturalist
from blt_jax.data.sources.npz import load_npz
from blt_jax.data.sources.splits import SplitOptions
from blt_jax.data.sources.tfds import load_tfds

__all__ = [
  "SourceFiles",
  "SplitOptions",
  "from_arrays",
  "load",
  "load_digits_lt",
  "load_image_folder",
  "load_image_lists",
  "load_inaturalist",
  "load_npz",
  "load_tfds",
]
