"""Checkpoints of a run: the latest two, the best, and the end of stage 1.

A checkpoint holds named trees of arrays and, as JSON, where the run stands
(`Progress`), written together or not at all.
"""

import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

from blt_jax.system import console, processes
from blt_jax.workdir import files
from blt_jax.workdir.orbax_store import Store, short
from blt_jax.workdir.progress import EpochRow, Progress, best_first

# Named trees of arrays: what `TrainState.arrays` gives. "step" is one of them.
Arrays = Mapping[str, Any]

# Where the checkpoints are in a work directory.
FOLDER = "checkpoints"

# Beside the folder of finished epochs: checkpoints from within an epoch.
_MIDWAY = "midway"


class _Found(NamedTuple):
  """A checkpoint; of two at one step, that of the epoch's end is newer."""

  step: int
  ends_epoch: bool
  store: Store

  @property
  def path(self) -> pathlib.Path:
    return self.store.path(self.step)


class Checkpoints:
  """The checkpoints of a work directory; use it in a `with` statement."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    read_only: bool = False,
  ):
    """Opens a folder of checkpoints.

    Args:
      folder: made when it does not exist, unless `read_only`.
      read_only: nothing is written, leftovers of killed saves are left alone,
        and checkpoints from within an epoch don't count.
    """
    self._folder = folder.absolute()
    self._midway_folder = self._folder.parent / _MIDWAY
    self._epochs = Store(self._folder, read_only=read_only)
    self._midway: Store | None = None
    if read_only:
      return
    if self._midway_folder.exists():
      self._midway = Store(self._midway_folder, read_only=False)
    self._remove_unfinished()

  def _remove_unfinished(self) -> None:
    """Removes the only checkpoint if a process was killed while it saved it.

    Without it, the run begins again. With others, it is passed over.
    """
    found = self._newest_first()
    if len(found) == 1 and not found[0].store.is_whole(found[0].step):
      console.say(f"checkpoint {found[0].path} was not finished; removed")
      processes.barrier("the unfinished checkpoint is known")
      found[0].store.delete(found[0].step)

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

    The two latest, the best and the end of stage 1 stay, and none from within
    an epoch.

    Raises:
      OSError: when it can't be written; those before it are intact.
    """
    self._epochs.save(int(arrays["step"]), arrays, progress)
    self.remove_old(progress, step=int(arrays["step"]))

  def remove_old(self, progress: Progress, *, step: int) -> None:
    """Removes the checkpoints that the newest one makes superfluous.

    A run calls this at its start as well, because its last call may have been
    cut off.
    """
    if progress.midway is not None:
      return
    older = [s for s in self._epochs.steps() if s < step]
    best = [] if progress.best is None else [progress.best.step]
    ends = [progress.step_after(1)] if progress.epochs_done(1) else []
    kept = {*older[-1:], *best, *ends}
    for each in older:
      if each not in kept:
        self._epochs.delete(each)
    if self._midway and max(self._midway.steps(), default=0) <= step:
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
      self._midway = Store(self._midway_folder, read_only=False)
    self._midway.save(int(arrays["step"]), arrays, progress)
    for each in self._midway.steps()[:-2]:
      self._midway.delete(each)

  def progress(self) -> Progress:
    """Where the run stood at the newest sound checkpoint, without its arrays.

    Raises:
      FileNotFoundError: when there is no sound checkpoint.
    """
    found = next(self._sound())
    return found.store.read_progress(found.step)

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
    found = next(self._sound(step))
    return found.store.read(found.step, template)

  def _sound(self, step: int | None = None) -> Iterator[_Found]:
    """Yields the sound checkpoints (of a step), newest first; then raises.

    Damaged ones are reported and passed over.

    Raises:
      FileNotFoundError: when there are no more.
    """
    for found in self._newest_first():
      if step is not None and (found.step != step or not found.ends_epoch):
        continue
      try:
        files.check_checksums(found.path)
      except (OSError, ValueError) as error:
        console.say(
          f"checkpoint {found.path} is damaged, passed over: {short(error)}"
        )
        continue
      yield found
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
    there = set(self._epochs.steps())
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
    found = [_Found(s, True, self._epochs) for s in self._epochs.steps()]
    if self._midway:
      found += [_Found(s, False, self._midway) for s in self._midway.steps()]
    return sorted(found, key=lambda one: one[:2], reverse=True)


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
