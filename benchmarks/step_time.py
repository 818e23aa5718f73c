r"""How long a training step takes with BLT and without.

    .venv/bin/python -m benchmarks.step_time --profile=cifar10_lt --batch=128
    .venv/bin/python -m benchmarks.step_time --workdir=RUN
    .venv/bin/python -m benchmarks.step_time --profile=imagenet_lt \
        --backbone=resnet10 --batch=256 --dtype=bfloat16 --json=FILE

compiles the plain and the BLT training step of a real configuration and runs
them in turn on the same batches, which are those of an epoch with the class
counts of the profile. Every step begins with the same weights. It prints
medians with quartiles and, beside the ratio BLT / plain, the limit that the
arithmetic sets:

    1 + n (2 k + 1 + 3) / (3 B)

for n hallucinated images a batch of B and k updates of each on average.

From scratch, images are noise, the confusion matrix is made up, and k is not
realistic (--set=perturb.max_steps=5 keeps it at 5 or less). With --workdir
weights, confusion matrix and images are those of a trained run. Batches lie on
the device before the clock starts; augmentation is a part of the step. Where
the device resizes (GPUs), that is, too.

With --processes=P that many processes share the --devices, each with an equal
part of them. With --together nothing makes room for others in the ascent: what
the queue of `perturb_images` is worth. TensorFlow is not needed.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

from absl import app, flags, logging

from blt_jax.system import processes

_PROFILES = ("cifar10_lt", "imagenet_lt", "places_lt", "inaturalist")
_PROFILE = flags.DEFINE_enum(
  "profile", "cifar10_lt", _PROFILES, "Class counts; cifar10_lt is small."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "A trained run to measure.")
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "best", ("best", "stage1", "latest"), "Which one of the run."
)
_BACKBONE = flags.DEFINE_string("backbone", None, "Name of a backbone.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Pixels a side.")
_BATCH = flags.DEFINE_integer("batch", None, "Real images a batch.")
_P = flags.DEFINE_float("p", None, "Share of tail draws to hallucinate for.")
_GAMMA = flags.DEFINE_float("gamma", None, "Of the balanced sampler.")
_MOMENTUM = flags.DEFINE_float("momentum", None, "Of the ascent.")
_DTYPE = flags.DEFINE_enum(
  "dtype", None, ("float32", "bfloat16"), "What the network computes in."
)
_DEVICES = flags.DEFINE_integer("devices", None, "Emulated where it's a CPU.")
_PROCESSES = flags.DEFINE_integer(
  "processes", 1, "CPU: processes on this machine that share --devices."
)
_SET = flags.DEFINE_multi_string("set", [], "section.field=value of the config")
_AUGMENT = flags.DEFINE_bool("augment", True, "Flip, rotate and jitter.")
_TOGETHER = flags.DEFINE_bool(
  "together", False, "All images ascend together until the last one is done."
)
_BATCHES = flags.DEFINE_integer("batches", 16, "Different batches, at most.")
_STEPS = flags.DEFINE_integer("steps", 32, "Timed steps of each kind.")
_WARMUP = flags.DEFINE_integer("warmup", 3, "Steps of each kind before them.")
_JSON = flags.DEFINE_string("json", None, "File for the numbers.")
Report = dict[str, Any]


def main(_: list[str]) -> None:
  """Measures here, or in several processes."""
  if _PROCESSES.value > 1 and processes.COUNT not in os.environ:
    sys.exit(_start_processes())
  report = _measure()
  if processes.is_first():
    print(table(report))
  report["arguments"] = sys.argv[1:]
  if _JSON.value and processes.is_first():
    pathlib.Path(_JSON.value).write_text(json.dumps(report, indent=2) + "\n")


def _measure() -> Report:
  """Measures our steps in this process."""
  if _DEVICES.value:
    own = _DEVICES.value // _PROCESSES.value
    emulate = f"--xla_force_host_platform_device_count={own}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {emulate}"
  logging.set_verbosity(logging.ERROR)  # Orbax tells every step of a restore.
  processes.start()
  from benchmarks import step_measure, step_problem
  from blt_jax.method import hallucinate

  if _TOGETHER.value:
    hallucinate.halving_widths = lambda number, **_: (number,)
  problem = step_problem.make_problem(
    step_problem.Options(
      profile=_PROFILE.value,
      run=_WORKDIR.value,
      checkpoint=_CHECKPOINT.value,
      batches=_BATCHES.value,
      backbone=_BACKBONE.value,
      image_size=_IMAGE_SIZE.value,
      batch=_BATCH.value,
      p=_P.value,
      gamma=_GAMMA.value,
      momentum=_MOMENTUM.value,
      dtype=_DTYPE.value,
      devices=_DEVICES.value,
      augment=_AUGMENT.value,
      fields=_SET.value,
    )
  )
  return step_measure.measure(problem, steps=_STEPS.value, warmup=_WARMUP.value)


def _start_processes() -> int:
  """Runs this program in several processes; returns the first error code."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  variables = {
    **os.environ,
    processes.COORDINATOR: address,
    processes.COUNT: str(_PROCESSES.value),
  }
  started = [
    subprocess.Popen(
      [sys.executable, "-m", "benchmarks.step_time", *sys.argv[1:]],
      env={**variables, processes.INDEX: str(number)},
    )
    for number in range(_PROCESSES.value)
  ]
  return max(process.wait() for process in started)


