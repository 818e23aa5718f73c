"""Part b: one ascent for several batches, and its narrowest width.

`perturb.every` was a field once and is none now; what it would save is measured
on the method's own functions: the slots of several batches in one ascent.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step_time
from benchmarks.gpu import timing
from benchmarks.gpu.rows import Row
from benchmarks.gpu.setup import Setup
from blt_jax.method.perturb import halving_widths
from blt_jax.method.rng import Stream
from blt_jax.method.train_step import Sources
from blt_jax.training import devices, offline
from blt_jax.training.run import Run

_WIDTHS = (1, 2, 4, 8, 16, 32)


def rows(given: Setup) -> Iterator[Row]:
  """A row for the batches of an ascent, and one for its narrowest width."""
  every = (1, 2) if given.tiny else (1, 2, 4, 8)
  slots = given.run(given.config()).stages[-1].capacity
  settings = {
    "backbone": given.backbone,
    "arithmetic": "default",
    "batch": given.batch,
    "slots": slots,
    "image_size": given.size,
    "repeats": given.repeats,
  }
  measure = functools.partial(_measure_every, given, every)
  yield Row("b", "every", settings | {"every": list(every)}, measure)
  widths = narrowest_widths(slots)
  measure = functools.partial(_measure_narrowest, given, widths)
  yield Row("b", "narrowest", settings | {"widths": widths}, measure)


def narrowest_widths(slots: int) -> dict[str, list[int]]:
  """The narrowest widths that differ: {"1": the widths, ..., "8, 16, 32": ..}.

  Args:
    slots: images of an ascent.
  """
  found = {n: list(halving_widths(slots, narrowest=n)) for n in _WIDTHS}
  grouped = itertools.groupby(found, key=lambda n: found[n])
  return {", ".join(map(str, same)): widths for widths, same in grouped}


def _measure_every(given: Setup, every: tuple[int, ...]) -> dict[str, Any]:
  """Ascents of the slots of several batches; seconds are those of a batch."""
  run, state, batches = _prepare(given, max(every))
  programs, compiling = {}, {}
  for number in every:
    together: Any = jax.tree.map(
      lambda *parts: jnp.concatenate(parts, axis=1), *batches[:number]
    )
    name = str(number)
    programs[name], compiling[name] = _program(run, state, together)
  found = timing.take_turns(programs, repeats=given.repeats)
  for name, times in found.items():
    times["seconds"] /= int(name)
    times["quartiles"] = [each / int(name) for each in times["quartiles"]]
  return _report(programs, compiling, found)


def _measure_narrowest(
  given: Setup, widths: dict[str, list[int]]
) -> dict[str, Any]:
  """Ascents of the slots of a batch with other narrowest widths."""
  run, state, (sources,) = _prepare(given, 1)
  programs, compiling = {}, {}
  for name in widths:
    narrowest = int(name.partition(",")[0])
    programs[name], compiling[name] = _program(
      run, state, sources, narrowest=narrowest
    )
  found = timing.take_turns(programs, repeats=given.repeats)
  return _report(programs, compiling, found)


def _prepare(given: Setup, count: int) -> tuple[Run, Any, list[Sources]]:
  """(the run, its state, the slots of so many batches)."""
  run = given.run(given.config())
  state = step_time.starting_state(run, None)
  batches, _ = step_time.read(run, run.stages[-1], count)
  sources = [batch.sources for batch in batches if batch.sources is not None]
  assert len(sources) == count
  return run, state, sources


def _program(
  run: Run, state: Any, sources: Sources, **options: Any
) -> tuple[Callable[[], Any], float]:
  """(the ascent of slots [1, k], seconds to compile it)."""
  make = offline.build_offline_hallucinate(
    run.config, stream=Stream.EXAMPLES, **options
  )
  step = devices.over_devices(make, run.config, out_axes=0)
  numbers = np.arange(sources.label.shape[1], dtype=np.int32)[None]
  return timing.compiled(step, state, (numbers, sources))


def _report(programs, compiling, found) -> dict[str, Any]:
  """Times, and how many images and updates they are for."""
  for name, program in programs.items():
    made = jax.device_get(program())
    images = float(made.weight.sum())
    updates = float((made.num_updates * made.weight).sum())
    found[name] |= {
      "compile_seconds": compiling[name],
      "images": images,
      "updates": updates / max(images, 1),
    }
  return {"programs": found}
