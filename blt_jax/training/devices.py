"""Mapping steps over the devices of a run, and putting arrays on them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.method.train_step import Batch, Sources

AXIS = "batch"


def over_devices(step: Callable, config: Config, **options: Any) -> Callable:
  """Maps step(state, batch) over the devices; the state has no device axis.

  Its convolutions and matrix products have `model.precision`, those of its
  gradients included.
  """

  def precise(*arguments: Any) -> Any:
    with jax.default_matmul_precision(config.model.precision):
      return step(*arguments)

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


def place(tree: Any, config: Config) -> Any:
  """Puts whole arrays on every device, as the steps leave their results.

  Each process puts them on its own devices; the values are the same in all
  processes. A step would compile anew for arguments that lie elsewhere.
  """
  mesh = jax.sharding.Mesh(np.array(local_devices_of(config)), (AXIS,))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.device_put(tree, everywhere)


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
