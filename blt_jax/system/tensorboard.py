"""TensorBoard events of a run."""

import math
import pathlib
from collections.abc import Mapping
from typing import Self

from absl import logging

from blt_jax.data import text
from blt_jax.system import console, processes


class Events:
  """An event file; use it in a `with` statement.

  The first process writes for all of them. Without TensorFlow and clu it prints
  a line and writes nothing.
  """

  def __init__(self, workdir: pathlib.Path):
    """Opens an event file in a folder at the first `write`.

    The file replaces earlier ones, because a process that was killed may have
    written an epoch that is trained again. So the caller writes all finished
    epochs anew.
    """
    self._workdir = workdir
    self._writer = None
    self._begun = False

  def _begin(self) -> None:
    """Opens the file; TensorFlow takes seconds to import."""
    # The first write needs it.
    from blt_jax.data.lazy_tensorflow import tensorflow

    try:
      tensorflow()  # Before clu imports it, which would take the GPUs.
      from clu import metric_writers
    # Installed in versions that don't go together, they raise errors of many
    # types.
    except Exception as error:
      console.say(
        "no TensorBoard events, which need TensorFlow, clu and tensorboard: "
        f"{text.reason(error)}"
      )
      return
    logging.set_verbosity(logging.WARNING)  # clu logs each value.
    for path in self._workdir.glob("events.out.tfevents.*"):
      path.unlink()
    self._writer = metric_writers.SummaryWriter(str(self._workdir))

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    if self._writer:
      self._writer.close()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes those values of a step that are finite."""
    if not self._begun and processes.is_first():
      self._begin()
    self._begun = True
    if not self._writer:
      return
    known = {name: v for name, v in values.items() if math.isfinite(v)}
    if known:
      self._writer.write_scalars(step, known)
      self._writer.flush()
