r"""How long large data sets take on 1 to 64 GPUs, reckoned from compiled steps.

    .venv/bin/python -m benchmarks.scale

needs no GPU, no images and no weights. It compiles the steps that training runs
for as many emulated devices, asks XLA how much arithmetic they need and which
collectives are in them, and reckons times with the rates below. The rates of
processors and networks are NOT measured: their makers state them, and which
share of a GPU's rate a network reaches is a guess until `benchmarks.gpu` has
run. The tables of docs/scale.md are what this prints.
"""

import functools
import itertools
import math
import os
import re
import resource
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app

DEVICES = (1, 8, 64)
BATCH_SIZE, IMAGE_SIZE, EPOCHS = 256, 224, 90

# FLOP/s of an H100 or H200 in TF32, dense (NVIDIA's data sheets state twice as
# much, for sparse matrices), and the share that a network is taken to reach.
PEAK, REACHED = 495e12, 0.3
# Bytes/s of a GPU in each direction: NVLink within a machine of 8 GPUs, and
# 400 Gbit/s between machines. Seconds that a collective takes at least.
NVLINK, NETWORK, LATENCY = 450e9, 50e9, 20e-6
GPUS_OF_MACHINE = 8
# Processor seconds to read and crop a photograph on the device's way
# (docs/input_pipeline.md), bytes of one, and processor cores beside a GPU.
READING, PHOTOGRAPH, CORES = 1.73e-3, 106e3, 16
# Updates of an image in the gradient ascent, on average: a guess between 4 and
# 10, which runs of docs/pretrained.md and docs/results.md have.
UPDATES = 7
# Bytes of memory that a process keeps for each image of a list
# (docs/input_pipeline.md, 1.13 GB for 3 million).
LISTED = 377

_BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "bf16": 2}


class Dataset(NamedTuple):
  """Training images of each class, int [C], and the network for them."""

  name: str
  counts: np.ndarray
  backbone: str


class Step(NamedTuple):
  """The BLT step of a data set, for some devices.

  Attributes:
    slots: slots for hallucinated images, over all devices.
    used: of them, on average.
    flops: of a plain step, over all devices.
    parameters: of the network.
    collectives: of a step, for 2 devices or more.
    sent: bytes that they add up, of each device.
  """

  slots: int
  used: float
  flops: float
  parameters: int
  collectives: int
  sent: int


class Seconds(NamedTuple):
  """What a step takes where nothing overlaps, and where reading does."""

  arithmetic: float
  network: float
  reading: float

  @property
  def step(self) -> float:
    """The host reads the next batch while the devices work."""
    return max(self.arithmetic + self.network, self.reading)

  @property
  def limit(self) -> str:
    """What takes longest."""
    return max(self._asdict(), key=lambda name: getattr(self, name))


def main(_: Sequence[str]) -> None:
  """Prints the tables."""
  # Read when JAX is imported. The programs are compiled and never run.
  os.environ["JAX_PLATFORMS"] = "cpu"
  os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={max(DEVICES)}"
  )
  print(plan_line(10_000_000), flush=True)
  sets = datasets()
  steps = {}
  for dataset, devices in itertools.product(sets, DEVICES):
    steps[dataset.name, devices] = measure(
      dataset, devices, batch_size=BATCH_SIZE, image_size=IMAGE_SIZE
    )
  print(_collectives_table(steps), _times_table(sets, steps), sep="\n\n")
  print("\n" + _memory_table(sets))


def datasets() -> list[Dataset]:
  """From 115,846 to 100 million images."""
  from benchmarks import noise_images
  from blt_jax.data import longtail

  return [
    Dataset(
      "ImageNet-LT", noise_images.class_counts("imagenet_lt"), "resnet10"
    ),
    Dataset(
      "iNaturalist 2018",
      noise_images.class_counts("inaturalist2018"),
      "resnet34",
    ),
    # 2,686,843 images, 152 to 300 a class (github.com/visipedia/inat_comp).
    Dataset("iNaturalist 2021", np.full(10_000, 269), "resnet50"),
    # Made up: 7 to 6,910 images a class.
    Dataset(
      "100 million images",
      longtail.exponential_counts(6910, 1000, 100_000),
      "resnet50",
    ),
  ]


def measure(
  dataset: Dataset, devices: int, *, batch_size: int, image_size: int
) -> Step:
  """Compiles the steps of stage 2 of a data set for emulated devices.

  Args:
    dataset: the class counts and the network.
    devices: emulated ones that there are (XLA_FLAGS), at most.
    batch_size: real images of a step, over all devices.
    image_size: side of an image, pixels.
  """
  import jax

  from blt_jax.config import check_config, config_dict, follow
  from blt_jax.training import build
  from blt_jax.training.stages import build_stages

  config = config_dict()
  config.dataset.update({"name": "none", "source": "digits"})
  config.dataset.image_size = image_size
  config.model.backbone = dataset.backbone
  config.stage1.epochs, config.num_devices = 0, devices
  config.stage2.batch_size = batch_size
  config = follow(check_config(config))
  (stage,) = build_stages(config, dataset.counts, devices=devices)
  classes = len(dataset.counts)
  state = build.state_shapes(
    config, build.build_model(config, classes), classes
  )
  step: Any = build.build_train_step(config, stage, dataset.counts, target=None)
  shapes = functools.partial(_shapes, devices, batch_size, image_size)
  plain = step.lower(state, shapes(slots=0))
  found: list[int] = []
  if devices > 1:
    whole = step.lower(state, shapes(slots=stage.capacity)).compile()
    found = sent_by(whole.as_text())
  return Step(
    slots=stage.capacity,
    used=_used(config, stage, dataset.counts),
    flops=plain.cost_analysis()["flops"] * devices,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    collectives=len(found),
    sent=sum(found),
  )


