"""Checkpoints of a run: the latest two, the best, and the end of stage 1.

Orbax behind a small interface. A checkpoint holds the arrays of the TrainState
and, as JSON, where the run stands (`Progress`), written together or not at all,
with checksums of both: Orbax has none, and gives flipped bits back as they are.
"""

import dataclasses
import logging
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from blt_jax.method.train_step import TrainState
from blt_jax.system import console, processes
from blt_jax.workdir import checksums
from blt_jax.workdir.progress import EpochRow, Progress, best_first

# Where the checkpoints are in a work directory.
FOLDER = "checkpoints"

# Beside the folder of finished epochs: checkpoints from within an epoch.
_MIDWAY = "midway"

# What Orbax warns of is either said in better words here, or no trouble.
logging.getLogger("absl").addFilter(
  lambda record: (
    record.levelno > logging.WARNING or "orbax" not in record.pathname
  )
)

_ARRAYS = ("step", "params", "batch_stats", "opt_state", "confusion")


class Checkpoints:
  """The checkpoints of a work directory; use it in a `with` statement."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    keep_steps: tuple[int, ...] = (),
    read_only: bool = False,
  ):
    """Opens a folder of checkpoints.

    Args:
      folder: made when it does not exist, unless `read_only`.
      keep_steps: steps whose checkpoints are never removed.
      read_only: nothing is written, leftovers of killed saves are left alone,
        and checkpoints from within an epoch don't count.
    """
    self._keep_steps = keep_steps
    self._read_only = read_only
    self._folder = folder.absolute()
    self._midway_folder = self._folder.parent / _MIDWAY
    self._keep = _Keep()
    self._epochs = self._open(self._folder, self._keep)
    self._midway: ocp.CheckpointManager | None = None
    if not read_only and self._midway_folder.exists():
      self._midway = self._open(self._midway_folder, _Keep())

  def _open(self, folder: pathlib.Path, keep: "_Keep") -> ocp.CheckpointManager:
    if folder.exists() and not folder.is_dir():
      raise ValueError(
        f"{folder} is a file; expected the checkpoints of a run. Choose "
        "another --workdir, or remove the file."
      )
    return ocp.CheckpointManager(
      folder,
      item_names=("state", "progress"),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        create=not self._read_only,
        read_only=self._read_only,
        cleanup_tmp_directories=not self._read_only,
        enable_async_checkpointing=False,
      ),
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._epochs.close()
    if self._midway:
      self._midway.close()

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, None without any."""
    return max((step for step, _ in self._all()), default=None)

  def save(self, state: TrainState, progress: Progress) -> None:
    """Writes the checkpoint of a finished epoch, which is there on return.

    The two latest, the best and `keep_steps` stay, and none from within an
    epoch.

    Args:
      state: after the epoch.
      progress: where the run stands.

    Raises:
      OSError: when it can't be written; those before it are intact.
    """
    self._keep.steps = self._kept(int(state.step), progress)
    _write(self._epochs, state, progress)
    self._remove_midway()

  def tidy(self, state: TrainState, progress: Progress) -> None:
    """Ends a clean-up after `save` in which the program ended.

    Args:
      state: of the checkpoint that a run goes on from.
      progress: of it.
    """
    if progress.midway is not None:
      return
    step = int(state.step)
    kept = self._kept(step, progress)
    for other in self._epochs.all_steps():
      if other < step and other not in kept:
        self._epochs.delete(other)
    midway = self._midway.all_steps() if self._midway else []
    if max(midway, default=0) <= step:
      self._remove_midway()

  def _kept(self, step: int, progress: Progress) -> set[int]:
    """Steps whose checkpoints stay with a newest one."""
    before = [other for other in self._epochs.all_steps() if other < step]
    best = [] if progress.best is None else [progress.best.step]
    return {step, *sorted(before)[-1:], *best, *self._keep_steps}

  def _remove_midway(self) -> None:
    if self._midway:
      self._midway.close()
      self._midway = None
      if processes.is_first():
        shutil.rmtree(self._midway_folder, ignore_errors=True)

  def save_midway(self, state: TrainState, progress: Progress) -> None:
    """Writes a checkpoint from within an epoch; the one before it stays.

    Args:
      state: between two steps.
      progress: with `midway`.

    Raises:
      OSError: when it can't be written; those before it are intact.
    """
    if self._midway is None:
      self._midway = self._open(self._midway_folder, _Keep())
    _write(self._midway, state, progress)

  def restore(
    self, template: TrainState, *, step: int | None = None
  ) -> tuple[TrainState, Progress]:
    """Reads a checkpoint.

    Args:
      template: a state of the same shapes; its values are replaced.
      step: of the end of an epoch; by default the newest of all that are
        sound. Damaged ones are reported and passed over.

    Returns:
      (state, progress).

    Raises:
      FileNotFoundError: when there is no sound checkpoint (of that step).
      ValueError: when it is of another network.
    """
    found = self._all()
    if step is not None:
      found = [(s, m) for s, m in found if s == step and m is self._epochs]
    for candidate, manager in found:
      try:
        restored = _read(manager, candidate, template)
      # Orbax raises errors of many types for what is damaged or missing.
      except Exception as error:
        path = manager.directory / str(candidate)
        console.say(
          f"checkpoint {path} is damaged, passed over: {_short(error)}"
        )
        continue
      return _fill(template, restored, manager.directory / str(candidate))
    wanted = "" if step is None else f"of step {step} "
    raise FileNotFoundError(
      f"no readable checkpoint {wanted}in {self._folder}. Begin anew with "
      "another --workdir, or bring a copy of the checkpoints back."
    )

  def restore_best(
    self, template: TrainState, progress: Progress
  ) -> tuple[TrainState, EpochRow]:
    """The best epoch of the stage whose checkpoint is sound.

    Args:
      template: a state of the same shapes; its values are replaced.
      progress: of the run.

    Returns:
      (state, its row of metrics.csv).

    Raises:
      FileNotFoundError: when no epoch of the stage has a sound checkpoint.
    """
    there = set(self._epochs.all_steps())
    damaged = False
    for row in best_first(progress.rows):
      if row.step not in there:
        continue
      try:
        state, _ = self.restore(template, step=row.step)
      except FileNotFoundError:
        damaged = True
        continue
      if damaged:
        console.say(f"stage {row.stage} epoch {row.epoch} takes its place")
      return state, row
    raise FileNotFoundError(
      f"no readable checkpoint of stage {progress.stage} in {self._folder}."
    )

  def _all(self) -> list[tuple[int, ocp.CheckpointManager]]:
    """(step, where) of every checkpoint, the newest first.

    The end of an epoch is newer than its last step.
    """
    found = [(step, 1, self._epochs) for step in self._epochs.all_steps()]
    if self._midway:
      found += [(step, 0, self._midway) for step in self._midway.all_steps()]
    found.sort(key=lambda item: item[:2], reverse=True)
    return [(step, manager) for step, _, manager in found]


