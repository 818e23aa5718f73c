"""Images hallucinated once, for static_targeted and static_random (Fig. 5c)."""

import dataclasses
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import jax
import numpy as np

from blt_jax.method.hallucinate import Sources
from blt_jax.method.rng import Stream
from blt_jax.method.train_step import TrainState
from blt_jax.system import console, processes
from blt_jax.training import build, devices
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
  """The pool of a run: from its file, or made and written.

  Args:
    path: .npz file in the work directory.
    feeder: reads the images.
    end_of_stage1: gives network and confusion matrix at that time.
    stage: the stage that will use the pool.

  Returns:
    The same pool every time.
  """
  pool = _load(path)
  # Of one mind, whatever each of them could read.
  missing = processes.total(int(pool is None)) > 0
  if pool is None or missing:
    pool = _make(feeder, end_of_stage1(), stage)
    if processes.is_first():
      files.write_npz(path, vars(pool), compress=False)
    console.say(f"hallucinated {int(pool.usable.sum())} static images")
  return pool


def _load(path: pathlib.Path) -> Pool | None:
  """The pool of a file; None without one and, which is said, when damaged."""
  try:
    with np.load(path, allow_pickle=False) as content:
      return Pool(**content)
  except FileNotFoundError:
    return None
  # A zip archive's checksums; a name or array that is not of a pool.
  except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError):
    console.say(f"{path} is damaged, its images are hallucinated again")
    return None


def _make(feeder: Feeder, state: TrainState, stage: Stage) -> Pool:
  """Hallucinates one image from each training image of the tail."""
  labels = feeder.dataset.train.labels
  members = np.flatnonzero(stage.tail[labels])
  step = _static_step(feeder.config)
  parts = [
    jax.device_get(step(state, batch))
    for batch in feeder.sources(members, batch_size=stage.batch_size)
  ]
  images, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
  return Pool(
    images=images[: len(members)],
    usable=weights[: len(members)] > 0,
    members=members,
    labels=labels[members],
  )


def _static_step(config) -> Callable:
  """(state, (numbers, sources)) -> (images, weights) of all devices."""
  make = build.build_offline_hallucinate(config, stream=Stream.STATIC_IMAGES)

  def step(state: TrainState, batch: tuple[np.ndarray, Sources]):
    made = make(state, batch)
    kept = (made.images, made.weight)
    return jax.lax.all_gather(kept, devices.AXIS, tiled=True)

  return devices.over_devices(step, config)
