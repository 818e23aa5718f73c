"""Measures the compiled steps of a problem, and the device that they run on."""

import datetime
import operator
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step_problem
from benchmarks.step_problem import Problem
from blt_jax.data.input_pipeline import Crops
from blt_jax.method import hallucinate, rng, train_step
from blt_jax.system import processes
from blt_jax.training import build, feeder
from blt_jax.training import devices as mapping

NAMES = ("plain", "blt")
Report = dict[str, Any]


def measure(problem: Problem, *, steps: int, warmup: int) -> Report:
  """Times plain and BLT steps in turn; each begins with the problem's state.

  Args:
    problem: from `step_problem.make_problem`.
    steps: timed steps of each kind, 1 or more; batches come again when there
      are fewer.
    warmup: steps of each kind before them.

  Returns:
    The report as it is written to JSON; seconds, bytes and FLOPs.
  """
  batches = {name: list(placed(problem, name)) for name in NAMES}
  programs, report = {}, dict[str, Any]()
  for name in NAMES:
    programs[name], report[name] = compile_step(
      build.build_train_step(
        problem.config, problem.stage, problem.class_counts
      ),
      fresh_state(problem, 0),
      batches[name][0],
    )
  seconds: dict[str, list[float]] = {name: [] for name in NAMES}
  sums: list[dict[str, float]] = []
  losses: dict[str, list[float]] = {name: [] for name in NAMES}
  for number in range(-warmup, steps):
    for name in NAMES:
      row = number % len(problem.batches)
      state = fresh_state(problem, row)
      time_taken, metrics = _step(programs[name], state, batches[name][row])
      _note_peak(report[name], problem)
      if number >= 0:
        seconds[name].append(time_taken)
        losses[name].append(metrics["loss"] / metrics["weight"])
        if name == "blt":
          sums.append(metrics)
  for name in NAMES:
    report[name] |= times(problem, seconds[name])
    report[name]["loss"] = losses[name][0]
  report["blt"] |= _ascents(problem, batches["blt"], sums)
  report["evaluation"] = _evaluation(problem, batches["plain"][0], steps)
  return _with_rates(problem, report, seconds)


def _evaluation(problem: Problem, batch, steps: int) -> Report:
  """Times the evaluation of a batch, and a forward pass in training mode."""
  config = problem.config
  preprocess_fn = build.build_preprocess(config)

  def forward(state: train_step.TrainState, batch: train_step.EvalBatch):
    number = len(batch.label)
    rngs = jax.random.split(state.rng, number)
    logits, _ = state.apply_fn(
      state.variables,
      preprocess_fn(rngs, batch.image),
      train=True,
      mask=jnp.ones(number, bool),
      image_rngs=rngs,
      mutable=["batch_stats"],
    )
    return jax.lax.psum(logits.sum(), mapping.AXIS)

  # Evaluation images come resized.
  size = config.dataset.image_size
  images = batch.image
  if isinstance(images, Crops):
    images = images.pixels[:, :, :size, :size]
  masked = train_step.EvalBatch(images, batch.label, batch.label >= 0)
  state = fresh_state(problem, 0)
  report = {}
  for name, step in (
    ("seconds", build.build_eval_step(config)),
    ("forward_seconds", mapping.over_devices(forward, config)),
  ):
    taken = []
    for _ in range(steps + 1):
      start = time.perf_counter()
      jax.block_until_ready(step(state, masked))
      taken.append(time.perf_counter() - start)
    report[name] = statistics.median(taken[1:])
  return report


def limit(hallucinated: float, updates: float, batch_size: int) -> float:
  """The ratio BLT / plain that the arithmetic alone allows.

      1 + n (2 k + 1 + 3) / (3 B)

  in units of one forward pass of one image: an image of a batch costs 3, an
  update of the ascent 2 and its last check 1.

  Args:
    hallucinated: n, hallucinated images a batch.
    updates: k, updates of each on average.
    batch_size: B, real images a batch.
  """
  return 1 + hallucinated * (2 * updates + 1 + 3) / (3 * batch_size)


