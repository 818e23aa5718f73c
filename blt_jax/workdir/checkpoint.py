"""Checkpoints of a run: the latest two, the best, and the end of stage 1.

Orbax behind a small interface. A checkpoint holds named trees of arrays and, as
JSON, where the run stands (`Progress`), written together or not at all. Orbax
gives flipped bits back as they are and prints pages about damaged files, so the
checksums of all files are compared before it reads them.
"""

import dataclasses
import logging
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from blt_jax.system import console, processes
from blt_jax.workdir import files
from blt_jax.workdir.progress import EpochRow, Progress, best_first
from blt_jax.workdir.records import Confusion

# Named trees of arrays: what `TrainState.arrays` gives. "step" is one of them.
Arrays = Mapping[str, Any]

# Where the checkpoints are in a work directory.
FOLDER = "checkpoints"

# Beside the folder of finished epochs: checkpoints from within an epoch.
_MIDWAY = "midway"

# The array that is stored as its non-zero entries: with thousands of classes
# the whole matrix would be most of a checkpoint.
_SPARSE = "confusion"


class _Found(NamedTuple):
  """A checkpoint; of two at one step, that of the epoch's end is newer."""

  step: int
  ends_epoch: bool
  manager: ocp.CheckpointManager

  @property
  def path(self) -> pathlib.Path:
    return pathlib.Path(self.manager.directory) / str(self.step)


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
    # Either this module says what Orbax warns of in better words, or it is no
    # trouble.
    logging.getLogger("absl").addFilter(_no_warning_of_orbax)
    self._keep_steps = keep_steps
    self._read_only = read_only
    self._folder = folder.absolute()
    self._midway_folder = self._folder.parent / _MIDWAY
    self._epochs = self._open(self._folder)
    self._midway: ocp.CheckpointManager | None = None
    if not read_only and self._midway_folder.exists():
      self._midway = self._open(self._midway_folder)

  def _open(self, folder: pathlib.Path) -> ocp.CheckpointManager:
    if folder.exists() and not folder.is_dir():
      raise ValueError(
        f"{folder} is a file; expected the checkpoints of a run. Choose "
        "another --workdir, or remove the file."
      )
    return ocp.CheckpointManager(
      folder,
      item_names=("state", "progress"),
      options=ocp.CheckpointManagerOptions(
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
    return max((found.step for found in self._newest_first()), default=None)

  def save(self, arrays: Arrays, progress: Progress) -> None:
    """Writes the checkpoint of a finished epoch, which is there on return.

    The two latest, the best and `keep_steps` stay, and none from within an
    epoch.

    Raises:
      OSError: when it can't be written; those before it are intact.
    """
    self._write(self._epochs, arrays, progress)
    self.remove_old(progress, step=int(arrays["step"]))

  def remove_old(self, progress: Progress, *, step: int) -> None:
    """Removes the checkpoints that the newest one makes superfluous.

    A run calls this at its start as well, because its last call may have been
    cut off.
    """
    if progress.midway is not None:
      return
    older = sorted(s for s in self._epochs.all_steps() if s < step)
    best = [] if progress.best is None else [progress.best.step]
    kept = {*older[-1:], *best, *self._keep_steps}
    _delete(self._epochs, [s for s in older if s not in kept])
    if self._midway and max(self._midway.all_steps(), default=0) <= step:
      self._midway.close()
      self._midway = None
      if processes.is_first():
        shutil.rmtree(self._midway_folder, ignore_errors=True)

  def save_midway(self, arrays: Arrays, progress: Progress) -> None:
    """Writes a checkpoint from within an epoch; the one before it stays.

    Raises:
      OSError: when it can't be written; those before it are intact.
    """
    if self._midway is None:
      self._midway = self._open(self._midway_folder)
    self._write(self._midway, arrays, progress)
    _delete(self._midway, sorted(self._midway.all_steps())[:-2])

  def restore(
    self, template: Arrays, *, step: int | None = None
  ) -> tuple[dict[str, Any], Progress]:
    """Reads a checkpoint.

    Args:
      template: arrays, or their shapes and types (`jax.ShapeDtypeStruct`).
      step: of the end of an epoch; by default the newest of all that are
        sound. Damaged ones are reported and passed over.

    Returns:
      (arrays like the template's, in host memory; progress).

    Raises:
      FileNotFoundError: when there is no sound checkpoint (of that step).
      ValueError: when it is of another network.
    """
    for found in self._newest_first():
      if step is not None and (found.step != step or not found.ends_epoch):
        continue
      try:
        files.check_checksums(found.path)
      except (OSError, ValueError) as error:
        console.say(
          f"checkpoint {found.path} is damaged, passed over: {_short(error)}"
        )
        continue
      return _read(found, template)
    wanted = "" if step is None else f"of step {step} "
    raise FileNotFoundError(
      f"no readable checkpoint {wanted}in {self._folder}; expected one. Begin "
      "anew with another --workdir, or bring back a copy of the checkpoints."
    )

  def restore_best(
    self, template: Arrays, progress: Progress
  ) -> tuple[dict[str, Any], EpochRow]:
    """The best epoch of the stage whose checkpoint is sound.

    Raises:
      FileNotFoundError: when no epoch of the stage has a sound checkpoint.
    """
    there = set(self._epochs.all_steps())
    damaged = False
    for row in best_first(progress.rows):
      if row.step not in there:
        continue
      try:
        arrays, _ = self.restore(template, step=row.step)
      except FileNotFoundError:
        damaged = True
        continue
      if damaged:
        console.say(f"stage {row.stage} epoch {row.epoch} takes its place")
      return arrays, row
    raise FileNotFoundError(
      f"no readable checkpoint of stage {progress.stage} in {self._folder}; "
      "expected one."
    )

  def _newest_first(self) -> list[_Found]:
    found = [_Found(s, True, self._epochs) for s in self._epochs.all_steps()]
    if self._midway:
      found += [
        _Found(s, False, self._midway) for s in self._midway.all_steps()
      ]
    return sorted(found, key=lambda one: one[:2], reverse=True)

  def _write(
    self, manager: ocp.CheckpointManager, arrays: Arrays, progress: Progress
  ) -> None:
    """Writes a checkpoint, in place of a damaged one of the same step."""
    step, folder = int(arrays["step"]), pathlib.Path(manager.directory)
    copied = jax.tree.map(_host_copy, dict(arrays))
    copied[_SPARSE] = _packed(copied[_SPARSE])
    try:
      if not folder.exists():
        raise FileNotFoundError("the folder has vanished")
      _delete(manager, [s for s in manager.all_steps() if s == step])
      saved = manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(copied),
          progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
        ),
        force=True,
      )
      if not saved:
        raise RuntimeError("Orbax did not take it")
      if processes.is_first():
        files.write_checksums(folder / str(step))
      processes.barrier(f"checkpoint of step {step}")
    # Orbax raises errors of many types.
    except Exception as error:
      reason = _lack_of_room(folder, copied) or _short(error)
      raise OSError(
        f"checkpoint {folder / str(step)} can't be written: {reason}. "
        "Those before it are intact: with the trouble mended, the same command "
        "goes on from the last one."
      ) from error


