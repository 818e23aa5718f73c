"""Asks a run to stop or to save; all its processes agree on when.

SIGTERM, which is also how clusters announce a preemption, and SIGINT (Ctrl-C)
ask for a stop at the next step; a second signal ends the program at once.
"""

import collections
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

import jax
import numpy as np

from blt_jax.system import processes

Item = TypeVar("Item")

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Requests; if processes ask for different ones, the greatest counts.
NOTHING, SAVE, STOP = range(3)

# Polls until several processes act on an answer. Meanwhile the devices compute
# the answer beside the steps.
_LAG = 2


class Interrupted(KeyboardInterrupt):
  """A run that stopped as it was asked to.

  Attributes:
    signal: number of the signal.
  """

  def __init__(self, number: int, message: str):
    """An interruption by a signal, with a message for the user."""
    super().__init__(message)
    self.signal = number


class Watch:
  """Notes signals and the time; use it in a `with` statement.

  All processes of a run call its methods in the same order and get the same
  answers.

  Attributes:
    signal: number of the signal that came, None without one.
  """

  def __init__(self, *, every_minutes: float = 0.0):
    """Watches from `__enter__` on.

    Args:
      every_minutes: how often `poll` asks for a checkpoint; 0 for never.
    """
    self.signal: int | None = None
    self._every = 60 * every_minutes
    self._due = time.monotonic() + self._every
    self._answers: collections.deque[Any] = collections.deque()
    self._handlers: dict[int, Any] = {}

  def __enter__(self) -> Self:
    """Takes the signals over; Python lets only the main thread do that."""
    if threading.current_thread() is threading.main_thread():
      self._handlers = {
        number: signal.signal(number, self._receive) for number in SIGNALS
      }
    return self

  def __exit__(self, *exception) -> None:
    """Gives the signals back."""
    for number, handler in self._handlers.items():
      signal.signal(number, handler)

  def poll(self) -> int:
    """The present request: NOTHING, SAVE or STOP.

    With several processes it is the greatest request of all of them, two polls
    late.
    """
    wish = NOTHING
    if self._every and time.monotonic() >= self._due:
      wish, self._due = SAVE, time.monotonic() + self._every
    if self.signal is not None:
      wish = STOP
    if processes.count() == 1:
      return wish
    own = np.full(jax.local_device_count(), wish, np.int32)
    self._answers.append(_greatest()(own))
    if len(self._answers) <= _LAG:
      return NOTHING
    return int(self._answers.popleft())

  def saved(self) -> None:
    """Restarts the time until the next checkpoint."""
    self._due = time.monotonic() + self._every

  def between(self, items: Iterable[Item], place: str) -> Iterator[Item]:
    """Passes items on.

    Raises:
      Interrupted: between two items, when a stop is asked for.
    """
    for item in items:
      if self.poll() == STOP:
        raise self.interrupted(place)
      yield item

  def interrupted(self, place: str) -> Interrupted:
    """The exception that ends a run which was asked to stop and has saved."""
    # Without a signal of its own, this process stops for another one's.
    number = self.signal or signal.SIGTERM
    return Interrupted(
      number,
      f"stopped by {signal.Signals(number).name} {place}; the same command "
      "goes on from there.",
    )

  def _receive(self, number: int, frame: object) -> None:
    """Notes the first signal; the next one has its default effect."""
    del frame
    self.signal = number
    # So the system ends the process, even while it computes outside Python.
    for each in SIGNALS:
      signal.signal(each, signal.SIG_DFL)
    name = signal.Signals(number).name
    text = (
      f"{name}: the run stops after a checkpoint at the next step; a second "
      "signal ends it at once\n"
    )
    os.write(2, text.encode())  # The signal may have come amid a print.


@functools.cache
def _greatest() -> Callable[[np.ndarray], jax.Array]:
  """A function that gives the greatest number of all processes.

  It takes int32 [d], a number for each device of this process, and every
  process has to call it. Its int32 scalar may still be computed.
  """
  return jax.pmap(
    lambda wish: jax.lax.pmax(wish, "devices"),
    axis_name="devices",
    out_axes=None,
  )
