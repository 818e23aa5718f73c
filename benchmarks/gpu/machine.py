"""The machine that is measured, and what its card could do at most."""

import contextlib
import os
import pathlib
import platform
import re
from typing import Any

import jax
import jaxlib

# Device kind (all of it) -> dense TFLOP/s of its matrix units in bfloat16 and
# in TF32, and in float32 without them; None where it has no such units. From
# NVIDIA's data sheets (V100, T4, A10, A100, L4, L40S, H100, H200) and white
# papers (Turing, GA102, Ada); what is given there with sparsity is halved.
_PEAKS: dict[str, tuple[float | None, float | None, float]] = {
  r"NVIDIA H200": (989.5, 494.5, 67.0),
  r"NVIDIA H200 NVL": (835.5, 417.5, 60.0),
  r"NVIDIA H100 80GB HBM3": (989.5, 494.5, 67.0),
  r"NVIDIA H100 NVL": (835.5, 417.5, 60.0),
  r"NVIDIA H100 PCIe": (756.0, 378.0, 51.0),
  r"NVIDIA A100\b.*": (312.0, 156.0, 19.5),
  r"NVIDIA L40S": (362.0, 183.0, 91.6),
  r"NVIDIA L4": (121.0, 60.0, 30.3),
  r"NVIDIA A10": (125.0, 62.5, 31.2),
  r"NVIDIA GeForce RTX 4090": (165.2, 82.6, 82.6),
  r"NVIDIA GeForce RTX 3090": (71.0, 35.6, 35.6),
  r"NVIDIA GeForce RTX 2080 Ti": (None, None, 13.4),
  r"Tesla V100-SXM2-.*": (None, None, 15.7),
  r"Tesla T4": (None, None, 8.1),
}


def describe(*, tiny: bool) -> dict[str, Any]:
  """What has to be the same in all measurements of a folder."""
  device = jax.devices()[0]
  version = getattr(device.client, "platform_version", device.platform)
  return {
    "device": device.device_kind,
    "devices": jax.device_count(),
    "platform": " ".join(version.split()),
    "cores": os.cpu_count(),
    "host": _processor(),
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "tiny": tiny,
  }


def _processor() -> str:
  """The processor's name where Linux tells it, else its kind."""
  with contextlib.suppress(OSError):
    text = pathlib.Path("/proc/cpuinfo").read_text()
    if named := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
      return named[1]
  return platform.machine()


def peak(kind: str, arithmetic: str) -> float | None:
  """Dense FLOP/s of a card at most, None where the table does not know it.

  Args:
    kind: JAX's device kind.
    arithmetic: "bfloat16", "default" (TF32 where there is such a unit) or
      "highest".
  """
  for pattern, (bfloat16, tf32, float32) in _PEAKS.items():
    if re.fullmatch(pattern, kind):
      found = {"bfloat16": bfloat16, "default": tf32 or float32}
      value = found.get(arithmetic, float32)
      return value and 1e12 * value
  return None
