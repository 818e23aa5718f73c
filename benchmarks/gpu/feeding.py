"""Part d: from JPEG files to the device, resized here or there."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import step_time
from benchmarks.gpu import timing
from benchmarks.gpu.rows import Row
from benchmarks.gpu.setup import Setup
from blt_jax.data import device_resize
from blt_jax.method.train_step import Batch
from blt_jax.training import devices
from blt_jax.training.run import Run
from blt_jax.training.stages import plan_epoch

_PLACES = ("host", "device")
# Steps that the host runs ahead of the device, as in training.
_AHEAD = 2


def rows(given: Setup) -> Iterator[Row]:
  """What each piece takes, then whole epochs, each with both resizings."""
  settings = {
    "backbone": given.backbone,
    "arithmetic": "bfloat16",
    "batch": given.batch,
    "image_size": given.size,
    "repeats": given.repeats,
    "decoder": "TensorFlow" if find_spec("tensorflow") else "Pillow",
  }
  for where in _PLACES:
    measure = functools.partial(_measure_pieces, given, where)
    resized = settings | {"resized_on": where}
    yield Row("d", f"pieces-{where}", resized, measure)
  measure = functools.partial(_measure_epochs, given)
  yield Row("d", "epochs", settings, measure)


def _run(given: Setup, where: str) -> Run:
  fields: dict[str, Any] = {"dataset.resize_on": where}
  return given.run(given.config("bfloat16", **fields))


def _plan(run: Run) -> Any:
  """A plan of plain steps."""
  (stage, *_) = run.stages
  return plan_epoch(run.config, stage, 1, labels=run.dataset.train.labels)


def _measure_pieces(given: Setup, where: str) -> dict[str, Any]:
  """Reading a batch, its way to the device, resizing it there."""
  run = _run(given, where)
  plan, count = _plan(run), min(given.repeats, 8)
  with contextlib.closing(run.feeder.training(plan)) as read:
    next(read)
    start = time.perf_counter()
    fed = list(itertools.islice(read, count))
    reading = (time.perf_counter() - start) / len(fed)
  images = fed[-1].batch.image
  device = run.devices[0]

  def transfer() -> None:
    jax.block_until_ready(jax.device_put(images, device))

  programs: dict[str, Callable[[], Any]] = {"transfer": transfer}
  if where == "device":
    crops = jax.device_put(jax.tree.map(lambda x: x[0], images), device)
    resize = functools.partial(
      device_resize.resize_crops, size=run.config.dataset.image_size
    )
    programs["resize"], _ = timing.compiled(resize, *crops)
  return {
    "reading_seconds": reading,
    "bytes": sum(array.nbytes for array in jax.tree.leaves(images)),
    "programs": timing.take_turns(programs, repeats=given.repeats),
  }


def _measure_epochs(given: Setup) -> dict[str, Any]:
  """Plain steps that are fed from files, in turns; seconds are of a step.

  With "resident" behind it, all steps have the same batch, which lies on the
  device already.
  """
  loops: dict[str, Callable[[], float]] = {}
  for where in _PLACES:
    run = _run(given, where)
    state = step_time.starting_state(run, None)
    stage, *_ = run.stages
    (batch,), _ = step_time.read(run, dataclasses.replace(stage, capacity=0), 1)
    train_fn: Any = run.train_fn(stage, 1)
    step = train_fn.lower(state, batch).compile()
    feeds = {
      f"{where}, resident": functools.partial(_repeated, batch),
      where: functools.partial(_fed, run),
      f"{where}, prefetched": functools.partial(_prefetched, run),
    }
    for name, feed in feeds.items():
      loops[name] = functools.partial(
        _epoch, step, state, feed, steps=given.repeats
      )
  seconds: dict[str, list[float]] = {name: [] for name in loops}
  for number in range(4):
    for name, loop in loops.items():
      taken = loop()
      if number:  # The first one warms up.
        seconds[name].append(taken)
  return {
    "programs": {name: timing.summary(each) for name, each in seconds.items()}
  }


def _epoch(step: Callable, state: Any, feed: Callable, *, steps: int) -> float:
  """Seconds of a step, from the end of a first one on."""
  state = jax.tree.map(jnp.copy, state)  # The steps consume it.
  under_way: collections.deque = collections.deque()
  with contextlib.closing(feed()) as batches:
    state, metrics = step(state, next(batches))
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for batch in itertools.islice(batches, steps):
      state, metrics = step(state, batch)
      under_way.append(metrics)
      if len(under_way) > _AHEAD:
        jax.device_get(under_way.popleft())
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / steps


def _repeated(batch: Batch) -> Generator[Batch]:
  while True:
    yield batch


def _fed(run: Run) -> Generator[Batch]:
  """The batches of an epoch, as the host has them."""
  with contextlib.closing(run.feeder.training(_plan(run))) as read:
    for fed in read:
      yield fed.batch


def _prefetched(run: Run) -> Generator[Batch]:
  """The same, sent to the device one ahead, as in training."""
  put = functools.partial(devices.put, config=run.config)
  with contextlib.closing(_fed(run)) as batches:
    yield from devices.ahead(batches, put)
