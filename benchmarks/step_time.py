r"""How long a training step takes with BLT and without, phase by phase.

    .venv/bin/python -m benchmarks.step_time --workdir=RUN
    .venv/bin/python -m benchmarks.step_time \
        --config=configs/imagenet_lt.py:backbone=resnet10,batch=256 \
        --config.model.dtype=bfloat16 --json=FILE

runs the steps that training runs, on the batches that training reads, and
always begins with the same weights. Four programs take turns:

    plain     a step on the real images alone
    unchanged a BLT step whose ascent makes no update: it reads, augments and
              trains on the images in the slots, too
    BLT       the whole step
    evaluate  a batch in inference mode

so that the ascent takes the third minus the second. Beside the ratio BLT /
plain stands the limit that the arithmetic sets:

    1 + n (2 k + 1 + 3) / (3 B)

for n hallucinated images a batch of B and k updates of each on average.

With --workdir weights, confusion matrix and images are those of a trained run
(its best epoch), and k is realistic. With --config alone no data set is needed:
the network is not trained, the confusion matrix is made up, and the images are
some JPEG files of noise under the class counts of ImageNet-LT, Places-LT or
iNaturalist, or of the small CIFAR-10-LT of docs/results.md. Both together
measure the run's weights under another configuration.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from benchmarks import noise_images
from blt_jax.config import check_config, follow, with_values
from blt_jax.method.train_step import Batch, TrainState
from blt_jax.training import build, devices, evaluation
from blt_jax.training.run import Run
from blt_jax.training.stages import Stage, plan_epoch
from blt_jax.workdir import directory

# Keep TensorFlow, where it reads images, from printing how it computes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

NAMES = ("plain", "unchanged", "BLT")
KINDS = (*NAMES, "evaluate")
Report = dict[str, Any]
_Item = TypeVar("_Item")

# A made-up confusion matrix takes each class for so many others.
_CONFUSED_WITH = 3


def define_flags() -> None:
  """Defines the flags; not on import, as main.py has some of the same names."""
  config_flags.DEFINE_config_file("config", None, "As of main.py.")
  flags.DEFINE_string("workdir", "", "A trained run to measure.")
  flags.DEFINE_integer("steps", 16, "Timed steps of each kind.")
  flags.DEFINE_integer("batches", 8, "Different batches, at most.")
  flags.DEFINE_string("json", "", "File for the numbers.")


def main(_: list[str]) -> None:
  """Measures as the flags say."""
  logging.set_verbosity(logging.ERROR)  # Orbax reports every step of a restore.
  given = flags.FLAGS
  workdir = pathlib.Path(given.workdir) if given.workdir else None
  config = given.config
  if config:
    config = follow(check_config(config))
  elif workdir:
    config = directory.read_config(workdir)
  else:
    raise app.UsageError("expected --config=FILE or --workdir=RUN.")
  with tempfile.TemporaryDirectory() as folder:
    dataset = (
      None
      if workdir
      else noise_images.long_tailed(config, pathlib.Path(folder))
    )
    run = Run(config, dataset=dataset)
    report = measure(run, workdir, steps=given.steps, most=given.batches)
  print(table(report))
  report["arguments"] = sys.argv[1:]
  if given.json:
    pathlib.Path(given.json).write_text(json.dumps(report, indent=2) + "\n")


def measure(
  run: Run,
  workdir: pathlib.Path | None,
  *,
  steps: int,
  most: int,
  kinds: Sequence[str] = KINDS,
) -> Report:
  """Times the steps in turn, each from the same state.

  Args:
    run: what is to be measured; its last stage has to hallucinate.
    workdir: of the run whose weights are taken, None for fresh ones.
    steps: timed steps of each kind, 1 or more; one of each comes before them.
    most: different batches, 1 or more.
    kinds: which of KINDS are timed; the ratio needs "plain" and "BLT".

  Returns:
    The report as it is written to JSON, in seconds.

  Raises:
    ValueError: when no stage hallucinates.
  """
  stage = run.stages[-1]
  if not stage.capacity:
    raise ValueError(
      f"config.method is {run.config.method!r}; expected one whose last stage "
      "hallucinates."
    )
  state = starting_state(run, workdir)
  programs, batches, report = _programs(run, stage, state, most, kinds)
  seconds: dict[str, list[float]] = {name: [] for name in programs}
  sums: list[dict[str, float]] = []
  for number in range(-1, steps):
    for name, program in programs.items():
      row = number % len(batches[name])
      fresh = _copy(state, row, run.config)
      start = time.perf_counter()
      _, metrics = jax.block_until_ready(program(fresh, batches[name][row]))
      taken = time.perf_counter() - start
      if number >= 0:
        seconds[name].append(taken)
        if name == "BLT":
          sums.append({k: float(v) for k, v in metrics.items()})
  for name, each in seconds.items():
    low, median, high = np.percentile(each, (25, 50, 75)).tolist()
    report[name] |= {"seconds": median, "quartiles": [low, high]}
  report["trained"] = workdir is not None
  if "plain" in kinds and "BLT" in kinds:
    report |= _compare(seconds, sums, stage)
  return report | _settings(run, stage)


def starting_state(run: Run, workdir: pathlib.Path | None) -> TrainState:
  """A run's best epoch, or fresh weights and a made-up confusion matrix."""
  classes = run.dataset.num_classes
  state = build.init_state(run.config, run.model, classes)
  if workdir:
    from blt_jax.workdir.checkpoint import read_epoch

    arrays, _ = read_epoch(workdir, state.arrays(), checkpoint="best")
    state = build.restored(run.config, state, arrays)
  else:
    each = np.arange(classes)
    confusion = np.zeros((classes, classes), np.int32)
    for shift in range(1, min(_CONFUSED_WITH, classes - 1) + 1):
      confusion[each, (each + shift) % classes] = shift
    state = state.replace(confusion=jnp.asarray(confusion))
  return devices.place(state, run.config)


