"""Traces of some steps, for XProf and TensorBoard: --profile=STEPS."""

import contextlib
import pathlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import jax

from blt_jax.system import console

FOLDER = "profile"

# Steps of an epoch before those that are traced: the first one compiles.
_BEFORE = 2


class Tracer:
  """Traces steps of each stage, in the first of the epochs that it is given."""

  def __init__(self, workdir: pathlib.Path, steps: int):
    """Traces so many steps, 1 or more, or to the epoch's end.

    The traces lie in `FOLDER` of the work directory.
    """
    self._folder, self._steps = workdir / FOLDER, steps
    self._traced: set[int] = set()

  @contextlib.contextmanager
  def traced(
    self, train_fn: Callable[..., Any], stage: int, number: int
  ) -> Iterator[Callable[..., Any]]:
    """A stage's step for an epoch; some of the calls may be traced."""
    if stage in self._traced:
      yield train_fn
      return
    trace = _Trace(train_fn, self._folder, self._steps)
    try:
      yield trace
    finally:
      made = trace.stop()
    where = f"stage {stage} epoch {number}"
    if not made:
      console.say(
        f"profile: no step of {where} was traced: it had {trace.calls} steps, "
        f"and the first {_BEFORE} are left out"
      )
      return
    self._traced.add(stage)
    folder = shlex.quote(str(self._folder))
    console.say(
      f"profile: {made} steps of {where} in {folder}; pip install xprof and "
      f"xprof --logdir={folder} show them"
    )


class _Trace:
  """A step; when it is called, it is traced from the third time on.

  Attributes:
    calls: how often it was called.
  """

  def __init__(
    self, train_fn: Callable[..., Any], folder: pathlib.Path, steps: int
  ):
    self._train_fn, self._folder, self._steps = train_fn, folder, steps
    self._made, self._is_on = 0, False
    self.calls = 0

  def __call__(self, state: Any, batch: Any) -> Any:
    self.calls += 1
    if self.calls <= _BEFORE or self._made == self._steps:
      return self._train_fn(state, batch)
    if not self._is_on:
      jax.block_until_ready(state)  # No earlier step is part of the trace.
      jax.profiler.start_trace(str(self._folder))
      self._is_on = True
    with jax.profiler.StepTraceAnnotation("train", step_num=self._made):
      found = self._train_fn(state, batch)
    self._made += 1
    if self._made == self._steps:
      jax.block_until_ready(found)
      self.stop()
    return found

  def stop(self) -> int:
    """Ends the trace, if it is on; returns how many steps it has."""
    if self._is_on:
      jax.profiler.stop_trace()
      self._is_on = False
    return self._made
