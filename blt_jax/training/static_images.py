"""Images hallucinated once, for static_targeted and static_random (Fig. 5c)."""

import contextlib
import dataclasses
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.method.hallucinate import Sources
from blt_jax.method.rng import Stream
from blt_jax.method.train_step import TrainState
from blt_jax.system import console, processes
from blt_jax.training import devices, offline
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import Stage
from blt_jax.workdir import files

FILE = "static_images.npz"


@dataclasses.dataclass(frozen=True)
class Pool:
  """One hallucinated image for each training image of the tail.

  Attributes:
    images: float32 [m, h, w, 3], perturbed and normalised.
    usable: bool [m], False where the image's class was never confused.
    members: int64 [m], rising; the training images that they were made from.
    labels: int32 [m], their classes.
  """

  images: np.ndarray
  usable: np.ndarray
  members: np.ndarray
  labels: np.ndarray

  def fill(self, sources: np.ndarray, used: np.ndarray) -> Sources:
    """The slots of a step.

    Args:
      sources: int64 [H], training images from the plan.
      used: bool [H], which of them are to be hallucinated.

    Returns:
      H slots, their images float32 [H, h, w, 3].
    """
    rows = np.searchsorted(self.members, np.where(used, sources, 0))
    rows = np.where(used, rows, 0)
    return Sources(
      self.images[rows], self.labels[rows], used & self.usable[rows]
    )


def load_or_make(
  path: pathlib.Path,
  feeder: Feeder,
  end_of_stage1: Callable[[], TrainState],
  stage: Stage,
) -> Pool:
  """The pool of a run: from its file, or made and written."""
  pool = _load(path)
  # All processes make the pool when one of them could not read it, because
  # making it is a computation of all of them.
  missing = processes.total(int(pool is None)) > 0
  if pool is None or missing:
    pool = _make(feeder, end_of_stage1(), stage)
    if processes.is_first():
      files.write_npz(path, vars(pool), compress=False)
    console.say(f"hallucinated {int(pool.usable.sum())} static images")
  return pool


def check_memory(
  config: Config,
  stages: Sequence[Stage],
  class_counts: np.ndarray,
) -> None:
  """Refuses static images that do not fit into memory.

  Raises:
    ValueError: names the memory that they take, and what is free.
  """
  if not config.perturb.static:
    return
  size = config.dataset.image_size
  for stage in stages:
    count = int(class_counts[stage.tail].sum()) if stage.capacity else 0
    needed, free = count * _image_bytes(size), _free_memory()
    if needed > free:
      raise ValueError(
        f"config.perturb.static is True, for which {count} images of {size} x "
        f"{size} pixels lie in memory: they take {needed / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB are free; expected a smaller "
        "config.dataset.image_size, or fewer images in the tail."
      )


def _image_bytes(size: int) -> int:
  return size * size * 3 * np.dtype(np.float32).itemsize


def _free_memory() -> int:
  """Bytes of memory that are free; all of the machine's where unknown."""
  with contextlib.suppress(OSError), open("/proc/meminfo") as file:
    for line in file:
      name, _, value = line.partition(":")
      if name == "MemAvailable":
        return int(value.split()[0]) * 1024
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _load(path: pathlib.Path) -> Pool | None:
  """The pool in a file; None when there is no file or it is damaged."""
  try:
    with np.load(path, allow_pickle=False) as content:
      return Pool(**content)
  except FileNotFoundError:
    return None
  # What NumPy and zipfile raise for damage, and Pool for other arrays.
  except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError):
    console.say(f"{path} is damaged; its images are hallucinated again")
    return None


def _make(feeder: Feeder, state: TrainState, stage: Stage) -> Pool:
  """Hallucinates one image from each training image of the tail."""
  labels = feeder.dataset.train.labels
  members = np.flatnonzero(stage.tail[labels])
  step = _static_step(feeder.config)
  size = feeder.config.dataset.image_size
  images = np.empty((len(members), size, size, 3), np.float32)
  usable = np.empty(len(members), bool)
  first = 0
  for batch in feeder.sources(members, batch_size=stage.batch_size):
    made, weights = jax.device_get(step(state, batch))
    rows = slice(first, first + len(made))
    # The last batch is longer than what is left of the images.
    images[rows] = made[: len(members) - first]
    usable[rows] = weights[: len(members) - first] > 0
    first += len(made)
  return Pool(images, usable, members, labels[members])


def _static_step(config: Config) -> Callable:
  """(state, (numbers, sources)) -> (images, weights) of all devices."""
  make = offline.build_offline_hallucinate(config, stream=Stream.STATIC_IMAGES)

  def step(state: TrainState, batch: tuple[np.ndarray, Sources]):
    made = make(state, batch)
    kept = (made.images, made.weight)
    return jax.lax.all_gather(kept, devices.AXIS, tiled=True)

  return devices.over_devices(step, config)
