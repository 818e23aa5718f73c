"""Runs tasks on threads, with results in order."""

import collections
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks in progress for each thread, so that a slow one does not stop the rest.
_AHEAD = 8


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def in_order(
  function: Callable[[Task], Result],
  tasks: Iterable[Task],
  *,
  num_threads: int,
) -> Generator[Result]:
  """Runs tasks on threads, a few at a time, and yields results in order."""
  under_way: collections.deque[Future[Result]] = collections.deque()
  pool = ThreadPoolExecutor(num_threads)
  try:
    for task in tasks:
      under_way.append(pool.submit(function, task))
      if len(under_way) > _AHEAD * num_threads:
        yield under_way.popleft().result()
    while under_way:
      yield under_way.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)