def table(report: Report) -> str:
  """The report as a person reads it."""
  plain, blt, where = report["plain"], report["blt"], report["machine"]
  what = report["settings"]
  lines = [
    f"{what['backbone']}, {what['dtype']}, {what['image_size']} pixels, batch "
    f"{what['batch_size']}, p {what['p']}, gamma {what['gamma']}, momentum "
    f"{what['momentum']}: {what['dataset']}, {what['images']} images in "
    f"{what['classes']} classes",
    f"{where['devices']} x {where['device']} ({where['processor']}, "
    f"{where['cores']} cores), jax {where['jax']}, {where['date']}",
    "",
    "| step | ms a batch (quartiles) | ms an image | s an epoch | compile s "
    "| MB |",
    "|---|---|---|---|---|---|",
    _row("plain", plain),
    _row("BLT", blt),
    "",
    f"BLT / plain {report['ratio']:.3f} (median of pairs "
    f"{report['paired_ratio']:.3f}), limit {report['limit']:.3f}, ratio / limit"
    f" {report['ratio_over_limit']:.3f}",
    f"{blt['hallucinated']:.2f} hallucinated images a batch in "
    f"{blt['capacity']} slots, {blt['updates']:.2f} updates each, the largest "
    f"of a batch {blt['largest_updates']:.2f}",
    f"plain step {report['plain_flops'] / 1e9:.2f} GFLOP, "
    f"{report['plain_flops_a_second'] / 1e9:.1f} GFLOP/s, "
    f"{100 * report['share_of_matmul']:.0f} % of a matrix product's "
    f"{report['matmul_flops_a_second'] / 1e9:.1f}",
  ]
  evaluation = report["evaluation"]
  lines.append(
    f"evaluating a batch {1000 * evaluation['seconds']:.2f} ms, its forward "
    f"pass in training mode {1000 * evaluation['forward_seconds']:.2f} ms"
  )
  if not what["trained"]:
    lines.append(
      "The updates are NOT realistic: the network is not trained, its images "
      "are noise (--workdir takes a run)."
    )
  return "\n".join(lines)


def _row(name: str, timed: Report) -> str:
  low, high = (1000 * value for value in timed["quartiles"])
  kind = "device_peak" if "device_peak_bytes" in timed else "program"
  memory = timed[f"{kind}_bytes"]
  return (
    f"| {name} | {1000 * timed['seconds']:.2f} ({low:.2f}-{high:.2f}) | "
    f"{1000 * timed['seconds_an_image']:.3f} | "
    f"{timed['seconds_an_epoch']:.2f} | {timed['compile_seconds']:.1f} | "
    f"{memory / 1e6:.0f} |"
  )


if __name__ == "__main__":
  app.run(main)
