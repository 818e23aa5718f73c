"""A run as programs and the command line call it: `blt_jax.train`."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blt_jax.config import Config
from blt_jax.data.dataset import Dataset
from blt_jax.system import compile_cache, console, processes
from blt_jax.training import train as engine
from blt_jax.workdir.directory import RESULTS
from blt_jax.workdir.progress import EpochRow

if TYPE_CHECKING:
  import flax.linen as nn
  import ml_collections


def train(
  config: "ml_collections.ConfigDict | Config | Mapping[str, Any]",
  workdir: str | os.PathLike,
  *,
  dataset: Dataset | str | os.PathLike | None = None,
  model: "nn.Module | None" = None,
  after_epoch: Callable[[EpochRow], object] | None = None,
  profile_steps: int = 0,
) -> dict[str, Any]:
  """Trains both stages, or what is left of them, tests the result, reports it.

  It is what `main.py` does, and leaves the same work directory.
  Every epoch ends with a validation pass and a checkpoint; long ones have more
  (`checkpoint.every_minutes`). The same call again continues where the last one
  stopped and ends with the same bits as a run that was never interrupted (on
  CPU); after the end it returns the results at once. In the main thread, as in
  a notebook, it stops at SIGTERM and SIGINT, after a checkpoint at the next
  step. Compiled programs are kept in ~/.cache/blt_jax/xla, as main.py keeps
  them. In several processes jax.distributed.initialize() comes before it.

  Args:
    config: a configuration, from `blt_jax.config_dict()` or get_config of
      configs/*.py; docs/configuration.md has its fields.
    workdir: directory of the run, made when it does not exist; ~ is the home
      folder.
    dataset: the images. A data set of `blt_jax.sources`, such as
      `sources.from_arrays` makes of arrays in memory; a folder of class folders
      or of splits, a table (CSV, TSV, JSON lines, COCO) or an .npz file, as
      docs/data.md describes them; None for what the configuration names. The
      fields of config.dataset that say where images are and how they are split
      have no effect beside a data set, which a line says. Each process hands in
      the whole data set.
    model: a network of the caller's own, any Flax Linen module with
      `__call__(images, *, train)` -> logits [n, C], where images are float32
      [n, s, s, 3], normalised. Its variables are parameters and, where it
      normalises by batches, batch_stats. It may draw random numbers (dropout).
      If its call also takes `mask`, it gets bool [n], False for images that
      should have no part in batch statistics. Where a top part of its
      parameters is called "classifier", stage 2 makes that anew and it has the
      rates of the classifier. None for config.model.backbone.
    after_epoch: called after every epoch that this call trains, with its row of
      metrics.csv, see EpochRow: row.stage, row.epoch, row.loss,
      row.val_overall, row.val_few and so on. The epoch's checkpoint is written
      then, and what the function raises ends the call: the same call goes on
      with the next epoch. Every process calls it.
    profile_steps: steps of each stage to trace into workdir/profile, as
      docs/performance.md says; 0 for none.

  Returns:
    What results.json holds: results["best"]["test"]["few"], for example, is the
    accuracy on the classes of the tail, percent.

  Raises:
    ValueError: for a configuration, a data set or a network that can't work,
      or a work directory that began with others or is in use.
    FloatingPointError: when a loss or gradient is no longer finite.
    OSError: when the work directory can't be written any more.
    Interrupted: a KeyboardInterrupt, after a signal.
  """
  _check_handed(dataset, after_epoch)
  if isinstance(dataset, str | os.PathLike):
    from blt_jax.config.given import at

    config, dataset = at(config, dataset), None
  compile_cache.enable()
  folder = pathlib.Path(workdir).expanduser()
  results = engine.train(
    config,
    folder,
    dataset=dataset,
    model=model,
    after_epoch=after_epoch,
    profile_steps=profile_steps,
  )
  if processes.is_first():
    _write_report(folder)
  return results


def _check_handed(dataset: object, after_epoch: object) -> None:
  """Refuses what a program hands in by mistake, before anything is done."""
  if not isinstance(dataset, Dataset | str | os.PathLike | None):
    raise ValueError(
      f"dataset is a {type(dataset).__name__}; expected a data set of "
      "blt_jax.sources (from_arrays makes one of arrays), a path, or None."
    )
  if not (after_epoch is None or callable(after_epoch)):
    raise ValueError(
      f"after_epoch is a {type(after_epoch).__name__}; expected a function of "
      "one argument, or None."
    )


def _write_report(workdir: pathlib.Path) -> None:
  """Writes the report of a finished run; prints a failure and goes on."""

  def write() -> None:
    from blt_jax.report import command

    report, results = workdir / command.FILE, workdir / RESULTS
    if report.exists() and report.stat().st_mtime >= results.stat().st_mtime:
      return
    console.say(f"report: {command.write_report([workdir], workdir)}")

  engine.attempt(write, "the report")
