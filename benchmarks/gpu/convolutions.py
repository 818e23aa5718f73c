"""Part c: the gradient of a convolution's images by hand and by XLA."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu import timing
from benchmarks.gpu.rows import Row
from benchmarks.gpu.setup import ARITHMETIC, Setup
from blt_jax.models import convolution

# Height and width of images, channels, filters, kernel, stride: of a ResNet.
_CASES = (
  (56, 64, 64, 3, 1),
  (56, 64, 128, 3, 2),
  (56, 64, 128, 1, 2),
  (224, 3, 64, 7, 2),
)
_TINY_CASES = ((8, 4, 8, 3, 1), (8, 4, 8, 3, 2))


def rows(given: Setup) -> Iterator[Row]:
  """A row for each convolution and kind of arithmetic."""
  for arithmetic in ("default", "bfloat16"):
    for case in _TINY_CASES if given.tiny else _CASES:
      height, channels, filters, size, stride = case
      name = f"{size}x{size}s{stride}-{arithmetic}"
      settings = {
        "images": [given.batch, height, height, channels],
        "filters": filters,
        "kernel": size,
        "stride": stride,
        "arithmetic": arithmetic,
        "repeats": given.repeats,
      }
      measure = functools.partial(_measure, given, case, arithmetic)
      yield Row("c", name, settings, measure)


def _measure(
  given: Setup, case: tuple[int, int, int, int, int], arithmetic: str
) -> dict[str, Any]:
  """The output, the images' gradient by hand and by XLA, the kernel's."""
  height, channels, filters, size, stride = case
  dtype = ARITHMETIC[arithmetic]["model.dtype"]
  rng = np.random.default_rng(0)
  shape = (given.batch, height, height, channels)
  images = jnp.asarray(rng.normal(size=shape), dtype)
  kernel = jnp.asarray(rng.normal(size=(size, size, channels, filters)), dtype)
  around = (size // 2, size // 2)
  form = convolution._Form((stride, stride), (around, around), 1, "default")
  output = jax.jit(functools.partial(convolution._of_form, form=form))
  gradients = {
    "images, XLA": convolution._image_gradient_of_lax,
    "images, by hand": convolution._image_gradient,
    "kernel": convolution._kernel_gradient_of_lax,
  }
  each = {"output": timing.compiled(output, images, kernel)}
  arrays = (images, kernel, each["output"][0]())
  for name, function in gradients.items():
    gradient = functools.partial(function, form=form)
    each[name] = timing.compiled(jax.jit(gradient), *arrays)
  programs = {name: program for name, (program, _) in each.items()}
  theirs, ours = (
    np.asarray(programs[f"images, {whose}"](), np.float32)
    for whose in ("XLA", "by hand")
  )
  found: dict[str, Any] = timing.take_turns(programs, repeats=given.repeats)
  for name, (_, seconds) in each.items():
    found[name]["compile_seconds"] = seconds
  difference = np.abs(theirs - ours).max() / np.abs(theirs).max()
  return {"programs": found, "largest_difference": float(difference)}