def _programs(
  run: Run, stage: Stage, state: TrainState, most: int, chosen: Sequence[str]
) -> tuple[dict[str, Callable], dict[str, list], Report]:
  """(compiled programs, their batches, what compiling and reading took)."""
  epoch = run.config.perturb.start_epoch
  kept = with_values(run.config, {"perturb.max_steps": 0})
  slotless = dataclasses.replace(stage, capacity=0)
  slots, reading = read(run, stage, most)
  plain, _ = read(run, slotless, most)
  kinds = {
    "plain": (run.train_fn(slotless, epoch), plain),
    "unchanged": (Run(kept, dataset=run.dataset).train_fn(stage, epoch), slots),
    "BLT": (run.train_fn(stage, epoch), slots),
  }
  report: Report = {"reading_seconds": reading}
  programs: dict[str, Callable] = {}
  batches: dict[str, list] = {}
  for name, (step, its) in kinds.items():
    if name in chosen:
      programs[name], report[name] = _compile(step, state, its[0])
      batches[name] = its
  if "evaluate" not in chosen:
    return programs, batches, report
  evaluated = list(itertools.islice(run.feeder.evaluation("validation"), 1))
  eval_fn = evaluation.build_eval_step(run.config)
  programs["evaluate"] = lambda state, batch: (state, eval_fn(state, batch))
  batches["evaluate"], report["evaluate"] = evaluated, {}
  return programs, batches, report


def _compile(step, state: TrainState, batch) -> tuple[Callable, Report]:
  """(program, seconds to compile it, bytes and FLOPs of a device)."""
  start = time.perf_counter()
  program = step.lower(state, batch).compile()
  seconds = time.perf_counter() - start
  memory, costs = program.memory_analysis(), program.cost_analysis() or {}
  # Results take the place of donated arguments; count these once.
  held = (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )
  flops = float(costs.get("flops", 0.0))
  return program, {"compile_seconds": seconds, "bytes": held, "flops": flops}


def read(run: Run, stage: Stage, most: int) -> tuple[list[Batch], float]:
  """(the first batches of an epoch, seconds to read each)."""
  epoch, labels = run.config.perturb.start_epoch, run.dataset.train.labels
  plan = plan_epoch(run.config, stage, epoch, labels=labels)
  _first(run.feeder.training(plan), 1)  # Small images are decoded here, once.
  start = time.perf_counter()
  batches = _first(run.feeder.training(plan), min(most, len(plan)))
  seconds = (time.perf_counter() - start) / len(batches)
  # They are there before the clock starts.
  placed = [devices.put(each.batch, run.config) for each in batches]
  return jax.block_until_ready(placed), seconds


def _first(batches: Generator[_Item], count: int) -> list[_Item]:
  """The first `count` items of a generator, which is closed afterwards."""
  with contextlib.closing(batches):
    return list(itertools.islice(batches, count))


