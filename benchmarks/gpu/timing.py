"""Programs that take turns, so that a machine's slower seconds are shared."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def take_turns(
  programs: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int = 2
) -> dict[str, dict[str, Any]]:
  """How long each program takes, in seconds.

  Args:
    programs: functions that come back when their result is there.
    repeats: timed runs of each, 1 or more.
    warm_up: runs of each before those.

  Returns:
    {name: {"seconds": median, "quartiles": [low, high]}}.
  """
  taken: dict[str, list[float]] = {name: [] for name in programs}
  for number in range(-warm_up, repeats):
    for name, program in programs.items():
      start = time.perf_counter()
      program()
      if number >= 0:
        taken[name].append(time.perf_counter() - start)
  return {name: summary(each) for name, each in taken.items()}


def summary(seconds: list[float]) -> dict[str, Any]:
  """The median and the quartiles of repeats."""
  low, median, high = np.percentile(seconds, (25, 50, 75)).tolist()
  return {"seconds": median, "quartiles": [low, high]}


def compiled(
  function: Callable, *arguments: Any
) -> tuple[Callable[[], Any], float]:
  """(runs a function that may be jitted and waits, seconds to compile it)."""
  start = time.perf_counter()
  jitted = function if hasattr(function, "lower") else jax.jit(function)
  program = jitted.lower(*arguments).compile()
  seconds = time.perf_counter() - start
  return lambda: jax.block_until_ready(program(*arguments)), seconds
