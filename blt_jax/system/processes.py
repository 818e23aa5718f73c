"""Several processes that train one run together, on one machine or on many.

The environment says which processes there are (`start`). Each works on its
share of every batch; only the first one writes files and prints.
"""

import hashlib
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# Variables of the environment; the first one is JAX's own.
COORDINATOR = "JAX_COORDINATOR_ADDRESS"
COUNT = "JAX_NUM_PROCESSES"
INDEX = "JAX_PROCESS_ID"

# Seconds of silence after which a process counts as lost; to wait for others at
# the start; and to wait for their messages at the end.
_HEARTBEAT, _START, _FAREWELL = 30, 180, 10


def start() -> None:
  """Joins the other processes if the environment names any.

  It reads JAX_COORDINATOR_ADDRESS (host:port of the first process),
  JAX_NUM_PROCESSES and JAX_PROCESS_ID, or else what srun (SLURM) and mpirun
  (Open MPI) set. Call it before JAX uses a device; it does nothing for a single
  process.

  Raises:
    ValueError: when the variables contradict one another.
  """
  arguments = from_environment(os.environ)
  if arguments is None:
    return
  try:
    jax.distributed.initialize(
      **arguments,
      initialization_timeout=_START,
      heartbeat_timeout_seconds=_HEARTBEAT,
    )
  except RuntimeError as error:
    raise ValueError(
      f"the processes of this run did not find one another: {error}"
    ) from error


def from_environment(variables: Mapping[str, str]) -> dict[str, Any] | None:
  """Arguments of `jax.distributed.initialize`, None for a single process.

  Raises:
    ValueError: names the variable that is missing or wrong.
  """
  given = [name for name in (COORDINATOR, COUNT, INDEX) if variables.get(name)]
  if COUNT in given:
    return _from_plain(variables)
  if given:
    raise ValueError(
      f"{COUNT} is not set; expected the number of processes, as {given[0]} is "
      "set."
    )
  for size, other in (
    ("SLURM_NTASKS", "SLURM_STEP_NODELIST"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
  ):
    if other in variables and variables.get(size, "1") != "1":
      return {}  # JAX knows how to read the rest.
  return None


def _from_plain(variables: Mapping[str, str]) -> dict[str, Any] | None:
  """`from_environment` where JAX_NUM_PROCESSES is set."""
  size = _whole(variables, COUNT, "a whole number from 1", low=1)
  if size == 1:
    return None
  for name in (COORDINATOR, INDEX):
    if not variables.get(name):
      raise ValueError(f"{name} is not set; expected it, as {COUNT} is {size}.")
  own = _whole(variables, INDEX, f"0 to {size - 1}", high=size - 1)
  address = variables[COORDINATOR]
  host, colon, port = address.rpartition(":")
  if not (host and colon and port.isdecimal()):
    raise ValueError(f"{COORDINATOR} is {address!r}; expected host:port.")
  return {
    "coordinator_address": address,
    "num_processes": size,
    "process_id": own,
  }


def leave(error: BaseException) -> None:
  """Ends this process at once after an error; returns after a regular end.

  The other processes may wait for this one in the middle of a step. So that
  they notice that it is gone, JAX's shutdown, which would wait for them, is
  left out. An error that ends all processes, such as a refused configuration,
  is printed by each of them.

  Args:
    error: what ended the program. SystemExit without a code is a regular end,
      and so is SystemExit with the code of a signal, which stops all processes.
  """
  if isinstance(error, SystemExit) and (
    not error.code or (isinstance(error.code, int) and error.code > 128)
  ):
    return
  text = str(error.code if isinstance(error, SystemExit) else error)
  lost = _lost_the_others(error, text)
  if lost:
    message = (
      f"error: process {index()} of {count()} lost the others: one of them "
      "ended or can't be reached. Its own output says why. Start all of them "
      "again with the same command: the run goes on after its last checkpoint. "
      f"({' '.join(text.split())[:200]})"
    )
  elif isinstance(error, SystemExit):
    message = text
  else:
    message = "".join(traceback.format_exception(error))
  print(message, file=sys.stderr, flush=True)
  sys.stdout.flush()
  try:
    if not lost:
      _wait_for_messages()
  finally:  # Even if Ctrl-C is pressed meanwhile.
    os._exit(1)


def _wait_for_messages() -> None:
  """Waits a few seconds until every process has printed why it ends.

  The first process ends last, because JAX aborts the others when it is gone.
  """
  from orbax.checkpoint import multihost  # Takes a second to import.

  try:
    multihost.sync_global_processes(
      "leave", timeout=_FAREWELL, processes=set(range(count()))
    )
  except jax.errors.JaxRuntimeError:  # The others compute, or are gone.
    return
  if is_first():
    time.sleep(1)


def _lost_the_others(error: BaseException, text: str) -> bool:
  """Whether an error and its text tell that a collective operation failed."""
  if "RESOURCE_EXHAUSTED" in text:  # This process ran out of memory.
    return False
  # When a result is fetched, JAX raises a ValueError, of which cli.run leaves
  # only the text.
  return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo " in text


def count() -> int:
  """Number of processes, even if the caller initialised jax.distributed."""
  return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
  """Number of this process, from 0."""
  # A single process need not start JAX's devices to know its number.
  return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
  """Whether this process is the one that writes files and prints."""
  return index() == 0


def barrier(name: str) -> None:
  """Waits until every process has called this."""
  if count() > 1:
    multihost_utils.sync_global_devices(name)


def total(number: int) -> int:
  """The sum of all processes' numbers; every process has to call this."""
  if count() == 1:
    return number
  return int(np.sum(multihost_utils.process_allgather(np.int32(number))))


def differing(text: str) -> list[int]:
  """The processes whose text is another one than that of the first.

  Every process has to call this.
  """
  if count() == 1:
    return []
  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
  every = multihost_utils.process_allgather(digest)
  return np.flatnonzero((every != every[0]).any(axis=1)).tolist()


def _whole(
  variables: Mapping[str, str],
  name: str,
  allowed: str,
  *,
  low: int = 0,
  high: float = math.inf,
) -> int:
  text = variables[name]
  if not text.isdecimal() or not low <= int(text) <= high:
    raise ValueError(f"{name} is {text!r}; expected {allowed}.")
  return int(text)