def read_epoch(
  workdir: pathlib.Path, template: Arrays, *, checkpoint: str
) -> tuple[dict[str, Any], EpochRow]:
  """The arrays of a run's best or last epoch.

  Args:
    workdir: of the run; nothing is written there.
    template: see `Checkpoints.restore`.
    checkpoint: "best" (by validation) or "last". If it is damaged, the next
      best or the one before it takes its place, and a line says so.

  Returns:
    (arrays, the epoch's row).

  Raises:
    ValueError: when the directory has no checkpoint, or those of another
      network.
    FileNotFoundError: when none of its checkpoints can be read.
  """
  with Checkpoints(workdir / FOLDER, read_only=True) as checkpoints:
    if checkpoints.latest_step() is None:
      raise ValueError(
        f"--workdir={workdir} holds no checkpoint yet; expected a run with a "
        "finished epoch."
      )
    arrays, progress = checkpoints.restore(template)
    last = progress.rows[-1]
    if checkpoint == "last" or progress.best == last:
      return arrays, last
    return checkpoints.restore_best(template, progress)


def _delete(manager: ocp.CheckpointManager, steps: Iterable[int]) -> None:
  for step in steps:
    manager.delete(step)


def _no_warning_of_orbax(record: logging.LogRecord) -> bool:
  return record.levelno > logging.WARNING or "orbax" not in record.pathname


