"""Times convolutions in PyTorch, the peer of benchmarks.convolutions.

    python -m benchmarks.peer_convolutions --input=FILE --json=FILE

needs torch and nothing of blt_jax. The input is what `--json` of
benchmarks.convolutions writes, of which "convolutions" is read. All of them are
timed in both memory layouts; each call is PyTorch's own, forward and backward
on its own.
"""

import argparse
import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

LAYOUTS = {
  "channels_first": torch.contiguous_format,
  "channels_last": torch.channels_last,
}

# A GPU gets so much work before the clock is read again, seconds.
_AT_ONCE = 0.01

Call = Callable[[], Any]
Report = dict[str, Any]


def measure(row: Report, *, layout: str, repeats: int) -> dict[str, float]:
  """Median seconds of a convolution and its gradients, taken in turn.

  Args:
    row: one of "convolutions" as benchmarks.convolutions writes them.
    layout: one of LAYOUTS.
    repeats: times of each, 1 or more.

  Returns:
    Seconds by "forward", "of_images" and "of_kernel".

  Raises:
    ValueError: for a padding that is not the same on both sides.
  """
  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  calls = _calls(row, layout, device)
  many = {}
  for kind, call in calls.items():
    call()  # Chooses an algorithm.
    once = _timed(call, 1, device)
    many[kind] = 1 if device.type == "cpu" else 1 + int(_AT_ONCE / once)
  seconds: dict[str, list[float]] = {kind: [] for kind in calls}
  for _ in range(repeats):
    for kind, call in calls.items():
      taken = _timed(call, many[kind], device)
      seconds[kind].append(taken / many[kind])
  return {kind: statistics.median(times) for kind, times in seconds.items()}


def _calls(row: Report, layout: str, device: torch.device) -> dict[str, Call]:
  """What is timed, on arrays that lie on the device."""
  padding = []
  for low, high in row["padding"]:
    if low != high:
      raise ValueError(f"padding is {row['padding']}; PyTorch pads evenly.")
    padding.append(low)
  n, h, w, c = row["images"]
  kh, kw, inputs, filters = row["kernel"]
  strides, groups = row["strides"], row["groups"]
  shapes = (n, c, h, w), (filters, inputs, kh, kw), (n, filters, *row["output"])
  generator = torch.Generator().manual_seed(0)
  images, kernel, gradient = (
    torch.randn(math.prod(shape), generator=generator)
    .reshape(shape)
    .to(device, getattr(torch, row["dtype"]))
    .contiguous(memory_format=LAYOUTS[layout])
    for shape in shapes
  )

  def forward():
    return torch.nn.functional.conv2d(
      images, kernel, None, strides, padding, groups=groups
    )

  def backward(wanted: list[bool]):
    return torch.ops.aten.convolution_backward(
      *(gradient, images, kernel, None, strides, padding),
      *([1, 1], False, [0, 0], groups, wanted),
    )

  return {
    "forward": forward,
    "of_images": lambda: backward([True, False, False]),
    "of_kernel": lambda: backward([False, True, False]),
  }


def _timed(call: Call, times: int, device: torch.device) -> float:
  """Seconds of so many calls."""
  _wait(device)
  start = time.perf_counter()
  for _ in range(times):
    call()
  _wait(device)
  return time.perf_counter() - start


def _wait(device: torch.device) -> None:
  if device.type == "cuda":
    torch.cuda.synchronize()


def main() -> None:
  """Measures what is asked for and writes what it found."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--input", type=pathlib.Path, required=True)
  parser.add_argument("--json", type=pathlib.Path, required=True)
  parser.add_argument("--repeats", type=int, default=7)
  options = parser.parse_args()
  torch.backends.cudnn.benchmark = True
  rows = json.loads(options.input.read_text())["convolutions"]
  on_gpu = torch.cuda.is_available()
  report: Report = {
    "torch": torch.__version__,
    "threads": torch.get_num_threads(),
    "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    "seconds": {
      layout: [
        measure(row, layout=layout, repeats=options.repeats) for row in rows
      ]
      for layout in LAYOUTS
    },
  }
  options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
  main()
