"""Serialized programs that need JAX only: no Flax, no blt_jax.

Two programs with the weights inside, for any number of images, on CPU, NVIDIA
and AMD GPUs and TPUs.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from blt_jax.deploy.model import TrainedModel

NORMALIZED, PIXELS = "normalized.jaxexport", "uint8.jaxexport"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes a program of normalised images and one of uint8 images."""
  (batch,) = jax.export.symbolic_shape("batch")
  shape = (batch, model.input_size, model.input_size, 3)
  for name, function, dtype in (
    (NORMALIZED, model.calibrated_fn, jnp.float32),
    (PIXELS, model.logits_of_pixels, jnp.uint8),
  ):
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(
      jax.ShapeDtypeStruct(shape, dtype)
    )
    (folder / name).write_bytes(exported.serialize())


def load(folder: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
  """See `formats`."""
  exported = jax.export.deserialize(bytearray((folder / PIXELS).read_bytes()))
  return lambda images: np.asarray(exported.call(images))