def _lack_of_room(folder: pathlib.Path, arrays: Any) -> str:
  """A clause that says so if a disk has no room for arrays, or "".

  Orbax's own message hides this in a page of text.
  """
  needed = sum(array.nbytes for array in jax.tree.leaves(arrays))
  free = shutil.disk_usage(folder).free if folder.exists() else needed
  if free >= needed:
    return ""
  return (
    f"the disk is full, {free / 1e6:.1f} MB are free of the "
    f"{needed / 1e6:.1f} MB that it needs"
  )


def _read(found: _Found, template: Arrays) -> tuple[dict[str, Any], Progress]:
  """The arrays and the progress of a checkpoint whose files are sound.

  Raises:
    ValueError: when it is of another network.
  """
  wanted = {**template, _SPARSE: np.empty((1, 3), np.int32)}
  try:
    restored = found.manager.restore(
      found.step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(jax.tree.map(_placeholder, wanted)),
        progress=ocp.args.JsonRestore(),
      ),
    )
  # Orbax raises errors of many types where the trees differ.
  except Exception as error:
    raise ValueError(
      f"checkpoint {found.path} is of another network: {_short(error)}"
    ) from error
  arrays = dict(restored["state"])
  arrays[_SPARSE] = _unpacked(arrays[_SPARSE])
  for (key, ours), theirs in zip(
    jax.tree_util.tree_leaves_with_path(dict(template)),
    jax.tree.leaves(arrays),
    strict=True,
  ):
    if np.shape(ours) != np.shape(theirs):  # Orbax would not mind.
      raise ValueError(
        f"checkpoint {found.path} is of another network or other classes: "
        f"{jax.tree_util.keystr(key, simple=True, separator='/')} is "
        f"{np.shape(theirs)} there, {np.shape(ours)} here."
      )
  return arrays, Progress.from_json(restored["progress"])


def _packed(matrix: np.ndarray) -> np.ndarray:
  """The entries of a confusion matrix [C, C] that are not 0: int32 [k + 1, 3].

  (true, predicted, count) of each; the first row is (C, C, 0), as Orbax takes
  no empty array.
  """
  entries = Confusion.of(matrix)
  rows = np.stack([entries.true, entries.predicted, entries.count], axis=1)
  size = np.array([[entries.num_classes, entries.num_classes, 0]], np.int32)
  return np.concatenate([size, rows])


def _unpacked(rows: np.ndarray) -> np.ndarray:
  """The confusion matrix of `_packed`: int32 [C, C]."""
  true, predicted, count = rows[1:].T
  matrix = Confusion(true, predicted, count, int(rows[0, 0])).matrix()
  return matrix.astype(np.int32)


def _placeholder(array: Any) -> np.ndarray:
  """An array that takes no memory and tells Orbax to return NumPy's."""
  return np.broadcast_to(np.empty((), array.dtype), np.shape(array))


def _host_copy(array: jax.Array) -> np.ndarray:
  """A copy in host memory, so that the device's buffer can be donated."""
  return np.array(jax.device_get(array))


def _short(error: Exception) -> str:
  """An error in one line; Orbax's are pages."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else text[:200] + " ..."
