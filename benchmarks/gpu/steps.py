"""Parts a, e, h: plain and BLT steps of networks and on several devices."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import step_time
from benchmarks.gpu import machine
from benchmarks.gpu.rows import LeftOutError, Row
from benchmarks.gpu.setup import Setup
from blt_jax.config import Config
from blt_jax.training import build

# In the order of importance: they may not all fit into the time.
NETWORKS = (
  "resnet50",
  "vit_base_patch16_224",
  "resnet34",
  "efficientnet_b0",
  "densenet121",
  "resnet152",
)
_TINY_NETWORKS = ("vit_tiny_patch16_224",)

# Only adapters and classifier are trained; the weights do not matter here.
_ADAPTERS: dict[str, Any] = {
  "model.train": "adapters",
  "model.pretrained": "weights.safetensors",
  "model.hidden": 0,
  "model.classifier": "linear",
}
_FEWEST = 16  # Images of a batch, where larger ones do not fit into memory.


def main_rows(given: Setup) -> Iterator[Row]:
  """Part a: the paper's main run in three kinds of arithmetic."""
  names = ("default", "bfloat16", "highest")[: 2 if given.tiny else None]
  for number, arithmetic in enumerate(names):
    kinds = ("plain",) if given.tiny and number else step_time.NAMES
    yield _row(given, "a", arithmetic, kinds=kinds)
  for arithmetic in names[: 1 if given.tiny else None]:
    yield _row(given, "a", arithmetic, kinds=("plain",), bare=True)


def network_rows(given: Setup) -> Iterator[Row]:
  """Part e: other networks, without augmentation."""
  names = _TINY_NETWORKS if given.tiny else NETWORKS
  for arithmetic in ("bfloat16",) if given.tiny else ("bfloat16", "default"):
    for backbone in names:
      yield _row(given, "e", arithmetic, backbone=backbone, bare=True)


def device_rows(given: Setup) -> Iterator[Row]:
  """Part h: 1, 2, 4, ... devices, as many images on each."""
  count = jax.device_count()
  if count == 1:
    raise LeftOutError("there is one device; expected two or more.")
  devices = 1
  while devices <= count and not (given.tiny and devices > 2):
    yield _row(given, "h", "default", devices=devices)
    devices *= 2


def _row(
  given: Setup,
  part: str,
  arithmetic: str,
  *,
  backbone: str = "",
  kinds: tuple[str, ...] = ("plain", "BLT"),
  devices: int = 1,
  bare: bool = False,
) -> Row:
  settings: dict[str, Any] = {
    "backbone": backbone or given.backbone,
    "arithmetic": arithmetic,
    "kinds": list(kinds),
    "devices": devices,
    "bare": bare,
    "batch": given.batch,
    "image_size": given.size,
    "repeats": given.repeats,
  }
  name = "-".join(
    [settings["backbone"], arithmetic]
    + ["bare"] * (part == "a" and bare)
    + [f"{devices}devices"] * (part == "h")
  )
  make = functools.partial(
    given.config,
    arithmetic,
    backbone=backbone,
    devices=devices,
    bare=bare,
    **(_ADAPTERS if backbone.startswith("vit") else {}),
  )
  measure = functools.partial(
    _measure, given, make, arithmetic=arithmetic, kinds=kinds
  )
  return Row(part, name, settings, measure)


def _measure(
  given: Setup, make: Any, *, arithmetic: str, kinds: tuple[str, ...]
) -> dict[str, Any]:
  """Times the steps; of a batch that does not fit into memory, half of it."""
  batch = given.batch
  while True:
    config = make(batch=batch)
    try:
      found = step_time.measure(
        given.run(config), None, steps=given.repeats, most=2, kinds=kinds
      )
      break
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error) or batch <= _FEWEST:
        raise
      print(f"{batch} images do not fit into memory", flush=True)
      batch //= 2
  found |= {"batch": batch, "arithmetic": arithmetic}
  return found | _rates(config, found, arithmetic)


def _rates(
  config: Config, found: dict[str, Any], arithmetic: str
) -> dict[str, Any]:
  """Images a second, arithmetic and its share of the card's peak.

  With a frozen backbone, an image of a batch costs two forward passes, not
  three: there is no gradient of its weights.
  """
  training = 3 if config.model.train == "all" else 2
  forward, images = forward_flops(config), found["batch"]
  peak = machine.peak(found["device"], arithmetic)
  flops, rates = {"plain": training * images * forward}, dict[str, Any]()
  if "ratio" in found:
    limit = step_time.limit(
      found["hallucinated"] / found["devices"],
      found["updates"],
      images,
      training=training,
    )
    flops["BLT"] = limit * flops["plain"]
    rates |= {"limit": limit, "ratio_over_limit": found["ratio"] / limit}
  for name, needed in flops.items():
    rate = needed / found[name]["seconds"]
    rates[f"{name}_flops_per_second"] = rate
    rates[f"{name}_share_of_peak"] = rate / peak if peak else None
  all_images = images * found["devices"]
  rates["images_per_second"] = all_images / found["plain"]["seconds"]
  return rates | {"forward_flops": forward}


@functools.cache
def forward_flops(config: Config) -> float:
  """FLOPs that one more image adds to a forward pass, before XLA's work.

  They are counted in a program for the processor: JAX counts none in programs
  that are not compiled yet for a GPU, and those of compiled ones lack what
  cuDNN computes.
  """
  model, size = build.build_model(config, 1000), config.dataset.image_size
  key = jax.random.key(0)

  def flops(count: int) -> float:
    images = jax.ShapeDtypeStruct((count, size, size, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    apply = functools.partial(model.apply, train=False)
    shapes = jax.eval_shape(init, key, images)
    with jax.default_device(jax.devices("cpu")[0]):
      costs: Any = jax.jit(apply).lower(shapes, images).cost_analysis()
    return float(costs["flops"])

  return flops(2) - flops(1)
