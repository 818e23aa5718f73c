"""Mapping steps over the devices of a run, and putting arrays on them."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.method.train_step import Batch, Sources

AXIS = "batch"
_Item = TypeVar("_Item")


def over_devices(step: Callable, config: Config, **options: Any) -> Callable:
  """Maps step(state, batch) over the devices; the state has no device axis.

  Its convolutions and matrix products have `model.precision`, those of its
  gradients included.
  """

  def precise(*arguments: Any) -> Any:
    with jax.default_matmul_precision(config.model.precision):
      return step(*arguments)

  # Profiles show it; a partial function has none of its own.
  precise.__name__ = getattr(getattr(step, "func", step), "__name__", "step")
  return jax.pmap(
    precise,
    axis_name=AXIS,
    in_axes=(None, 0),
    devices=devices_of(config),
    **{"out_axes": None, **options},
  )


def deal(batch: Any, devices: int) -> Any:
  """Gives each device its share of a batch, on a leading axis.

  Images go to the devices in blocks. Slots are dealt in turn
  (`rng.slot_numbers`), because the used ones come first.

  Args:
    batch: Batch, EvalBatch or Sources, or arrays of images in any tree; the
      leading axis of each array is a multiple of `devices` long.
    devices: number of devices.
  """
  if isinstance(batch, Sources):
    return jax.tree.map(
      lambda array: array.reshape((-1, devices, *array.shape[1:])).swapaxes(
        0, 1
      ),
      batch,
    )
  if isinstance(batch, Batch) and batch.sources is not None:
    dealt = deal(batch._replace(sources=None), devices)
    return dealt._replace(sources=deal(batch.sources, devices))
  return jax.tree.map(
    lambda array: array.reshape((devices, -1, *array.shape[1:])), batch
  )


def put(batch: Any, config: Config) -> Any:
  """Puts what `deal` gave on the devices of this process; does not wait."""
  return jax.device_put(batch, _sharding(config, AXIS))


def ahead(
  batches: Iterable[_Item], put_fn: Callable[[_Item], _Item]
) -> Generator[_Item]:
  """Passes batches on; calls `put_fn` for each one batch ahead.

  So the images of a step are on their way while the step before it runs. There
  is room for one batch more on the devices, and none behind the last is read.
  """
  held: list[_Item] = []
  for batch in batches:
    held.append(put_fn(batch))
    if len(held) > 1:
      yield held.pop(0)
  yield from held


def place(tree: Any, config: Config) -> Any:
  """Puts whole arrays on every device, as the steps leave their results.

  Each process puts them on its own devices; the values are the same in all
  processes. A step would compile anew for arguments that lie elsewhere.
  """
  return jax.device_put(tree, _sharding(config))


def _sharding(config: Config, *axes: str) -> jax.sharding.NamedSharding:
  """Over the devices of this process: one row each for AXIS, else the whole."""
  mesh = jax.sharding.Mesh(np.array(local_devices_of(config)), (AXIS,))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def devices_of(config: Config) -> list[jax.Device]:
  """The devices that a run uses, over all processes.

  Raises:
    ValueError: when the configuration asks for more than there are.
  """
  devices = jax.devices()
  wanted = config.num_devices or len(devices)
  if wanted > len(devices):
    raise ValueError(
      f"config.num_devices is {wanted}; expected at most the {len(devices)} "
      "devices of this machine, or 0 for all of them."
    )
  if wanted < len(devices) and jax.process_count() > 1:
    raise ValueError(
      f"config.num_devices is {wanted}; expected 0 for all {len(devices)} "
      f"devices of the {jax.process_count()} processes."
    )
  return devices[:wanted]


def local_devices_of(config: Config) -> list[jax.Device]:
  """The devices that a run uses in this process."""
  return [
    device
    for device in devices_of(config)
    if device.process_index == jax.process_index()
  ]


def on_cpu(config: Config) -> bool:
  """Whether a run computes on CPUs."""
  return devices_of(config)[0].platform == "cpu"
