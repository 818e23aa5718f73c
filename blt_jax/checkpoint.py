"""Checkpoints of a run: the latest two, the best, and the end of stage 1.

Orbax behind a small interface. A checkpoint holds the arrays of the TrainState
and, as JSON, where the run stands (`Progress`), written together or not at all.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from blt_jax.train_step import TrainState

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
    overall = _finite_or_lowest(row["val_overall"])
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
      step: which checkpoint, the newest one by default.

    Returns:
      (state, progress).

    Raises:
      FileNotFoundError: when there is no checkpoint (of that step).
    """
    step = self.latest_step() if step is None else step
    if step is None or step not in self._manager.all_steps():
      raise FileNotFoundError(
        f"no checkpoint {'' if step is None else f'of step {step} '}in "
        f"{self._manager.directory}"
      )
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
    overall = _finite_or_lowest(progress.rows[-1]["val_overall"])
    if progress.stage != self._last_stage:
      return -math.inf
    return overall - 1e-6 * progress.epoch


def _host_copy(array: jax.Array) -> np.ndarray:
  """A copy in host memory, so that the device's buffer can be donated."""
  return np.array(jax.device_get(array))


def _finite_or_lowest(value: float) -> float:
  """Maps NaN and infinities, which must never be best, below everything."""
  return float(value) if math.isfinite(value) else -math.inf
