"""A folder of checkpoints, a folder a step, that Orbax writes and reads.

Orbax gives flipped bits back as they are and prints pages about damaged files,
so the checksums of all files are compared before it reads them. They are
written last, when the new checkpoint has been read back: without them it does
not count.
"""

import dataclasses
import errno
import json
import logging
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from blt_jax.system import processes
from blt_jax.workdir import files
from blt_jax.workdir.progress import Progress
from blt_jax.workdir.records import Confusion

# The array that is stored as its non-zero entries: with thousands of classes
# the whole matrix would be most of a checkpoint.
_SPARSE = "confusion"

# Troubles that a user can mend, in the words of the system, which Orbax hides
# in a page of text.
_TROUBLES = (
  *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
  *(errno.EACCES, errno.EPERM, errno.ESTALE, errno.EIO),
)


class Store:
  """Checkpoints by their steps.

  Attributes:
    folder: where they are.
  """

  def __init__(self, folder: pathlib.Path, *, read_only: bool):
    """Opens a folder; made when it does not exist, unless `read_only`."""
    # This module says in a line what Orbax says in pages, or it is no trouble.
    logging.getLogger("absl").addFilter(_not_of_orbax)
    self.folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
      raise ValueError(
        f"{folder} is a file; expected the checkpoints of a run. Choose "
        "another --workdir, or remove the file."
      )
    if not read_only:
      folder.mkdir(parents=True, exist_ok=True)
    self._alias = None
    if not files.is_plain(self.folder):
      from blt_jax.workdir.alias import Alias  # Few paths need one.

      self._alias = Alias(self.folder)
    self._known_as = self._alias.path if self._alias else self.folder
    self._manager = ocp.CheckpointManager(
      self._known_as,
      item_names=("state", "progress"),
      options=ocp.CheckpointManagerOptions(
        create=not read_only,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
        enable_async_checkpointing=False,
      ),
    )

  def close(self) -> None:
    """Closes it."""
    self._manager.close()
    if self._alias:
      self._alias.remove()

  def steps(self) -> list[int]:
    """Steps of the checkpoints, damaged ones included, in order."""
    return sorted(self._manager.all_steps())

  def path(self, step: int) -> pathlib.Path:
    """The folder of a checkpoint."""
    return self.folder / str(step)

  def is_whole(self, step: int) -> bool:
    """Whether the process that saved a checkpoint came to the end of it."""
    return (self.path(step) / files.CHECKSUMS).exists()

  def delete(self, step: int) -> None:
    """Removes a checkpoint."""
    self._manager.delete(step)

  def save(self, step: int, arrays: Any, progress: Progress) -> None:
    """Writes a checkpoint, in place of a damaged one, and reads it back.

    Args:
      step: its number.
      arrays: named trees of arrays.
      progress: where the run stands.

    Raises:
      OSError: when it can't be written, or not be read again.
    """
    copied = jax.tree.map(_host_copy, dict(arrays))
    copied[_SPARSE] = _packed(copied[_SPARSE])
    content = dataclasses.asdict(progress)
    try:
      self._write(step, copied, content)
      if processes.is_first():
        self._check_readable(step, copied, content)
        files.write_checksums(self.path(step))
      processes.barrier(f"checkpoint of step {step}")
    # Orbax raises errors of many types.
    except Exception as error:
      reason = _lack_of_room(self.folder, copied) or _trouble(error)
      raise OSError(
        f"checkpoint {self.path(step)} can't be written: {reason}. "
        "Those before it are intact: with the trouble mended, the same command "
        "goes on from the last one."
      ) from error

  def _write(self, step: int, arrays: Any, progress: Any) -> None:
    if not self.folder.exists():
      raise FileNotFoundError("the folder has vanished")
    if step in self.steps():
      self.delete(step)
    saved = self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        progress=ocp.args.JsonSave(progress),
      ),
      force=True,
    )
    if not saved:
      raise RuntimeError("Orbax did not take it")

  def _check_readable(self, step: int, arrays: Any, progress: Any) -> None:
    """Reads a checkpoint and compares it with what was to be written.

    Orbax itself does not notice, for instance, when it has left out the file
    that names the others.

    Raises:
      ValueError: it can't be read, or is not the same.
    """
    # Only the first process reads, so the manager, which waits for all of them,
    # can't do it.
    folder = self._known_as / str(step)
    try:
      state = ocp.StandardCheckpointHandler().restore(
        folder / "state",
        args=ocp.args.StandardRestore(jax.tree.map(_placeholder, arrays)),
      )
      rows = ocp.JsonCheckpointHandler().restore(folder / "progress")
    except Exception as error:
      raise ValueError(f"it can't be read back: {short(error)}") from error
    same = jax.tree.map(_same_bits, arrays, state)
    if not all(jax.tree.leaves(same)):
      raise ValueError("what is read back is not what was written")
    if json.dumps(rows) != json.dumps(progress):
      raise ValueError("the progress read back is not what was written")

  def read_progress(self, step: int) -> Progress:
    """The progress of a checkpoint whose files are sound."""
    args = ocp.args.Composite(progress=ocp.args.JsonRestore())
    restored = self._manager.restore(step, args=args)
    return Progress.from_json(restored["progress"])

  def read(self, step: int, template: Any) -> tuple[dict[str, Any], Progress]:
    """The arrays and the progress of a checkpoint whose files are sound.

    Raises:
      ValueError: when it is of another network.
    """
    wanted = {**template, _SPARSE: np.empty((1, 3), np.int32)}
    try:
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(jax.tree.map(_placeholder, wanted)),
          progress=ocp.args.JsonRestore(),
        ),
      )
    # Orbax raises errors of many types where the trees differ.
    except Exception as error:
      raise ValueError(
        f"checkpoint {self.path(step)} is of another network: {short(error)}"
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
          f"checkpoint {self.path(step)} is of another network or other "
          f"classes: {jax.tree_util.keystr(key, simple=True, separator='/')} "
          f"is {np.shape(theirs)} there, {np.shape(ours)} here."
        )
    return arrays, Progress.from_json(restored["progress"])


def short(error: Exception) -> str:
  """An error in one line; Orbax's are pages."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= 200 else text[:200] + " ..."


def _not_of_orbax(record: logging.LogRecord) -> bool:
  return "orbax" not in record.pathname


def _trouble(error: Exception) -> str:
  """The trouble that an error of Orbax's is about, or the error in a line."""
  for number in _TROUBLES:
    if os.strerror(number) in str(error):
      return os.strerror(number)
  return short(error)


def _lack_of_room(folder: pathlib.Path, arrays: Any) -> str:
  """A clause that says so if a disk has no room for arrays, or ""."""
  needed = sum(array.nbytes for array in jax.tree.leaves(arrays))
  free = shutil.disk_usage(folder).free if folder.exists() else needed
  if free >= needed:
    return ""
  return (
    f"the disk is full, {free / 1e6:.1f} MB are free of the "
    f"{needed / 1e6:.1f} MB that it needs"
  )


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


def _same_bits(first: np.ndarray, second: np.ndarray) -> bool:
  """Whether two arrays are the same, NaN being itself."""
  return (
    first.shape == second.shape
    and first.dtype == second.dtype
    and np.array_equal(first.ravel().view("u1"), second.ravel().view("u1"))
  )
