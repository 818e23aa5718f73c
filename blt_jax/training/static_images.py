"""Images hallucinated once, for static_targeted and static_random (Fig. 5c)."""

import dataclasses
import functools
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import jax
import numpy as np

from blt_jax.data import sampling
from blt_jax.method.train_step import Batch, Hallucinations, TrainState
from blt_jax.system import console, processes
from blt_jax.training import build, devices
from blt_jax.training.feeder import Feeder, HostBatch
from blt_jax.training.stages import Stage

FILE = "static_images.npz"

# Folded into the run's key, where training folds in the number of a step.
_NO_STEP = 2**31


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

  def fill(self, sources: np.ndarray, used: np.ndarray) -> HostBatch:
    """The slots of a step.

    Args:
      sources: int64 [H], training images from the plan.
      used: bool [H], which of them are to be hallucinated.

    Returns:
      "source_image" float32, "source_label", "source_used" of H slots.
    """
    rows = np.searchsorted(self.members, np.where(used, sources, 0))
    rows = np.where(used, rows, 0)
    return {
      "source_image": self.images[rows],
      "source_label": self.labels[rows],
      "source_used": used & self.usable[rows],
    }


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
      temporary = path.with_name(path.name + ".tmp.npz")
      np.savez(temporary, **dataclasses.asdict(pool))
      os.replace(temporary, path)
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
  plan = _plan(members, stage.batch_size, seed=feeder.config.seed)
  step = _static_step(feeder.config)
  parts: list[Hallucinations] = []
  for batch in feeder.sources(plan):
    first = len(parts) * stage.batch_size
    batch["number"] = feeder.numbers(first, stage.batch_size)
    parts.append(jax.device_get(step(state, batch)))
  return Pool(
    images=np.concatenate([part.images for part in parts])[: len(members)],
    usable=np.concatenate([part.weight for part in parts])[: len(members)] > 0,
    members=members,
    labels=labels[members],
  )


def _plan(
  members: np.ndarray, batch_size: int, *, seed: int
) -> sampling.EpochPlan:
  """All members once, in order, the last batch filled up with the first."""
  steps = -(-len(members) // batch_size)
  indices = np.resize(members, (steps, batch_size))
  none = indices[:, :0]
  return sampling.EpochPlan(
    indices=indices,
    sources=none,
    used=none.astype(bool),
    dropped=np.zeros(steps, np.int64),
    seed=seed,
    stage=2,
    epoch=0,
  )


def _static_step(config) -> Callable:
  """(state, batch with "number") -> Hallucinations of its images."""
  hallucinate_fn = build.build_hallucinate(config)

  def step(state: TrainState, batch: Batch):
    rngs = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
      jax.random.fold_in(state.rng, _NO_STEP), batch["number"]
    )
    sources = {
      "source_image": batch["image"],
      "source_label": batch["label"],
      "source_used": np.ones(batch["label"].shape, bool),
    }
    made = hallucinate_fn(rngs, state, sources)
    gather = functools.partial(
      jax.lax.all_gather, axis_name=devices.AXIS, tiled=True
    )
    return jax.tree.map(gather, made)

  return devices.over_devices(step, config)