def _copy(state: TrainState, row: int, config) -> TrainState:
  """A copy of the state for a step to consume; `row` gives its random keys."""
  step = devices.place(np.int32(int(state.step) + row), config)
  return jax.block_until_ready(jax.tree.map(jnp.copy, state.replace(step=step)))


def limit(
  hallucinated: float, updates: float, batch_size: int, *, training: int = 3
) -> float:
  """The ratio BLT / plain that the arithmetic alone allows.

      1 + n (2 k + 1 + t) / (t B)

  in units of one forward pass of one image: an image of a batch costs t, an
  update of the ascent 2 and its last check 1.

  Args:
    hallucinated: n, hallucinated images a batch.
    updates: k, updates of each on average.
    batch_size: B, real images a batch.
    training: t; 2 where the backbone's weights get no gradient.
  """
  each = 2 * updates + 1 + training
  return 1 + hallucinated * each / (training * batch_size)


def _compare(seconds, sums: list[dict[str, float]], stage: Stage) -> Report:
  """The ratio of the steps beside its limit."""
  hallucinated = sum(one["hallucinated"] for one in sums)
  updates = sum(one["updates"] for one in sums) / max(hallucinated, 1.0)
  each = hallucinated / len(sums)
  # Steps that follow one another: a machine's slower minutes cancel out.
  pairs = zip(seconds["BLT"], seconds["plain"], strict=True)
  ratio = statistics.median(blt / plain for blt, plain in pairs)
  bound = limit(each, updates, stage.batch_size)
  return {
    "hallucinated": each,
    "updates": updates,
    "ratio": ratio,
    "limit": bound,
    "ratio_over_limit": ratio / bound,
  }


def _settings(run: Run, stage: Stage) -> Report:
  """What was measured, and on what."""
  config, device = run.config, run.devices[0]
  return {
    "dataset": config.dataset.name,
    "classes": run.dataset.num_classes,
    "images": int(run.class_counts.sum()),
    "backbone": config.model.backbone,
    "dtype": config.model.dtype,
    "image_size": config.dataset.image_size,
    "batch_size": stage.batch_size,
    "slots": stage.capacity,
    "devices": len(run.devices),
    "device": device.device_kind,
    "host": platform.processor() or platform.machine(),
    "jax": jax.__version__,
    "date": time.strftime("%Y-%m-%d"),
  }


def table(report: Report) -> str:
  """The report as a person reads it."""
  plain, unchanged, blt = (report[name]["seconds"] for name in NAMES)
  rate = report["plain"]["flops"] * report["devices"] / plain / 1e9
  lines = [
    "{backbone}, {dtype}, {image_size} pixels, batch {batch_size}, {dataset}: "
    "{images} images in {classes} classes".format(**report),
    "{devices} x {device} ({host}), jax {jax}, {date}".format(**report),
    "",
    "| step | ms a batch (quartiles) | compile s | MB | GFLOP |",
    "|---|---|---|---|---|",
    *(_row(name, report[name]) for name in (*NAMES, "evaluate")),
    "",
    "BLT / plain {ratio:.3f} (median of pairs), limit {limit:.3f}, ratio / "
    "limit {ratio_over_limit:.3f}".format(**report),
    "{hallucinated:.2f} hallucinated images a batch in {slots} slots, "
    "{updates:.2f} updates each".format(**report),
    f"of a BLT step: {plain / blt:.0%} as in a plain step, "
    f"{(unchanged - plain) / blt:.0%} preparing and training on the images in "
    f"the slots, {(blt - unchanged) / blt:.0%} ascent",
    f"reading a batch {1000 * report['reading_seconds']:.1f} ms, while the "
    f"devices work; plain step {rate:.1f} GFLOP/s",
  ]
  if not report["trained"]:
    lines.append(
      "The updates are NOT realistic: the network is not trained, its images "
      "are noise (--workdir takes a run)."
    )
  return "\n".join(lines)


def _row(name: str, timed: Report) -> str:
  low, high = (1000 * value for value in timed["quartiles"])
  compiled = "| | |"
  if "flops" in timed:
    compiled = (
      f"{timed['compile_seconds']:.1f} | {timed['bytes'] / 1e6:.0f} | "
      f"{timed['flops'] / 1e9:.1f} |"
    )
  return (
    f"| {name} | {1000 * timed['seconds']:.2f} ({low:.2f}-{high:.2f}) | "
    + compiled
  )


if __name__ == "__main__":
  define_flags()
  app.run(main)
