r"""How long each convolution of a backbone takes, and its gradients.

    .venv/bin/python -m benchmarks.convolutions --backbone=small_resnet10 \
        --image_size=32 --batch=128 [--peer_python=TORCH/bin/python]

traces a training step's forward pass, times every different convolution by
itself, and prints for each how often it comes and, of its value and of the
gradients with respect to images and kernel, milliseconds (GFLOP/s). Below it
stand the sum of all that a training step needs (the gradient with respect to
the network's own images is none of it), the plain step itself on random images
with the class counts of --profile, and the rate of a large matrix product.
Multiplications with a padding's zeros count as FLOPs.

With --peer_python, a Python that has torch, the same convolutions follow in
PyTorch (peer_convolutions.py), in the memory layout that is faster in all:

    python3 -m venv TORCH; TORCH/bin/pip install torch==2.13.0 numpy

On a GPU several calls queue up at a time; what is shorter than to start it
(some 0.02 ms) shows the time to start it. TensorFlow is not needed.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags

from benchmarks import convolution_measure, step_measure, step_problem
from benchmarks.convolution_measure import KINDS, total

_PROFILES = ("cifar10_lt", "imagenet_lt", "places_lt", "inaturalist")
_BACKBONE = flags.DEFINE_string("backbone", "small_resnet10", "Its name.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Pixels a side.")
_BATCH = flags.DEFINE_integer("batch", 128, "Images.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ("float32", "bfloat16"), "What the network computes in."
)
_PROFILE = flags.DEFINE_enum(
  "profile", "cifar10_lt", _PROFILES, "Class counts of the plain step."
)
_REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Times of everything, of which the median counts."
)
_STEP = flags.DEFINE_bool("step", True, "Measure the plain step, too.")
_PEER_PYTHON = flags.DEFINE_string("peer_python", "", "Has torch.")
_JSON = flags.DEFINE_string("json", None, "File for the numbers.")

Report = dict[str, Any]


def main(_: list[str]) -> None:
  """Measures here, then in PyTorch."""
  report = _measure()
  if _PEER_PYTHON.value:
    report["peer"] = _peer(report)
  print(table(report))
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(report, indent=2) + "\n")


def _measure() -> Report:
  """The report of this process; seconds and FLOPs."""
  options = step_problem.Options(
    profile=_PROFILE.value,
    batches=1,
    backbone=_BACKBONE.value,
    image_size=_IMAGE_SIZE.value,
    batch=_BATCH.value,
    dtype=_DTYPE.value,
    devices=1,
  )
  problem = step_problem.make_problem(options)
  found = convolution_measure.find(
    _BACKBONE.value,
    image_size=_IMAGE_SIZE.value,
    batch=_BATCH.value,
    dtype=_DTYPE.value,
  )
  rows = convolution_measure.measure(found, repeats=_REPEATS.value)
  report: Report = {
    "arguments": sys.argv[1:],
    "settings": step_measure.settings(problem),
    "machine": step_measure.machine(problem),
    "convolutions": rows,
    "total_seconds": total(rows),
    "total_flops": _total_flops(rows),
    "matmul_flops_a_second": step_measure.matmul_rate(
      _DTYPE.value, jax.local_devices()[0]
    ),
  }
  if _STEP.value:
    seconds = convolution_measure.step_seconds(problem, repeats=_REPEATS.value)
    report["step_seconds"] = statistics.median(seconds)
    report["share_of_step"] = report["total_seconds"] / report["step_seconds"]
  return report


def _total_flops(rows: Sequence[Report]) -> int:
  """FLOPs of the convolutions of a training step."""
  return sum(row["count"] * row["flops"] * len(row["needed"]) for row in rows)


def _peer(report: Report) -> Report:
  """What the peer measures, with the faster layout's times beside ours."""
  with tempfile.TemporaryDirectory() as folder:
    ours, theirs = (pathlib.Path(folder, f"{n}.json") for n in ("in", "out"))
    ours.write_text(json.dumps(report))
    command = [_PEER_PYTHON.value, "-m", "benchmarks.peer_convolutions"]
    command += [f"--input={ours}", f"--json={theirs}"]
    subprocess.run([*command, f"--repeats={_REPEATS.value}"], check=True)
    peer = json.loads(theirs.read_text())
  totals = {
    layout: total(peer_rows(report["convolutions"], seconds))
    for layout, seconds in peer["seconds"].items()
  }
  layout = min(totals, key=lambda name: totals[name])
  return peer | {"total_seconds": totals, "layout": layout}


def peer_rows(
  rows: Sequence[Report], seconds: Sequence[dict[str, float]]
) -> list[Report]:
  """Our rows with the peer's times."""
  return [
    row | {"seconds": one} for row, one in zip(rows, seconds, strict=True)
  ]


def table(report: Report) -> str:
  """The report as a person reads it."""
  where, what = report["machine"], report["settings"]
  rows = report["convolutions"]
  lines = [
    f"{what['backbone']}, {what['dtype']}, {what['image_size']} pixels, "
    f"batch {what['batch_size']}; milliseconds (GFLOP/s)",
    f"{where['device']} ({where['processor']}, {where['cores']} cores), jax "
    f"{where['jax']}, {where['date']}",
    *("", *_table(rows), ""),
    f"All {sum(row['count'] for row in rows)} convolutions of a step: "
    f"{_sum(report, report['total_seconds'])}",
  ]
  if "step_seconds" in report:
    lines.append(
      f"The plain step: {1000 * report['step_seconds']:.2f} ms, of which the "
      f"convolutions are {100 * report['share_of_step']:.0f} %"
    )
  lines.append(
    f"A matrix product: {report['matmul_flops_a_second'] / 1e9:.1f} GFLOP/s"
  )
  if "peer" in report:
    lines += _peer_lines(report)
  return "\n".join(lines)


def _peer_lines(report: Report) -> list[str]:
  peer = report["peer"]
  layout = peer["layout"]
  rows = peer_rows(report["convolutions"], peer["seconds"][layout])
  sums = [
    f"All convolutions of a step, {name}: {_sum(report, seconds)}"
    for name, seconds in peer["total_seconds"].items()
  ]
  head = f"PyTorch {peer['torch']}, {peer['device']}, {layout}"
  return ["", head, "", *_table(rows), "", *sums]


def _table(rows: Sequence[Report]) -> list[str]:
  columns = ("times", "images", "kernel", "stride", "GFLOP", *KINDS)
  lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
  for row in rows:
    cells = [
      str(row["count"]),
      "x".join(map(str, row["images"])),
      "x".join(map(str, row["kernel"])),
      str(row["strides"][0]),
      f"{row['flops'] / 1e9:.3f}",
      *(_cell(row, kind) for kind in KINDS),
    ]
    lines.append("| " + " | ".join(cells) + " |")
  return lines


def _cell(row: Report, kind: str) -> str:
  seconds = row["seconds"][kind]
  text = f"{1000 * seconds:.2f} ({row['flops'] / seconds / 1e9:.0f})"
  return text if kind in row["needed"] else f"not needed: {text}"


def _sum(report: Report, seconds: float) -> str:
  flops = report["total_flops"]
  return (
    f"{1000 * seconds:.2f} ms, {flops / 1e9:.2f} GFLOP, "
    f"{flops / seconds / 1e9:.1f} GFLOP/s"
  )


if __name__ == "__main__":
  app.run(main)