def compile_step(train_fn, state, batch) -> tuple[Callable, Report]:
  """(compiled program, what compiling it says and takes)."""
  start = time.perf_counter()
  program = train_fn.lower(state, batch).compile()
  seconds = time.perf_counter() - start
  memory = program.memory_analysis()
  costs: Any = program.cost_analysis()
  report = {"compile_seconds": seconds}
  # A device counts for itself; what is donated is not there twice.
  report["program_bytes"] = (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )
  report["program_flops"] = float(costs.get("flops", 0.0))
  # A program that is compiled ahead does not take one process's share.
  return (program if processes.count() == 1 else train_fn), report


def fresh_state(problem: Problem, row: int) -> train_step.TrainState:
  """A copy of the problem's state that a step may take over.

  Only its number differs, so that each row of the batches has draws of its own.
  """
  step = mapping.place(np.int32(int(problem.state.step) + row), problem.config)
  copy = jax.tree.map(jnp.copy, problem.state.replace(step=step))
  return jax.block_until_ready(copy)


def times(problem: Problem, seconds: list[float]) -> Report:
  """Seconds a batch, an image and an epoch."""
  low, median, high = np.percentile(seconds, (25, 50, 75)).tolist()
  stage = problem.stage
  return {
    "seconds": median,
    "quartiles": [low, high],
    "seconds_an_image": median / stage.batch_size,
    "seconds_an_epoch": median * stage.steps,
    "all_seconds": seconds,
  }


def count_updates(problem: Problem, batches: list[Any]) -> list[np.ndarray]:
  """Updates of each used slot, with the draws that the step makes.

  Args:
    problem: the problem.
    batches: of the problem in order, on the devices, with slots.

  Returns:
    int32 [used slots] for each batch, in no order.
  """
  count_fn, counts = _counter(problem), []
  for row, batch in enumerate(batches):
    made = count_fn(fresh_state(problem, row), batch)
    updates, weight = jax.device_get(made)
    counts.append(updates[weight > 0])
  return counts


def machine(problem: Problem) -> Report:
  """Where and when something was measured."""
  device = mapping.devices_of(problem.config)[0]
  return {
    "host": platform.machine(),
    "processor": _processor(),
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "device": device.device_kind,
    "platform": device.platform,
    "devices": len(mapping.devices_of(problem.config)),
    "processes": processes.count(),
    "jax": jax.__version__,
    "python": platform.python_version(),
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def matmul_rate(dtype: str, device: jax.Device) -> float:
  """FLOP/s of a large square matrix product, default precision, median of 5."""
  size = 2048 if device.platform == "cpu" else 8192
  matrix = jnp.full((size, size), 0.5, dtype, device=device)
  multiply = jax.jit(jnp.matmul)
  jax.block_until_ready(multiply(matrix, matrix))
  seconds = []
  for _ in range(5):
    start = time.perf_counter()
    jax.block_until_ready(multiply(matrix, matrix))
    seconds.append(time.perf_counter() - start)
  return 2 * size**3 / statistics.median(seconds)


def placed(problem: Problem, name: str) -> Iterator[Any]:
  """The batches on the devices, with or without slots."""
  config = problem.config
  for batch in problem.batches:
    host = batch if name == "blt" else step_problem.without_slots(batch)
    host = step_problem.on_canvases(host, feeder.canvas(config))
    dealt = mapping.deal(host, len(mapping.devices_of(config)))
    count = len(mapping.local_devices_of(config))
    own = slice(processes.index() * count, (processes.index() + 1) * count)
    yield _place(jax.tree.map(operator.itemgetter(own), dealt), config)


def _place(batch, config):
  """Gives each device its part of the leading axis."""
  mesh = jax.sharding.Mesh(
    np.array(mapping.local_devices_of(config)), (mapping.AXIS,)
  )
  by_device = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(mapping.AXIS)
  )
  return jax.block_until_ready(jax.device_put(batch, by_device))


def _step(program, state, batch) -> tuple[float, dict[str, float]]:
  """(seconds of a step, its metrics)."""
  start = time.perf_counter()
  _, metrics = jax.block_until_ready(program(state, batch))
  seconds = time.perf_counter() - start
  return seconds, {k: float(v) for k, v in jax.device_get(metrics).items()}


