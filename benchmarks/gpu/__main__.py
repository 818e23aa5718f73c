r"""Measures all of training that depends on a GPU, with one command.

    python -m benchmarks.gpu --minutes=9 --output=DIR
    python -m benchmarks.gpu --minutes=9 --output=DIR --cifar=FILE.npz
    python -m benchmarks.gpu --tiny --output=DIR

needs JAX (0.10 to 0.12), Flax, Optax, NumPy, Pillow, Matplotlib and
ml_collections, and neither TensorFlow nor a data set nor a network. In order of
importance, within the time:

  a  plain and BLT step: ResNet-10, batch 256, 224 pixels; TF32, float32, bf16
  b  one ascent for 1, 2, 4, 8 batches; its narrowest width
  c  the gradient of a convolution's images, by hand and by XLA
  d  resizing on the device and on the host, prefetch to the device
  e  other networks, plain and BLT
  f  PyTorch beside a and e, where it is installed
  g  accuracy on the small CIFAR-10-LT, with --cifar (benchmarks/gpu/pack.py)
  h  several devices, as many images on each

DIR gets a JSON file a row as soon as it is measured, and in the end page.md
with figures. The same command again goes on and measures nothing twice; it
writes the page anew. A row whose process died, or that raised, is kept with its
error: remove its file to try it again. One that takes longer than all of the
time never ends: give more --minutes. --tiny runs every part at toy sizes, for
tests.
"""

import itertools
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import jax
from absl import app, flags, logging

from benchmarks.gpu import page, parts
from benchmarks.gpu.rows import Store
from benchmarks.gpu.setup import Setup

# Else JAX takes three quarters of the memory, and PyTorch finds too little.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Seconds at the end for the page.
_RESERVE = 15.0
# Flags of XLA under which programs of toy sizes compile several times as fast.
_TINY_FLAGS = "--xla_backend_optimization_level=0"
if tuple(map(int, jax.__version__.split(".")[:2])) < (0, 11):
  _TINY_FLAGS += " --xla_cpu_use_fusion_emitters=false"  # Refused later.


def define_flags() -> None:
  """Defines the flags; not on import, as other programs have some of them."""
  flags.DEFINE_string("output", None, "Folder.", required=True)
  flags.DEFINE_float("minutes", 9.0, "Time for all of it.", 0.1)
  flags.DEFINE_bool("tiny", False, "Toy sizes.")
  flags.DEFINE_string("cifar", "", "File of benchmarks/gpu/pack.py.")
  flags.DEFINE_string("parts", "".join(parts.PARTS), "Which parts.")
  flags.DEFINE_string("worker", "", "Parts; for the program itself.")


def main(_: Sequence[str]) -> None:
  """Measures in processes of its own, so that none outlives the time."""
  logging.set_verbosity(logging.ERROR)  # JAX names backends that are missing.
  chosen = flags.FLAGS
  if unknown := set(chosen.parts + chosen.worker) - parts.PARTS.keys():
    raise app.UsageError(
      f"--parts has {''.join(sorted(unknown))!r}; expected some of "
      f"{''.join(parts.PARTS)}."
    )
  cifar = pathlib.Path(chosen.cifar) if chosen.cifar else None
  given = Setup(pathlib.Path(chosen.output), tiny=chosen.tiny, cifar=cifar)
  if chosen.worker:
    parts.measure(given, chosen.worker)
    return
  platforms = os.environ.get("JAX_PLATFORMS", "cpu")
  if "cpu" not in platforms:  # FLOPs are counted in programs for it.
    os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
  store = Store(given.folder)
  end = time.monotonic() + 60 * chosen.minutes - _RESERVE
  if given.tiny:
    given_flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{_TINY_FLAGS} {given_flags}"
  _measure(store, chosen.parts, end)
  print(f"written: {page.write(store)}")


def _measure(store: Store, chosen: str, end: float) -> None:
  """Runs the workers, until they are done or the time is up."""
  store.forget_begun()
  for _, names in itertools.groupby(
    chosen, key=lambda name: parts.PARTS[name].process
  ):
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]]
    command.append(f"--worker={''.join(names)}")
    while True:
      try:
        left = max(end - time.monotonic(), 0.0)
        code = subprocess.run(command, timeout=left, check=False).returncode
      except subprocess.TimeoutExpired:
        row = store.forget_begun()
        begun = f" during {row}, which begins anew" if row else ""
        print(f"the time is up{begun}; the same command goes on")
        return
      if code == 0:
        break
      row = store.fail_begun(f"its process ended with code {code}")
      if not row:  # It has said why.
        sys.exit(code)
      print(f"{row}: its process ended with code {code}", flush=True)


if __name__ == "__main__":
  define_flags()
  app.run(main)
