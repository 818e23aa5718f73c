"""Checkpoints of a run: the latest two, the best, and the end of stage 1.

Orbax behind a small interface. A checkpoint holds the arrays of the TrainState
and, as JSON, where the run stands (`Progress`), written together or not at all.
"""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from blt_jax.train_step import TrainState

_log = logging.getLogger(__name__)

_ARRAYS = ("step", "params", "batch_stats", "opt_state", "confusion")


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands.

  Attributes:
    stage: stage of the last finished epoch, 1 or 2; 0 before the first one.
    epoch: last finished epoch of that stage, from 1.
    best: the best epoch of that stage so far: {"stage", "epoch", "step",
      "overall"}, or None.
    rows: one row of metrics.csv for each finished epoch.
  """

  stage: int = 0
  epoch: int = 0
  best: Mapping[str, Any] | None = None
  rows: tuple[Mapping[str, Any], ...] = ()

  def after(self, row: Mapping[str, Any]) -> "Progress":
    """The progress after one more epoch.

    The best epoch is the one with the highest overall top-1 on validation, the
    earlier of equals; every stage looks for its own.

    Args:
      row: has "stage", "epoch", "step" and "val_overall", percent or NaN.

    Returns:
      A new Progress.
    """
    overall = _score(row["val_overall"])
    best = self.best if row["stage"] == self.stage else None
    if best is None or overall > best["overall"]:
      best = {
        "stage": row["stage"],
        "epoch": row["epoch"],
        "step": row["step"],
        "overall": overall,
      }
    return Progress(row["stage"], row["epoch"], best, (*self.rows, row))


class Checkpoints:
  """The checkpoints of a work directory; use it in a `with` statement."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    last_stage: int = 2,
    keep_steps: tuple[int, ...] = (),
    read_only: bool = False,
  ):
    """Opens a folder of checkpoints.

    Args:
      folder: made when it does not exist, unless `read_only`.
      last_stage: the best epoch is kept of this stage.
      keep_steps: steps whose checkpoints are never removed.
      read_only: nothing is written, leftovers of killed saves are left alone.
    """
    policies = checkpoint_managers.preservation_policy
    self._last_stage = last_stage
    self._manager = ocp.CheckpointManager(
      folder.absolute(),
      item_names=("state", "progress"),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(
          [
            policies.LatestN(2),
            policies.BestN(get_metric_fn=lambda m: m["selection"], n=1),
            policies.CustomSteps(list(keep_steps)),
          ]
        ),
        create=not read_only,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
      ),
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._manager.close()

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, None without any."""
    return self._manager.latest_step()

  def save(self, state: TrainState, progress: Progress) -> None:
    """Writes a checkpoint in the background.

    Args:
      state: copied before this returns.
      progress: where the run stands.

    Raises:
      RuntimeError: when the checkpoint was not taken.
    """
    arrays = {name: getattr(state, name) for name in _ARRAYS}
    saved = self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(jax.tree.map(_host_copy, arrays)),
        progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
      ),
      metrics={"selection": self._selection(progress)},
    )
    if not saved:
      raise RuntimeError(f"checkpoint of step {int(state.step)} was not saved")

  def restore(
    self, template: TrainState, *, step: int | None = None
  ) -> tuple[TrainState, Progress]:
    """Reads a checkpoint.

    Args:
      template: a state of the same shapes; its values are replaced.
      step: which checkpoint, the newest readable one by default. Those that
        can't be read are logged and passed over.

    Returns:
      (state, progress).

    Raises:
      FileNotFoundError: when there is no readable checkpoint (of that step).
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    if step is not None:
      steps = [step] if step in steps else []
    for candidate in steps:
      try:
        return self._restore(template, candidate)
      # Orbax raises errors of many types for what is damaged or missing.
      except Exception as error:
        _log.warning("checkpoint %d can't be read: %s", candidate, error)
    raise FileNotFoundError(
      f"no readable checkpoint {'' if step is None else f'of step {step} '}in "
      f"{self._manager.directory}"
    )

  def _restore(
    self, template: TrainState, step: int
  ) -> tuple[TrainState, Progress]:
    """Reads the checkpoint of a step, or raises whatever Orbax raises."""
    arrays = {name: getattr(template, name) for name in _ARRAYS}
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(jax.tree.map(_host_copy, arrays)),
        progress=ocp.args.JsonRestore(),
      ),
    )
    saved = restored["progress"]
    progress = Progress(
      saved["stage"], saved["epoch"], saved["best"], tuple(saved["rows"])
    )
    state = jax.tree.map(jax.numpy.asarray, restored["state"])
    return template.replace(**state), progress

  def _selection(self, progress: Progress) -> float:
    """What BestN ranks by: the last stage only, the earlier of equals."""
    if progress.stage != self._last_stage:
      return -math.inf
    # No run has so many epochs that this could reach the next score.
    overall = _score(progress.rows[-1]["val_overall"])
    return overall - 1e-10 * progress.epoch


def _host_copy(array: jax.Array) -> np.ndarray:
  """A copy in host memory, so that the device's buffer can be donated."""
  return np.array(jax.device_get(array))


def _score(overall: float) -> float:
  """What epochs are compared by.

  NaN and infinities, which must never be best, lie below everything, and a
  rounding error of a mean decides nothing.
  """
  return round(float(overall), 6) if math.isfinite(overall) else -math.inf
