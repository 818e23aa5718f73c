"""How fast training images get from JPEG files to batches.

    .venv/bin/python -m benchmarks.input_pipeline --root=DIR

reads the JPEG files below DIR (meant for ImageNet's sizes: 500 x 400 pixels,
110 kB) with one and with two pinned cores, round by round:

  decode    Pillow decodes the whole image, nothing else: most of any chain
  pillow    the chain that PyTorch's users run on the CPU: decode, random
            resized crop, flip, rotation, colour jitter, normalise, as
            torchvision does with Pillow images
  ours      blt_jax.data.pipeline; the rest of the chain is the GPU's work

and prints images per second, medians over the rounds, with the ratio to
`pillow` and the share of our time that `decode` would take. Every measurement
is a process of its own, so that the threads start on the cores they are given.
"""

import io
import json
import math
import multiprocessing.pool
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

import numpy as np
from absl import app, flags
from PIL import Image, ImageEnhance

_ROOT = flags.DEFINE_string("root", None, "Folder of JPEGs.", required=True)
_CORES = flags.DEFINE_list("cores", ["1", "2"], "Numbers of cores.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of all measurements.")
_IMAGES = flags.DEFINE_integer("images", 2048, "Images of a measurement.")
_MEASURE = flags.DEFINE_string("measure", None, "Used by the program itself.")

SIZE = 224
BATCH = 64
KINDS = ("decode", "pillow", "ours")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def main(_: list[str]) -> None:
  """Measures everything in turn, or one kind for the parent process."""
  if _MEASURE.value:
    kind, cores = _MEASURE.value.split(":")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    print(json.dumps(_measure(kind, _files(), int(cores))))
    return
  files = _files()
  sizes = [path.stat().st_size for path in files]
  print(f"{len(files)} JPEG files, {np.mean(sizes) / 1000:.0f} kB on average")
  rates: dict[tuple[str, str], list[float]] = {}
  for _ in range(_ROUNDS.value):
    for cores in _CORES.value:
      for kind in KINDS:
        rates.setdefault((kind, cores), []).append(_in_process(kind, cores))
  print("| cores | " + " | ".join(KINDS) + " | ours / pillow | decoding |")
  print("|---|" + "---|" * (len(KINDS) + 2))
  for cores in _CORES.value:
    by_kind = [rates[kind, cores] for kind in KINDS]
    decode, _, ours = map(statistics.median, by_kind)
    cells = [
      f"{statistics.median(r):.0f} ({min(r):.0f}-{max(r):.0f})" for r in by_kind
    ]
    ratios = [o / p for o, p in zip(by_kind[2], by_kind[1], strict=True)]
    print(
      f"| {cores} | {' | '.join(cells)} | {statistics.median(ratios):.2f} | "
      f"{100 * ours / decode:.0f} % |"
    )


def _files() -> list[pathlib.Path]:
  root = pathlib.Path(_ROOT.value)
  files = sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES)
  if not files:
    raise ValueError(f"--root={root} holds no JPEG file.")
  return files


_SUFFIXES = (".jpg", ".jpeg")


def _in_process(kind: str, cores: str) -> float:
  """Images per second of one kind, measured in a new process."""
  command = [sys.executable, "-m", "benchmarks.input_pipeline"]
  command += [f"--root={_ROOT.value}", f"--images={_IMAGES.value}"]
  done = subprocess.run(
    [*command, f"--measure={kind}:{cores}"],
    check=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
  )
  return json.loads(done.stdout)


def _measure(kind: str, files: list[pathlib.Path], cores: int) -> float:
  """Images per second after a warm-up of two batches."""
  if kind == "ours":
    batches = _our_batches(files, cores)
    return _rate(batches)
  work = {"decode": _decode, "pillow": _pillow_chain}[kind]
  count = _IMAGES.value + 2 * BATCH
  wanted = [(str(files[i % len(files)]), i) for i in range(count)]
  with multiprocessing.pool.Pool(cores) as pool:
    # Processes, as the peers' loaders use them; only a count comes back.
    done = pool.imap(work, wanted, chunksize=BATCH // 4)
    return _rate(next_batch for next_batch in _grouped(done))


def _rate(batches) -> float:
  """Images per second of an iterator of batches."""
  batches = iter(batches)
  for _ in range(2):
    next(batches)
  start = time.monotonic()
  count = sum(1 for _ in batches)
  return count * BATCH / (time.monotonic() - start)


def _grouped(items):
  """Lists of BATCH items."""
  while group := [item for item, _ in zip(items, range(BATCH), strict=False)]:
    if len(group) == BATCH:
      yield group


def _our_batches(files: list[pathlib.Path], cores: int):
  from blt_jax.data import pipeline, sampling
  from blt_jax.data.dataset import Split

  labels = np.zeros(len(files), int)
  split = Split(labels, paths=[str(path) for path in files])
  steps = _IMAGES.value // BATCH + 2
  indices = np.arange(steps * BATCH).reshape(steps, BATCH) % len(files)
  none = indices[:, :0]
  plan = sampling.EpochPlan(
    indices=indices,
    sources=none,
    used=none.astype(bool),
    dropped=np.zeros(steps, int),
    seed=0,
    stage=1,
    epoch=1,
  )
  return pipeline.train_batches(split, plan, image_size=SIZE, num_threads=cores)


def _decode(wanted: tuple[str, int]) -> int:
  """Pillow's decoding of a whole image."""
  Image.open(io.BytesIO(pathlib.Path(wanted[0]).read_bytes())).load()
  return 1


def _pillow_chain(wanted: tuple[str, int]) -> int:
  """All that a training image goes through, with torchvision's semantics."""
  path, number = wanted
  draw = random.Random(number)
  data = io.BytesIO(pathlib.Path(path).read_bytes())
  image = Image.open(data).convert("RGB")
  x, y, w, h = _crop_window(*image.size, draw)
  image = image.crop((x, y, x + w, y + h))
  image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
  if draw.random() < 0.5:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  image = image.rotate(draw.uniform(-10, 10))
  operations = [
    ImageEnhance.Brightness,
    ImageEnhance.Contrast,
    ImageEnhance.Color,
  ]
  draw.shuffle(operations)
  for operation in operations:
    image = operation(image).enhance(draw.uniform(0.6, 1.4))
  pixels = (np.asarray(image).astype(np.float32) / 255 - MEAN) / STD
  return len(np.ascontiguousarray(pixels.transpose(2, 0, 1))) // 3


def _crop_window(width: int, height: int, draw: random.Random):
  """x, y, width and height of a random resized crop."""
  for _ in range(10):
    area = width * height * draw.uniform(0.08, 1)
    ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      return draw.randint(0, width - w), draw.randint(0, height - h), w, h
  w = min(width, round(height * 4 / 3))
  h = min(height, round(width * 4 / 3))
  return (width - w) // 2, (height - h) // 2, w, h


if __name__ == "__main__":
  app.run(main)