class _Keep:
  """Orbax's policy of what stays: certain steps, or else the latest two."""

  def __init__(self) -> None:
    self.steps: set[int] | None = None

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether each of the checkpoints stays."""
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    keep = set(sorted(steps)[-2:]) if self.steps is None else self.steps
    return [step in keep for step in steps]


def _write(
  manager: ocp.CheckpointManager, state: TrainState, progress: Progress
) -> None:
  """Writes a checkpoint in place of what may stand there, damaged."""
  step, folder = int(state.step), pathlib.Path(manager.directory)
  arrays = jax.tree.map(
    _host_copy, {name: getattr(state, name) for name in _ARRAYS}
  )
  content = dataclasses.asdict(progress)
  digests = {
    **checksums.of_arrays(arrays),
    "progress": checksums.of_json(content),
  }
  try:
    if not folder.exists():
      raise FileNotFoundError("the folder has vanished")
    if step in manager.all_steps():
      manager.delete(step)
    saved = manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        progress=ocp.args.JsonSave({**content, "digests": digests}),
      ),
      force=True,
    )
    if not saved:
      raise RuntimeError("Orbax did not take it")
  # Orbax raises errors of many types.
  except Exception as error:
    reason = _lack_of_room(folder, arrays) or _short(error)
    raise OSError(
      f"checkpoint {folder / str(step)} can't be written: {reason}. "
      "Those before it are intact: with the trouble mended, the same command "
      "goes on from the last one."
    ) from error


def _lack_of_room(folder: pathlib.Path, arrays: Any) -> str:
  """Says so if a disk has no room for arrays; Orbax hides it in a page."""
  needed = sum(array.nbytes for array in jax.tree.leaves(arrays))
  free = shutil.disk_usage(folder).free if folder.exists() else needed
  if free >= needed:
    return ""
  return (
    f"the disk is full, {free / 1e6:.1f} MB are free of the "
    f"{needed / 1e6:.1f} MB that it needs"
  )


def _read(
  manager: ocp.CheckpointManager, step: int, template: TrainState
) -> tuple[dict[str, Any], Progress]:
  """The arrays and the progress of a checkpoint.

  Raises:
    ValueError: when it is not what was written; or whatever Orbax raises.
  """
  _refuse_links(pathlib.Path(manager.directory) / str(step))
  arrays = {name: getattr(template, name) for name in _ARRAYS}
  restored = manager.restore(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardRestore(jax.tree.map(_host_copy, arrays)),
      progress=ocp.args.JsonRestore(),
    ),
  )
  content = dict(restored["progress"])
  digests = content.pop("digests")
  found = {
    **checksums.of_arrays(restored["state"]),
    "progress": checksums.of_json(content),
  }
  wrong = [name for name in found if found[name] != digests.get(name)]
  if wrong:
    raise ValueError(f"wrong checksum of {', '.join(wrong)}")
  return restored["state"], Progress.from_json(content)


def _fill(
  template: TrainState,
  restored: tuple[dict[str, Any], Progress],
  path: Any,
) -> tuple[TrainState, Progress]:
  """The template with what was read.

  Raises:
    ValueError: when an array is of another shape; Orbax would not mind.
  """
  arrays, progress = restored
  wanted = {name: getattr(template, name) for name in _ARRAYS}
  for (key, ours), theirs in zip(
    jax.tree_util.tree_leaves_with_path(wanted),
    jax.tree.leaves(arrays),
    strict=True,
  ):
    if np.shape(ours) != np.shape(theirs):
      raise ValueError(
        f"checkpoint {path} is of another network or other classes: "
        f"{jax.tree_util.keystr(key, simple=True, separator='/')} is "
        f"{np.shape(theirs)} there, {np.shape(ours)} here."
      )
  state = template.replace(**jax.tree.map(jax.numpy.asarray, arrays))
  return state, progress


def _refuse_links(folder: pathlib.Path) -> None:
  """A link could make us read what is not of this run."""
  for root, folders, files in os.walk(folder):
    for name in (*folders, *files):
      if os.path.islink(os.path.join(root, name)):
        raise ValueError(f"{name} is a symbolic link")


def _host_copy(array: jax.Array) -> np.ndarray:
  """A copy in host memory, so that the device's buffer can be donated."""
  return np.array(jax.device_get(array))


def _short(error: Exception) -> str:
  """An error in one line; Orbax's are pages."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else text[:200] + " ..."