def _shapes(devices: int, batch_size: int, side: int, *, slots: int) -> Any:
  """A batch without its values, dealt to the devices."""
  import jax

  from blt_jax.method.train_step import Batch, Sources

  def shape(images: int, *sides: int, dtype: Any) -> Any:
    return jax.ShapeDtypeStruct((devices, images // devices, *sides), dtype)

  pixels = (side, side, 3)
  image = shape(batch_size, *pixels, dtype=np.uint8)
  label = shape(batch_size, dtype=np.int32)
  if not slots:
    return Batch(image, label)
  sources = Sources(
    shape(slots, *pixels, dtype=np.uint8),
    shape(slots, dtype=np.int32),
    shape(slots, dtype=np.bool_),
  )
  return Batch(image, label, sources)


def sent_by(program: str) -> list[int]:
  """Bytes that each collective of a compiled program adds up.

  Args:
    program: what `as_text` of the compiled program gives.
  """
  found = []
  for line in program.splitlines():
    made = re.match(r"\s*(?:ROOT )?%\S+ = (.*?) all-reduce(-start)?\(", line)
    if made:
      arrays = re.findall(r"(\w+)\[([\d,]*)\]", made[1])
      found.append(
        sum(
          _BYTES[dtype]
          * math.prod(int(side) for side in sides.split(",") if side)
          for dtype, sides in arrays
        )
      )
  return found


def _used(config: Any, stage: Any, counts: np.ndarray) -> float:
  """Hallucinated images of a batch, on average."""
  from scipy import stats

  from blt_jax.data import sampling

  share = sampling.class_probabilities(counts, stage.gamma)[stage.tail].sum()
  draws = np.arange(stage.batch_size + 1)
  chances = stats.binom.pmf(draws, stage.batch_size, min(float(share), 1.0))
  made = sampling.num_hallucinations(
    draws, config.perturb.p, rounding=config.perturb.rounding
  )
  return float(chances @ made)


def seconds(step: Step, devices: int) -> Seconds:
  """What a BLT step takes on GPUs, by the rates above.

  A BLT step has the arithmetic of `step_time.limit`, and empty slots on top.
  """
  from benchmarks.step_time import limit

  images = BATCH_SIZE + step.slots
  empty = (step.slots - step.used) / BATCH_SIZE  # They are trained on as well.
  ratio = limit(step.used, UPDATES, BATCH_SIZE) + empty
  flops = step.flops * ratio / devices
  bandwidth = NVLINK if devices <= GPUS_OF_MACHINE else NETWORK
  # Each sum travels around a ring of the devices twice, in pieces.
  travelled = 2 * (devices - 1) / devices * step.sent
  return Seconds(
    arithmetic=flops / (PEAK * REACHED),
    network=step.collectives * LATENCY + travelled / bandwidth,
    reading=images * READING / (CORES * devices),
  )


def _collectives_table(steps: dict[tuple[str, int], Step]) -> str:
  lines = [
    "| data set | GPUs | parameters, million | collectives | MB |",
    "|---|---|---|---|---|",
  ]
  for (name, devices), step in steps.items():
    if devices > 1:
      lines.append(
        f"| {name} | {devices} | {step.parameters / 1e6:.1f} | "
        f"{step.collectives} | {step.sent / 1e6:.1f} |"
      )
  return "\n".join(lines)


def _times_table(
  sets: list[Dataset], steps: dict[tuple[str, int], Step]
) -> str:
  lines = [
    "| data set | GPUs | slots (used) | arithmetic, ms | network, ms "
    f"| reading, ms | longest | {EPOCHS} epochs, hours |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for dataset, devices in itertools.product(sets, DEVICES):
    step = steps[dataset.name, devices]
    each = seconds(step, devices)
    number = EPOCHS * (int(dataset.counts.sum()) // BATCH_SIZE)
    hours = number * each.step / 3600
    lines.append(
      f"| {dataset.name} | {devices} | {step.slots} ({step.used:.0f}) | "
      f"{1000 * each.arithmetic:.1f} | {1000 * each.network:.1f} | "
      f"{1000 * each.reading:.1f} | {each.limit} | "
      f"{hours:,.{2 if hours < 1 else 1}f} |"
    )
  return "\n".join(lines)


def _memory_table(sets: list[Dataset]) -> str:
  lines = [
    "| data set | images | classes | photographs, GB | list in a process, GB | "
    "confusion matrix, GB |",
    "|---|---|---|---|---|---|",
  ]
  for name, counts, _ in sets:
    images, classes = int(counts.sum()), len(counts)
    lines.append(
      f"| {name} | {images:,} | {classes:,} | {images * PHOTOGRAPH / 1e9:,.0f} "
      f"| {images * LISTED / 1e9:.2f} | {4 * classes**2 / 1e9:.3f} |"
    )
  return "\n".join(lines)


def plan_line(images: int) -> str:
  """Seconds and memory to draw the order of an epoch of so many images."""
  from blt_jax.data import sampling

  labels = np.arange(images, dtype=np.int64) % 1000
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  start = time.monotonic()
  slots = sampling.HallucinationPlan(np.arange(1000) < 200, 0.25, capacity=40)
  sampling.epoch_plan(
    labels,
    seed=0,
    stage=2,
    epoch=1,
    batch_size=BATCH_SIZE,
    gamma=0.9,
    hallucinate=slots,
  )
  taken = time.monotonic() - start
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  return (
    f"The order of an epoch of {images:,} images: {taken:.1f} s, "
    f"{grown / 1e6:.2f} GB at most."
  )


if __name__ == "__main__":
  app.run(main)
