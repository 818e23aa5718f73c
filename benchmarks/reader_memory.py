r"""How fast training batches come when small images are decoded only once.

    .venv/bin/python -m benchmarks.reader_memory \
        --config=configs/cifar10_lt.py --config.dataset.source=image_list \
        --config.dataset.root=DIR --config.dataset.train_list=train.txt \
        --config.dataset.test_list=test.txt \
        --config.dataset.max_per_class=1000 \
        --config.dataset.validation_per_class=50

iterates `Feeder.training` over an epoch of the last stage, for one device and
with nothing else to do: once with the images read from their files each time,
once with the images in memory (`small_images.in_memory`), in turn. It prints
for both the milliseconds between two batches, medians of an epoch's batches and
of the epochs, and the ratio. An epoch before that compares the two, byte by
byte; a difference is an error.
"""

import json
import os
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

# TensorFlow only reads images here, as in main.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from blt_jax.data import sampling
from blt_jax.data.dataset import Dataset
from blt_jax.data.reading import cache
from blt_jax.training import build, choose
from blt_jax.training.feeder import Feeder, HostBatch
from blt_jax.training.stages import build_stages

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "configs/NAME.py, as main.py takes it."
)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Timed epochs of each kind.")
_JSON = flags.DEFINE_string("json", None, "File for the numbers.")

KINDS = ("files", "memory")

Report = dict[str, Any]


def main(_: list[str]) -> None:
  """Compares, measures and prints."""
  if _CONFIG.value is None:
    raise ValueError("--config=configs/NAME.py is missing.")
  config = choose.resolve(_CONFIG.value, devices=1).config
  report = measure(config, epochs=_EPOCHS.value)
  print(table(report))
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(report, indent=2) + "\n")


def measure(config: ml_collections.ConfigDict, *, epochs: int) -> Report:
  """Times both kinds on the same epochs, after a comparison of one.

  Args:
    config: of a data set in files, with images small enough for memory.
    epochs: 1 or more.

  Returns:
    Milliseconds between two batches of each kind by epoch, and what was read.

  Raises:
    ValueError: if the images don't go into memory, or if the two differ.
  """
  dataset = build.build_dataset(config)
  feeders = {kind: _feeder(config, dataset, kind) for kind in KINDS}
  stage = build_stages(config, dataset.class_counts, devices=1)[-1]
  first = config.perturb.start_epoch
  plans = [
    feeders["files"].plan(stage, first + number) for number in range(epochs + 1)
  ]
  report: Report = {
    "images": len(dataset.train),
    "batch_size": stage.batch_size,
    "slots": stage.capacity,
    "batches": len(plans[0]),
    "cores": len(os.sched_getaffinity(0)),
    "bytes_compared": _compare(
      *(feeders[kind].training(plans[0]) for kind in KINDS)
    ),
  }
  milliseconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
  for plan in plans[1:]:
    for kind in KINDS:
      milliseconds[kind].append(_milliseconds(feeders[kind], plan))
  medians = {k: statistics.median(v) for k, v in milliseconds.items()}
  return report | {
    "milliseconds": milliseconds,
    **medians,
    "ratio": medians["files"] / medians["memory"],
  }


def _feeder(config, dataset: Dataset, kind: str) -> Feeder:
  """A feeder that has chosen where it takes the images from."""
  if config.dataset.resize_on == "device":
    raise ValueError(
      "config.dataset.resize_on is device, which reads files in any case;"
      " expected auto or host."
    )
  if dataset.train.images is not None:
    raise ValueError(
      f"config.dataset.source is {config.dataset.source}, whose images are in"
      " memory in any case; expected one of files."
    )
  decoded = cache.in_memory(dataset.train, max_pixels=config.dataset.max_pixels)
  if decoded.images is None:
    raise ValueError(
      "the training images are too large or too many for memory, of several"
      " sizes, or one can't be read: all of them are read from files anyway."
    )
  feeder = Feeder(config, dataset, devices=1)
  stage = build_stages(config, dataset.class_counts, devices=1)[-1]
  most = cache.MOST_PIXELS
  if kind == "files":
    cache.MOST_PIXELS = 0
  try:
    next(feeder.training(feeder.plan(stage, 1)))  # It chooses here.
  finally:
    cache.MOST_PIXELS = most
  return feeder


def _compare(batches: Iterator[HostBatch], others: Iterator[HostBatch]) -> int:
  """Bytes of two epochs that are the same; an error if one is not."""
  total = 0
  for number, (batch, other) in enumerate(zip(batches, others, strict=True)):
    if batch.keys() != other.keys():
      raise ValueError(f"batch {number} holds {set(batch)} and {set(other)}.")
    for name, array in batch.items():
      if not _same(array, other[name]):
        raise ValueError(f"batch {number}: {name} is not the same.")
      total += array.nbytes
  return total


def _same(array: np.ndarray, other: np.ndarray) -> bool:
  return array.dtype == other.dtype and np.array_equal(array, other)


def _milliseconds(feeder: Feeder, plan: sampling.EpochPlan) -> float:
  """Median milliseconds that a batch of an epoch takes to come."""
  taken = []
  start = time.perf_counter()
  for _ in feeder.training(plan):
    now = time.perf_counter()
    taken.append(1000 * (now - start))
    start = now
  return statistics.median(taken)


def table(report: Report) -> str:
  """The report as a person reads it."""
  lines = [
    f"{report['images']} images, batch {report['batch_size']} and "
    f"{report['slots']} slots, {report['batches']} batches an epoch, "
    f"{report['cores']} cores; {report['bytes_compared']} bytes of an epoch "
    "are the same",
    "",
    "| images from | ms a batch (epochs) |",
    "|---|---|",
  ]
  for kind in KINDS:
    each = report["milliseconds"][kind]
    span = f"{min(each):.2f}-{max(each):.2f}"
    lines.append(f"| {kind} | {report[kind]:.2f} ({span}) |")
  return "\n".join([*lines, "", f"files / memory {report['ratio']:.2f}"])


if __name__ == "__main__":
  app.run(main)
