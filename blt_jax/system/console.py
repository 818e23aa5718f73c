"""Lines and progress bars, which only the first process prints."""

import sys
import time
from collections.abc import Iterable, Iterator

from blt_jax.system import processes

# Seconds between lines of progress where no terminal redraws the line.
_LOG_INTERVAL = 30.0


def say(text: str) -> None:
  """Prints a line at once, if this is the first process."""
  if processes.is_first():
    print(text, flush=True)


def progress(
  steps: Iterable,
  title: str,
  *,
  total: int,
  initial: int = 0,
  unit: str = "step",
) -> Iterator:
  """Yields steps and shows how many are done and the time left.

  Returns:
    Iterator over `steps`.
  """
  import tqdm  # Programs that train without a terminal need not have it.

  terminal = sys.stderr.isatty()
  interval = 0.2 if terminal else _LOG_INTERVAL
  return iter(
    tqdm.tqdm(
      steps,
      desc=title,
      total=total,
      initial=initial,
      unit=unit,
      leave=False,
      delay=0 if terminal else interval,
      mininterval=interval,
      miniters=1,
      disable=not processes.is_first(),
      dynamic_ncols=True,
    )
  )


class Clock:
  """Estimates the time left of a run from the epochs that it made."""

  def __init__(self) -> None:
    """Starts the clock."""
    self._seen = 0
    self._start = time.monotonic()

  def after(self, images: int, *, left: int) -> str:
    """Counts images as trained on; returns the time left as h:mm:ss or "-".

    Args:
      images: trained on since the last call, or the start.
      left: images that are still to be trained on.
    """
    self._seen += images
    if not self._seen:  # The run was resumed at a validation.
      return "-"
    seconds = (time.monotonic() - self._start) * left / self._seen
    return duration(seconds)


def duration(seconds: float) -> str:
  """Seconds as h:mm:ss."""
  whole = round(seconds)
  return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
