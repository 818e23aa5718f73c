"""main.py that is killed in a given place, for `kills.py`.

    python -m benchmarks.kill_places TARGET FILE ARGUMENTS

runs main.py with ARGUMENTS. Some of its functions also note that the program is
in them, in memory and in FILE; where that is what TARGET says, the process is
killed, as `kill -9` does. TARGET is a `Target` as JSON, or empty.
"""

import dataclasses
import functools
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

ANY = "any moment"
BETWEEN, REST = "between the stages", "anywhere else"

# What a program is doing, by the innermost of these functions that it is in.
PLACES = {
  "jax._src.compiler:compile_or_get_cached": "compiling",
  "blt_jax.training.epoch:_Times.__next__": "reading",
  "blt_jax.training.epoch:Epoch.train": "step",
  "blt_jax.workdir.checkpoint:Checkpoints.save": "checkpoint",
  "blt_jax.workdir.checkpoint:Checkpoints.save_midway": (
    "checkpoint in an epoch"
  ),
  "blt_jax.workdir.checkpoint:Checkpoints.restore": "reading a checkpoint",
  "blt_jax.workdir.records:write_confusion": "confusion",
  "blt_jax.workdir.records:write_metrics": "metrics.csv",
  "blt_jax.workdir.files:write_json": "json",
  "blt_jax.system.console:Events.write": "events",
  "blt_jax.training.train:validate": "validation",
  "blt_jax.training.train:begin_stage": BETWEEN,
  "blt_jax.training.train:test_best_and_last": "test",
  "blt_jax.training.train:_write_report": "report",
  "blt_jax.training.train:train": REST,
}


@dataclasses.dataclass(frozen=True)
class Target:
  """Where to kill.

  Attributes:
    place: a value of PLACES, or ANY.
    stage: 1 or 2; 0 for no matter which.
    visit: which time the process is there, from 1.
    delay: seconds after it came there; if it has left by then, half of that
      the next time. For ANY, whose kill comes from outside, after its start.
  """

  place: str
  stage: int = 0
  visit: int = 1
  delay: float = 0.0


class Tracker:
  """Keeps book of where the main thread is, and kills the process there."""

  def __init__(self, target: Target | None, file: int):
    """Aims at a target, if any, and writes places to a file descriptor."""
    self._target, self._file = target, file
    self._delay = target.delay if target else 0.0
    self._places: list[str] = []
    self._stage = 0
    self._visits = 0
    self._changes = 0
    self._aimed: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=self._kill_later, daemon=True).start()

  def track(self, function: Callable, place: str) -> Callable:
    """The function, which notes when it is entered and left."""

    @functools.wraps(function)
    def tracked(*args: Any, **kwargs: Any) -> Any:
      # Other threads of the program compile, too.
      if threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
      own = place
      if place == BETWEEN:  # begin_stage(run, state, stage, ..., begun=)
        self._stage = args[2].number
        if self._stage == 1 or kwargs["begun"]:
          own = REST
      elif place in ("test", "report"):
        self._stage = 0
      self._places.append(own)
      self._changed()
      try:
        return function(*args, **kwargs)
      finally:
        self._places.pop()
        self._changed()

    return tracked

  def _changed(self) -> None:
    """The main thread is in another place."""
    place = self._places[-1] if self._places else REST
    os.pwrite(self._file, f"{self._stage} {place:<40}".encode(), 0)
    self._changes += 1
    target = self._target
    if target is None or place != target.place:
      return
    if target.stage in (0, self._stage):
      self._visits += 1
      if self._visits >= target.visit:
        self._aimed.put(self._changes)

  def _kill_later(self) -> None:
    """Kills, in a thread of its own, what is still where it was."""
    while True:
      change = self._aimed.get()
      time.sleep(self._delay)
      if change == self._changes:
        os.kill(os.getpid(), signal.SIGKILL)
      self._delay = self._delay / 2 if self._delay > 0.001 else 0.0


def run(target: str, file: str, arguments: Sequence[str]) -> None:
  """Runs main.py as the command line does, and keeps book of its places."""
  aim = Target(**json.loads(target)) if target else None
  tracker = Tracker(aim, os.open(file, os.O_WRONLY | os.O_CREAT))
  # The other thread gets its turn soon, whatever the main one does.
  sys.setswitchinterval(0.0005)
  sys.argv = ["main.py", *arguments]
  # Imported here: its flags are not those of this program.
  import main as program

  for name, place in PLACES.items():
    module, _, path = name.partition(":")
    *outer, last = path.split(".")
    holder = functools.reduce(getattr, outer, importlib.import_module(module))
    setattr(holder, last, tracker.track(getattr(holder, last), place))
  program.run()


if __name__ == "__main__":
  run(sys.argv[1], sys.argv[2], sys.argv[3:])
