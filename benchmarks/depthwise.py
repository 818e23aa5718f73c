r"""How much faster depthwise convolutions are than XLA's own, on a CPU.

    .venv/bin/python -m benchmarks.depthwise
    .venv/bin/python -m benchmarks.depthwise --step=convnext_atto --size=64

First single convolutions of EfficientNet-Lite0 (96 pixels) and ConvNeXt: the
output, and its gradients with respect to images and kernel. Then a whole
training step of a network, with `lax.conv_general_dilated` for every depthwise
convolution and with models/depthwise.py; with PyTorch, too, where timm can be
imported (channels_last, as many threads as JAX has cores). Programs take turns.
Of each stand the shortest time that passed and the least that processors
worked, of which other programs on the machine take nothing.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax import lax

from blt_jax.models import create_model, depthwise

# Images, their height and width, channels, kernel, stride.
CASES = (
  (16, 48, 96, 3, 2),
  (64, 24, 144, 3, 1),
  (64, 24, 144, 5, 2),
  (64, 6, 672, 5, 1),
  (64, 3, 1152, 5, 1),
  (1, 56, 96, 7, 1),
  (16, 14, 384, 7, 1),
)

Times = dict[str, tuple[float, float]]


def define_flags() -> None:
  """Defines the flags; not on import, as other programs have some of them."""
  flags.DEFINE_integer("repeats", 10, "Runs of every program.")
  flags.DEFINE_string(
    "step", "tf_efficientnet_lite0", "A network; '' for none."
  )
  flags.DEFINE_integer("size", 96, "Height and width of its images.")
  flags.DEFINE_integer("batch", 64, "Images of a step.")
  flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Of both.")


def main(_: list[str]) -> None:
  """Prints both tables."""
  given = flags.FLAGS
  dtype = jnp.dtype(given.dtype)
  print(
    f"jax {jax.__version__}, {os.cpu_count()} cores, {dtype}, "
    f"{time.strftime('%Y-%m-%d')}; ms: passed (worked)\n"
  )
  print("| convolution | of | lax | ours | gain |\n|---|---|---|---|---|")
  for case in CASES:
    for name, programs in operators(*case, dtype).items():
      print(_row(_describe(*case), name, measure(programs, given.repeats)))
  if given.step:
    programs = steps(given.step, given.size, given.batch, dtype)
    print(f"\nA training step of {given.step}, {given.batch} images of", end="")
    print(f" {given.size} pixels:")
    for name, (passed, worked) in measure(programs, given.repeats).items():
      print(f"  {name:8s} {1000 * passed:8.0f} ({1000 * worked:.0f})")


def measure(programs: dict[str, Callable[[], Any]], repeats: int) -> Times:
  """(shortest time, least work) of programs that take turns, in seconds."""
  found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
  for number, (name, program) in itertools.product(
    range(-1, repeats), programs.items()
  ):
    passed, worked = time.perf_counter(), time.process_time()
    program()
    if number >= 0:  # The first one may compile.
      found[name].append(
        (time.perf_counter() - passed, time.process_time() - worked)
      )
  return {
    name: tuple(np.min(each, axis=0).tolist()) for name, each in found.items()
  }


def operators(
  n: int, height: int, channels: int, size: int, stride: int, dtype: Any
) -> dict[str, dict[str, Callable[[], Any]]]:
  """Programs of lax and of ours, for the output and for each gradient."""
  rng = np.random.default_rng(0)
  shape = (n, height, height, channels)
  images = jnp.asarray(rng.normal(size=shape), dtype)
  kernel = jnp.asarray(rng.normal(size=(size, size, 1, channels)), dtype)
  strides, places = (stride, stride), (height, height)
  (low, high), _ = lax.padtype_to_pads(places, (size, size), strides, "SAME")
  padding = ((low, high), (low, high))

  def of_lax(images, kernel):
    return lax.conv_general_dilated(
      images,
      kernel,
      strides,
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=channels,
    )

  def of_ours(images, kernel):
    return depthwise.convolve(images, kernel, strides, padding)

  def lax_images(gradient, kernel):
    transposed = jax.linear_transpose(lambda x: of_lax(x, kernel), images)
    return transposed(gradient)

  def our_images(gradient, kernel):
    return depthwise.image_gradient(gradient, kernel, places, strides, padding)

  def lax_kernel(images, gradient):
    transposed = jax.linear_transpose(lambda k: of_lax(images, k), kernel)
    return transposed(gradient)

  def our_kernel(images, gradient):
    return depthwise.kernel_gradient(
      images, gradient, (size, size), strides, padding
    )

  gradient = of_ours(images, kernel)
  each = {
    "output": (of_lax, of_ours, (images, kernel)),
    "images": (lax_images, our_images, (gradient, kernel)),
    "kernel": (lax_kernel, our_kernel, (images, gradient)),
  }
  return {
    name: {"lax": _ready(theirs, *to), "ours": _ready(ours, *to)}
    for name, (theirs, ours, to) in each.items()
  }


def _ready(function: Callable, *arguments: Any) -> Callable[[], Any]:
  """Runs the compiled function and waits for it."""
  compiled = jax.jit(function).lower(*arguments).compile()
  return lambda: jax.block_until_ready(compiled(*arguments))


@contextlib.contextmanager
def _without_ours() -> Iterator[None]:
  """Programs that are traced within it have the convolutions of lax."""
  with mock.patch.object(depthwise, "applies", return_value=False):
    yield


def steps(
  backbone: str, size: int, batch: int, dtype: Any
) -> dict[str, Callable[[], Any]]:
  """A training step with the convolutions of lax, with ours, in PyTorch."""
  network = create_model(backbone, 10, classifier="linear", dtype=dtype)
  rng = np.random.default_rng(0)
  images = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
  labels, rngs = (
    np.arange(batch) % 10,
    jax.random.split(jax.random.key(1), batch),
  )
  variables = jax.jit(lambda key: network.init(key, images[:1], train=False))(
    jax.random.key(0)
  )
  tx = optax.sgd(0.01, momentum=0.9)

  def step(variables, opt_state, images):
    def loss_fn(params):
      logits, changed = network.apply(
        {**variables, "params": params},
        images,
        train=True,
        image_rngs=rngs,
        mutable=["batch_stats"],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean(), changed

    params = variables["params"]
    grads, changed = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return {**variables, **changed, "params": params}, opt_state

  arguments = (variables, tx.init(variables["params"]), images)
  with _without_ours():
    theirs = _ready(lambda *a: step(*a), *arguments)
  found = {"lax": theirs, "ours": _ready(step, *arguments)}
  with contextlib.suppress(ImportError):
    found["PyTorch"] = _pytorch_step(backbone, images, labels)
  return found


def _pytorch_step(
  backbone: str, images: np.ndarray, labels: np.ndarray
) -> Callable[[], None]:
  """The same in float32; raises ImportError without timm."""
  import timm
  import torch

  torch.set_num_threads(os.cpu_count() or 1)
  network = timm.create_model(backbone, num_classes=10)
  network = network.to(memory_format=torch.channels_last).train()
  # Channels lie last, as in images.
  x, y = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)
  optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

  def step() -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()

  return step


def _describe(
  n: int, height: int, channels: int, size: int, stride: int
) -> str:
  return f"{size} x {size} / {stride}, {n} x {height} x {height} x {channels}"


def _row(convolution: str, name: str, times: Times) -> str:
  cells = [
    f"{1000 * passed:.1f} ({1000 * worked:.1f})"
    for passed, worked in times.values()
  ]
  (_, theirs), (_, ours) = times.values()
  return (
    f"| {convolution} | {name} | "
    + " | ".join(cells)
    + (f" | {theirs / ours:.0f} |")
  )


if __name__ == "__main__":
  define_flags()
  app.run(main)
