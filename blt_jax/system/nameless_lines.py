"""Keeps libjpeg's lines without a file name away from the terminal.

TensorFlow's libjpeg prints "Corrupt JPEG data: ..." for a file whose pixels are
damaged, decodes what it can, and says neither that nor which file it is. So on
the command line the C level's descriptor 2 goes through a small process
(line_filter.py) that passes everything else on. Python's own sys.stderr keeps
the terminal. Only the command line calls `start` and `Listener.listen`: a
library leaves the descriptors of its host alone.

Left out: on Windows the lines stay. Where the run is the first process of a
container, its crash ends the filter, too, and with it the C level's last words.
"""

import atexit
import contextlib
import faulthandler
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import IO, Any, Self

from blt_jax.system import line_filter

_STDERR = 2
# For the last lines of the process, seconds. It goes on without this one, too.
_PATIENCE = 1.0

# What `stop` undoes.
_started = contextlib.ExitStack()


@functools.cache
def start() -> None:
  """Filters descriptor 2 until the program ends; does nothing without one."""
  kept = _kept_stderr()
  if kept is None:
    return
  started = _start_filter(output=kept)
  if started is None:  # Then the lines are ugly, and nothing else is wrong.
    os.close(kept)
    return
  process, writing = started
  _move_python(_STDERR, kept)
  os.dup2(writing, _STDERR)
  os.close(writing)
  _started.callback(_wait, process)
  _started.callback(os.dup2, kept, _STDERR)  # Which ends the filter.
  atexit.register(stop)


def stop() -> None:
  """Gives descriptor 2 back, after what the filter still holds."""
  _started.close()


class Listener:
  """Hears what libjpeg prints about images that this process decodes.

  From `listen` to the end of the `with` statement descriptor 2 is a file. The
  rest of what it holds is printed then, also if this process crashes.
  """

  def __init__(self):
    """Does nothing yet."""
    self._file: IO[bytes] | None = None
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> Self:
    """For `__exit__`."""
    return self

  def __exit__(self, *exception) -> None:
    """Gives descriptor 2 back."""
    self._stack.close()
    self._file = None

  def listen(self) -> bool:
    """Begins to listen; returns False where that is not possible."""
    kept = _kept_stderr()
    if kept is None:
      return False
    self._stack.callback(os.close, kept)
    try:
      file = tempfile.TemporaryFile()  # noqa: SIM115, the stack closes it.
    except OSError:
      return False
    self._stack.callback(file.close)
    started = _start_filter(output=kept, file=file.fileno())
    if started is None:
      return False
    process, ending = started
    self._stack.callback(_wait, process)
    self._stack.callback(os.close, ending)
    moved = _move_python(_STDERR, kept)
    if moved:
      self._stack.callback(_move_python, kept, _STDERR)
    self._stack.callback(os.dup2, kept, _STDERR)
    os.dup2(file.fileno(), _STDERR)
    self._file = file
    return True

  def position(self) -> int:
    """How many bytes were printed so far, by any thread."""
    return os.fstat(self._file.fileno()).st_size if self._file else 0

  def damage(self, position: int) -> str:
    """The first line about damage that was printed after a position, or ""."""
    if self._file:
      text = os.pread(self._file.fileno(), 1 << 16, position)
      for line in text.splitlines():
        if line.startswith(line_filter.DAMAGE):
          return line.decode(errors="replace").strip()
    return ""


def _kept_stderr() -> int | None:
  """A new descriptor of what descriptor 2 is; None where there is nothing."""
  if os.name != "posix" or sys.stderr is None or not sys.executable:
    return None
  try:
    return os.dup(_STDERR)
  except OSError:
    return None


def _start_filter(
  *, output: int, file: int | None = None
) -> tuple[subprocess.Popen, int] | None:
  """Starts line_filter.py in a session of its own, out of reach of Ctrl-C.

  Returns:
    The process and the descriptor of its stdin; None if it can't be started.
  """
  program = str(pathlib.Path(line_filter.__file__).resolve())
  # -I and -S leave out what it does not need, half the time of its start.
  command = [sys.executable, "-I", "-S", program]
  reading, writing = os.pipe()
  try:
    process = subprocess.Popen(
      command if file is None else [*command, str(file)],
      stdin=reading,
      stdout=output,
      stderr=output,
      pass_fds=() if file is None else (file,),
      start_new_session=True,
    )
  except OSError:
    os.close(writing)
    return None
  finally:
    os.close(reading)
  return process, writing


def _move_python(old: int, new: int) -> bool:
  """Makes sys.stderr write to another descriptor, if it writes to the old."""
  try:
    if sys.stderr.fileno() != old:
      return False
  except (OSError, ValueError, AttributeError):  # A notebook's, a test's.
    return False
  sys.stderr.flush()
  # The object stays the same, as loggers and progress bars hold it.
  buffer: Any = sys.stderr.buffer
  raw = getattr(buffer, "raw", buffer)
  name = raw.name
  raw.__init__(new, "w", closefd=False)
  raw.name = name
  if faulthandler.is_enabled():  # It remembers the number.
    faulthandler.enable(sys.stderr)
  return True


def _wait(process: subprocess.Popen) -> None:
  """Waits for the last lines; a process that was left behind may hold them."""
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(_PATIENCE)
