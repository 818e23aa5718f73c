"""The parts of the measurement, in the order of importance."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from benchmarks.gpu import (
  accuracy,
  ascent,
  convolutions,
  feeding,
  machine,
  pytorch,
  steps,
)
from benchmarks.gpu.rows import LeftOutError, Row, Store
from benchmarks.gpu.setup import Setup, networks_of_one_block


class Part(NamedTuple):
  """A part.

  Attributes:
    title: what it measures.
    rows: its rows; raises LeftOutError where it can't be measured.
    process: parts that follow one another share a process of this name.
  """

  title: str
  rows: Callable[[Setup], Iterator[Row]]
  process: str = "jax"


PARTS: dict[str, Part] = {
  "a": Part("Plain and BLT step", steps.main_rows),
  "b": Part("The ascent: several batches at once, widths", ascent.rows),
  "c": Part("Gradient of a convolution", convolutions.rows),
  "d": Part("From files to the device", feeding.rows),
  "e": Part("Other networks", steps.network_rows),
  "f": Part("PyTorch", pytorch.rows, process="torch"),
  "g": Part("Accuracy: small CIFAR-10-LT", accuracy.rows),
  "h": Part("Several devices", steps.device_rows),
}


def measure(given: Setup, names: str) -> None:
  """Measures the rows of some parts that are not kept yet.

  Each is kept before the next begins. One that raises is kept with its error.
  It stops where the process that started it has been killed.

  Raises:
    ValueError: the folder has measurements of another machine, or JAX finds
      processors alone where sizes are not toy sizes.
  """
  parent = os.getppid()
  if not given.tiny and jax.devices()[0].platform == "cpu":
    raise ValueError(
      "JAX finds no GPU here; expected one, or --tiny. To see why: "
      "python -c 'import jax; jax.devices(\"gpu\")'"
    )
  store = Store(given.folder)
  store.claim(machine.describe(tiny=given.tiny))
  with contextlib.ExitStack() as held:
    if given.tiny:
      held.enter_context(networks_of_one_block())
    _measure_parts(store, given, names, parent)


def _measure_parts(store: Store, given: Setup, names: str, parent: int) -> None:
  for name in names:
    try:
      for row in PARTS[name].rows(given):
        if os.getppid() != parent:
          return
        _measure(store, row)
      store.leave_out(name, "")
    except LeftOutError as reason:
      _leave_out(store, name, str(reason))
    except Exception as error:  # Before a row; other parts can be measured.
      _leave_out(store, name, _line(error))


def _leave_out(store: Store, name: str, reason: str) -> None:
  print(f"({name}) left out: {reason}", flush=True)
  store.leave_out(name, reason)


def _measure(store: Store, row: Row) -> None:
  label = f"({row.part}) {row.name}"
  if kept := store.find(row):
    if "error" in kept:
      print(f"{label}: failed before, not tried again: {kept['error']}")
    return
  print(label, flush=True)
  with store.begun(row):
    try:
      measured = row.measure()
    except Exception as error:  # The rows after it can be measured.
      print(f"{label}: {_line(error)}", flush=True)
      store.keep(row, error=_line(error))
    else:
      store.keep(row, measured=measured)


def _line(error: Exception) -> str:
  return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
