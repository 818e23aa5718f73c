"""Asking a run to stop or to save, and agreeing on it between processes.

SIGTERM, which is also how clusters announce a preemption, and SIGINT (Ctrl-C)
ask for a stop at the next step; a second one ends the program at once.
"""

import collections
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import jax
import numpy as np

from blt_jax.system import processes

Item = TypeVar("Item")
Result = TypeVar("Result")

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# What can be asked for; of several the greatest counts.
NOTHING, SAVE, STOP = range(3)

# Answers of the devices that are on their way while steps go on.
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
  """

  def __init__(self, *, every_minutes: float = 0.0):
    """Watches from `__enter__` on.

    Args:
      every_minutes: how often `poll` asks for a checkpoint; 0 for never.
    """
    self.signal: int | None = None
    self._nothing_to_save: str | None = None
    self._every = 60 * every_minutes
    self._due = time.monotonic() + self._every
    self._answers: collections.deque[Any] = collections.deque()
    self._old: dict[int, Any] = {}
    self._old_wakeup = -1
    self._sockets: tuple[socket.socket, ...] = ()

  def __enter__(self) -> Self:
    """Takes the signals over, in the main thread; another one can't."""
    if threading.current_thread() is not threading.main_thread():
      return self
    # Python runs handlers between two of its instructions, but compiling a
    # program is one. What it writes at once wakes this thread.
    receiver, sender = self._sockets = socket.socketpair()
    sender.setblocking(False)
    self._old_wakeup = signal.set_wakeup_fd(
      sender.fileno(), warn_on_full_buffer=False
    )
    threading.Thread(
      target=self._listen, args=(receiver,), name="signals", daemon=True
    ).start()
    self._old = {
      number: signal.signal(number, lambda *_: None) for number in SIGNALS
    }
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    """Gives the signals back."""
    for number, handler in self._old.items():
      signal.signal(number, handler)
    if self._sockets:
      signal.set_wakeup_fd(self._old_wakeup)
      self._sockets[1].close()  # Ends the thread, which closes the other one.
      self._sockets = ()

  def poll(self) -> int:
    """What is asked for now: NOTHING, SAVE or STOP.

    With several processes the answer is that of two polls ago, so that the
    devices need not be waited for.
    """
    wish = NOTHING
    if self._every and time.monotonic() >= self._due:
      wish, self._due = SAVE, time.monotonic() + self._every
    if self.signal is not None:
      wish = STOP
    if processes.count() == 1:
      return wish
    self._answers.append(_greatest(wish))
    if len(self._answers) <= _LAG:
      return NOTHING
    return int(self._answers.popleft())

  def saved(self) -> None:
    """Starts the time until the next checkpoint anew."""
    self._due = time.monotonic() + self._every

  def between(self, items: Iterable[Item], place: str) -> Iterator[Item]:
    """Passes items on.

    Args:
      items: batches of something that is not worth a checkpoint.
      place: where the run is, for the message.

    Raises:
      Interrupted: between two items, when a stop is asked for.
    """
    for item in items:
      if self.poll() == STOP:
        raise self.interrupted(place)
      yield item

  def first_call(
    self, function: Callable[..., Result], place: str
  ) -> Callable[..., Result]:
    """A function whose first call, which compiles it, ends at a signal.

    Compiling takes seconds to minutes and can't be stopped. As long as the last
    checkpoint holds everything, the program can end in the middle of it. One of
    several processes can't: the others would wait for it.

    Args:
      function: to be called when there is nothing to save.
      place: where the run is, for the message.

    Returns:
      The function; it raises Interrupted when a stop was asked for before.
    """
    calls = itertools.count()

    def call(*arguments: Any) -> Result:
      if next(calls) or processes.count() > 1:
        return function(*arguments)
      if self.signal is not None:
        raise self.interrupted(place)
      self._nothing_to_save = place
      try:
        return function(*arguments)
      finally:
        self._nothing_to_save = None

    return call

  def interrupted(self, place: str) -> Interrupted:
    """What ends a run that was asked to stop, once it has saved.

    Args:
      place: what was done last, for the message.
    """
    number = self.signal or signal.SIGTERM  # Another process's signal.
    return Interrupted(
      number,
      f"stopped by {signal.Signals(number).name} {place}; the same command "
      "goes on from there.",
    )

  def _listen(self, receiver: socket.socket) -> None:
    """Waits for signals, in a thread of its own."""
    with receiver:
      while received := receiver.recv(1):
        if received[0] in SIGNALS:
          self._receive(received[0])

  def _receive(self, number: int) -> None:
    name = signal.Signals(number).name
    if self.signal is not None:
      print(f"{name} again: ends at once", file=sys.stderr, flush=True)
      os._exit(128 + number)
    self.signal = number
    place = self._nothing_to_save
    if place is not None:
      print(self.interrupted(place), file=sys.stderr, flush=True)
      os._exit(128 + number)
    print(
      f"{name}: stops after a checkpoint at the next step; a second signal "
      "ends at once",
      file=sys.stderr,
      flush=True,
    )


def _greatest(wish: int) -> jax.Array:
  """The greatest of all processes' wishes, on its way: int32 scalar."""
  own = np.full(jax.local_device_count(), wish, np.int32)
  return _reduce(own)


def _max_over_devices(wish: jax.Array) -> jax.Array:
  return jax.lax.pmax(wish, "devices")


_reduce = jax.pmap(_max_over_devices, axis_name="devices", out_axes=None)
