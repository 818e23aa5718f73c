"""Part g: the small CIFAR-10-LT with and without BLT, trained in memory."""

import collections
import contextlib
import copy
import functools
import io
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.gpu.pack import PARTS
from benchmarks.gpu.rows import LeftOutError, Row
from benchmarks.gpu.setup import ARITHMETIC, Setup
from blt_jax.config import check_config, follow, with_values
from blt_jax.data.dataset import Dataset, Split
from blt_jax.method.train_step import TrainState
from blt_jax.training import build, devices
from blt_jax.training.resume import begin_anew
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage, plan_epoch
from configs import cifar10_lt

METHODS = ("neither", "blt")

# Steps that the host runs ahead of the device, as in training.
_AHEAD = 2


def rows(given: Setup) -> Iterator[Row]:
  """A row for each seed and kind of arithmetic: both methods, one stage 1."""
  if given.cifar is None and not given.tiny:
    raise LeftOutError(
      "there is no --cifar=FILE; expected what `python -m benchmarks.gpu.pack "
      "--root=DIR --output=FILE` writes where CIFAR-10 is."
    )
  kinds = ("default", "bfloat16")
  for seed, arithmetic in itertools.product(
    range(1 if given.tiny else 3), kinds[1:] if given.tiny else kinds
  ):
    settings = {
      "arithmetic": arithmetic,
      "seed": seed,
      "tiny": given.tiny,
      "cifar": given.cifar.stat().st_size if given.cifar else 0,
    }
    measure = functools.partial(_measure, given, arithmetic, seed)
    yield Row("g", f"{arithmetic}-seed{seed}", settings, measure)


def _measure(given: Setup, arithmetic: str, seed: int) -> dict[str, Any]:
  """Trains stage 1 once and stage 2 with each method; tests the last epoch."""
  found: dict[str, Any] = {}
  base = _seeded(_run(given, arithmetic, METHODS[0]), seed)
  state = build.init_state(base.config, base.model, base.dataset.num_classes)
  end, found["stage1"] = _train(base, base.stages[0], state)
  for method in METHODS:
    run = _seeded(_run(given, arithmetic, method), seed)
    # The steps consume the state that they get.
    state = jax.tree.map(jnp.copy, end)
    state, found[method] = _train(run, run.stages[1], state)
    tested = run.evaluate(state, "test", stage=2)
    found[method]["test"] = run.summary(tested)
  found["test_images"] = len(base.dataset.test)
  return found


@functools.cache
def _run(given: Setup, arithmetic: str, method: str) -> Run:
  """A run whose programs all seeds share."""
  config = check_config(cifar10_lt.get_config(f"method={method}"))
  values: dict[str, Any] = {
    "num_devices": 1,
    **ARITHMETIC[arithmetic],
  }
  if given.tiny:
    values |= {"stage1.epochs": 1, "stage2.epochs": 2}
    values |= {"dataset.image_size": 8, "dataset.resize_size": 8}
    values |= {"stage1.batch_size": 32, "stage2.batch_size": 32}
  config = follow(with_values(config, values))
  return Run(config, dataset=_dataset(given))


def _seeded(run: Run, seed: int) -> Run:
  """The same programs and images under another seed."""
  other = copy.copy(run)
  other.config = with_values(run.config, {"seed": seed})
  return other


def _train(
  run: Run, stage: Stage, state: TrainState
) -> tuple[TrainState, dict[str, Any]]:
  """All epochs of a stage; validates where a later epoch needs the matrix."""
  state = begin_anew(run, state, stage)
  sums: collections.Counter[str] = collections.Counter()
  seconds = []
  for epoch in range(1, stage.epochs + 1):
    start = time.perf_counter()
    state, metrics = _epoch(run, stage, epoch, state)
    seconds.append(time.perf_counter() - start)
    sums.update(metrics)
    if stage.capacity or epoch == stage.epochs:
      found = run.evaluate(state, "validation", stage=stage.number)
      confusion = devices.place(found.confusion, run.config)
      state = state.replace(confusion=confusion)
  images = sums["hallucinated"]
  return state, {
    "epoch_seconds": float(np.median(seconds)),
    "seconds": sum(seconds),
    "loss": metrics["loss"] / metrics["weight"],
    "updates": sums["updates"] / max(images, 1),
    "reached": sums["reached"] / max(images, 1),
  }


def _epoch(
  run: Run, stage: Stage, epoch: int, state: TrainState
) -> tuple[TrainState, dict[str, float]]:
  """(the state after an epoch, the sums of its metrics)."""
  plan = plan_epoch(run.config, stage, epoch, labels=run.dataset.train.labels)
  step = run.train_fn(stage, epoch)
  sums: collections.Counter[str] = collections.Counter()
  under_way: collections.deque = collections.deque()

  def settle(most: int) -> None:
    while len(under_way) > most:
      done = jax.device_get(under_way.popleft())
      sums.update({name: float(value) for name, value in done.items()})

  with contextlib.closing(run.feeder.training(plan)) as batches:
    put = functools.partial(devices.put, config=run.config)
    for batch in devices.ahead((fed.batch for fed in batches), put):
      state, metrics = step(state, batch)
      under_way.append(metrics)
      settle(_AHEAD)
  settle(0)
  if not np.isfinite(sums["loss"]):
    raise FloatingPointError(f"the loss of epoch {epoch} is {sums['loss']}")
  return state, dict(sums)


@functools.cache
def _dataset(given: Setup) -> Dataset:
  """The images of --cifar, or in small some of noise."""
  if given.cifar is None:
    return _noise()
  with np.load(given.cifar) as packed:
    train, validation, test = (
      Split(packed[f"{part}_label"], images=_decoded(packed, part))
      for part in PARTS
    )
    names = tuple(packed["class_names"].tolist())
  return Dataset("cifar10", names, train, validation, test)


def _decoded(packed: Any, part: str) -> np.ndarray:
  """uint8 [n, 32, 32, 3] of the JPEGs of a part."""
  content, lengths = packed[f"{part}_bytes"].tobytes(), packed[f"{part}_length"]
  ends = np.cumsum(lengths)
  return np.stack(
    [
      np.asarray(Image.open(io.BytesIO(content[end - length : end])))
      for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
  )


def _noise() -> Dataset:
  """Four classes of noise around a grey each, the last two of which are few."""
  rng = np.random.default_rng(0)

  def split(counts: tuple[int, ...]) -> Split:
    labels = np.repeat(np.arange(4), counts)
    noise = rng.integers(0, 120, (len(labels), 8, 8, 3))
    return Split(
      labels, images=(noise + 30 * labels[:, None, None, None]).astype(np.uint8)
    )

  few = split((8,) * 4)
  return Dataset(
    "cifar10", ("a", "b", "c", "d"), split((120, 60, 20, 16)), few, few
  )