def _note_peak(report: Report, problem: Problem) -> None:
  """The device's own account of its memory, where it keeps one.

  It covers the process so far. The first BLT step comes after the first plain
  step, so only the plain one's first value is its own.
  """
  stats = mapping.local_devices_of(problem.config)[0].memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    report.setdefault("device_peak_bytes", stats["peak_bytes_in_use"])


def _ascents(problem: Problem, batches, sums: list[dict[str, float]]) -> Report:
  """What the ascents of the timed steps came to."""
  hallucinated = sum(one["hallucinated"] for one in sums)
  updates = sum(one["updates"] for one in sums)
  rows = min(len(sums), len(batches))
  each = count_updates(problem, batches[:rows])
  counted = sum(float(one.sum()) for one in each)
  stepped = sum(one["updates"] for one in sums[:rows])
  return {
    "hallucinated": hallucinated / len(sums),
    "capacity": problem.stage.capacity,
    "updates": updates / max(hallucinated, 1.0),
    "largest_updates": float(np.mean([one.max(initial=0) for one in each])),
    # Both programs draw alike; another order of additions may tip a check.
    "counted_over_stepped": counted / max(stepped, 1.0),
  }


def _counter(problem: Problem) -> Callable:
  """(state, batch) -> (updates int32 [H], weights float32 [H]), compiled."""
  config = problem.config
  make = (
    hallucinate.reuse
    if config.perturb.static
    else build.build_hallucinate(config)
  )

  def count(state: train_step.TrainState, batch: train_step.Batch):
    assert batch.sources is not None
    slots = rng.slot_numbers(len(batch.sources.label), mapping.AXIS)
    rngs = rng.step_keys(state.rng, state.step, rng.Stream.SLOTS, slots)
    made = make(rngs, state.logits, state.confusion, batch.sources)
    outputs = (made.num_updates, made.weight)
    return jax.lax.all_gather(outputs, mapping.AXIS, tiled=True)

  return mapping.over_devices(count, config)


def _with_rates(problem: Problem, report: Report, seconds) -> Report:
  """Adds what compares the two steps with one another and with the device."""
  plain, blt = report["plain"], report["blt"]
  bound = limit(blt["hallucinated"], blt["updates"], problem.stage.batch_size)
  pairs = zip(seconds["blt"], seconds["plain"], strict=True)
  devices = mapping.devices_of(problem.config)
  flops = plain["program_flops"] * len(devices)
  local = mapping.local_devices_of(problem.config)[0]
  rate = matmul_rate(problem.config.model.dtype, local)
  ratio = blt["seconds"] / plain["seconds"]
  report |= {
    "ratio": ratio,
    "paired_ratio": statistics.median(a / b for a, b in pairs),
    "limit": bound,
    "ratio_over_limit": ratio / bound,
    "plain_flops": flops,
    "plain_flops_a_second": flops / plain["seconds"],
    "matmul_flops_a_second": rate,
    "share_of_matmul": flops / plain["seconds"] / rate,
    "machine": machine(problem),
    "settings": settings(problem),
  }
  return report


def settings(problem: Problem) -> Report:
  """What was measured."""
  config, stage = problem.config, problem.stage
  return {
    "dataset": config.dataset.name,
    "classes": len(problem.class_counts),
    "images": int(problem.class_counts.sum()),
    "backbone": config.model.backbone,
    "dtype": config.model.dtype,
    "image_size": config.dataset.image_size,
    "batch_size": stage.batch_size,
    "steps_an_epoch": stage.steps,
    "p": config.perturb.p,
    "gamma": stage.gamma,
    "momentum": config.perturb.momentum,
    "max_steps": config.perturb.max_steps,
    "augment": bool(config.dataset.flip),
    "canvas": feeder.canvas(config),
    "trained": problem.trained,
    "batches": len(problem.batches),
  }


def _processor() -> str:
  """The processor's name where the system tells it."""
  try:
    with open("/proc/cpuinfo") as file:
      for line in file:
        if line.startswith("model name"):
          return line.partition(":")[2].strip()
  except OSError:
    pass
  return platform.processor()
