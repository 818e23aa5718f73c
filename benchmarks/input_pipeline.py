"""How fast training images get from JPEG files to batches.

    .venv/bin/python -m benchmarks.input_pipeline --root=DIR

reads the JPEG files below DIR (meant for ImageNet's sizes: 500 x 400 pixels,
110 kB) with one and with two pinned cores, round by round:

  decode    Pillow decodes the whole image, nothing else: most of any chain
  crop      TensorFlow decodes random crops and no more of an image than that
            needs: our decoding
  floor     the same, and Pillow resizes the crops: nothing that gives the
            peers' pixels on the CPU can take less, whatever holds it together
  pillow    the chain that PyTorch's users run on the CPU: decode, random
            resized crop, flip, rotation, colour jitter, normalise, as
            torchvision does with Pillow images
  threads   this library's input pipeline without TensorFlow, where Pillow
            decodes on a pool of threads; flip, rotation, jitter and
            normalisation are the device's work
  host      the same with TensorFlow and dataset.resize_on=host
  device    the same with resize_on=device, as on a GPU: so is the resizing

and prints two tables, medians over the rounds and their range: images per
second, and milliseconds of processor time an image, which other programs on the
same cores disturb less. `ratio` is `threads`, `host` and `device` against
`pillow`, the median of each round's own; `decoding` is the share of `crop` in
`device`. Every measurement is a process of its own, so that the threads start
on the cores they are given.
"""

import functools
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
OURS = ("threads", "host", "device")
KINDS = ("decode", "crop", "floor", "pillow", *OURS)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

Result = tuple[float, float]  # Images a second, CPU milliseconds an image.


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
  results: dict[tuple[str, str], list[Result]] = {}
  for _round in range(_ROUNDS.value):
    for cores in _CORES.value:
      for kind in KINDS:
        results.setdefault((kind, cores), []).append(_in_process(kind, cores))
  for number, title in enumerate(("images/s", "CPU ms/image")):
    print(f"\n| {title}, cores | {' | '.join(KINDS)} | ratio | decoding |")
    print("|---|" + "---|" * (len(KINDS) + 2))
    for cores in _CORES.value:
      values = {
        kind: [result[number] for result in results[kind, cores]]
        for kind in KINDS
      }
      print(f"| {cores} | {_row(values, inverse=number == 0)} |")
  print(f"\nResizing on the device: {_device_cost(files)}")


def _device_cost(files: list[pathlib.Path]) -> str:
  """What the device computes for an image, and which crops it can't resize."""
  import jax

  from blt_jax.data import device_resize
  from blt_jax.experiments import flops

  side = device_resize.CANVAS_SCALE * SIZE
  count = flops.count(
    functools.partial(device_resize.resize_crops, size=SIZE),
    jax.ShapeDtypeStruct((1, side, side, 3), np.uint8),
    jax.ShapeDtypeStruct((1, 2), np.int32),
  )
  batches = _our_batches(files, 1, kind="device")
  extents = np.concatenate([batch.image.extents for batch in batches])
  # A crop that is too large comes with the very size it is to have.
  large = np.mean((extents == SIZE).all(axis=1))
  return (
    f"{count / flops.GIGA:.2f} GFLOP an image; {100 * large:.1f} % of "
    f"{len(extents)} crops do not fit into {side} pixels."
  )


def _row(values: dict[str, list[float]], *, inverse: bool) -> str:
  """A table's cells; `inverse` if more is better."""
  cells = []
  for numbers in values.values():
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    digits = 0 if low > 10 else 2
    cells.append(f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})")
  power = 1 if inverse else -1
  ratios = []
  for kind in OURS:
    pairs = zip(values[kind], values["pillow"], strict=True)
    ratio = statistics.median((ours / other) ** power for ours, other in pairs)
    ratios.append(f"{ratio:.2f}")
  crop, ours = (statistics.median(values[kind]) for kind in ("crop", "device"))
  cells += [", ".join(ratios), f"{100 * (ours / crop) ** power:.0f} %"]
  return " | ".join(cells)


def _files() -> list[pathlib.Path]:
  root = pathlib.Path(_ROOT.value)
  files = sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES)
  if not files:
    raise ValueError(f"--root={root} holds no JPEG file.")
  return files


_SUFFIXES = (".jpg", ".jpeg")


def _in_process(kind: str, cores: str) -> Result:
  """One kind, measured in a new process."""
  command = [sys.executable, "-m", "benchmarks.input_pipeline"]
  command += [f"--root={_ROOT.value}", f"--images={_IMAGES.value}"]
  done = subprocess.run(
    [*command, f"--measure={kind}:{cores}"],
    check=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
  )
  return tuple(json.loads(done.stdout))


def _measure(kind: str, files: list[pathlib.Path], cores: int) -> Result:
  """Measures one kind after a warm-up of two batches."""
  if kind in OURS:
    batches = _our_batches(files, cores, kind=kind)
    return _rate(batches, time.process_time)
  count = _IMAGES.value + 2 * BATCH
  wanted = [(str(files[i % len(files)]), i) for i in range(count)]
  if kind in ("crop", "floor"):
    work = _tensorflow_crop(resized=kind == "floor")
    with multiprocessing.pool.ThreadPool(cores) as pool:
      done = pool.imap(work, wanted, chunksize=BATCH // 4)
      return _rate(_grouped(done), time.process_time)
  work = functools.partial(_timed, {"decode": _decode, "pillow": _chain}[kind])
  spent = [0.0]
  with multiprocessing.pool.Pool(cores) as pool:
    # Processes, as the peers' loaders use them; only their time comes back.
    done = pool.imap(work, wanted, chunksize=BATCH // 4)
    return _rate(_grouped(_added(done, spent)), lambda: spent[0])


def _timed(work, wanted: tuple[str, int]) -> float:
  """Processor time of some work."""
  start = time.process_time()
  work(wanted)
  return time.process_time() - start


def _added(seconds, total: list[float]):
  """Passes numbers on and adds them up."""
  for one in seconds:
    total[0] += one
    yield one


def _rate(batches, processor_time) -> Result:
  """Measures an iterator of batches."""
  batches = iter(batches)
  for _ in range(2):
    next(batches)
  start, spent = time.monotonic(), processor_time()
  count = BATCH * sum(1 for _ in batches)
  spent = processor_time() - spent
  return count / (time.monotonic() - start), 1000 * spent / count


def _grouped(items):
  """Lists of BATCH items."""
  while group := [item for item, _ in zip(items, range(BATCH), strict=False)]:
    if len(group) == BATCH:
      yield group


def _our_batches(files: list[pathlib.Path], cores: int, *, kind: str):
  from blt_jax.data import device_resize, input_pipeline, sampling
  from blt_jax.data.dataset import Split, path_array
  from blt_jax.data.reading.pillow_reader import PillowReader

  labels = np.zeros(len(files), int)
  split = Split(labels, paths=path_array(str(path) for path in files))
  steps = _IMAGES.value // BATCH + 2
  indices = np.arange(steps * BATCH).reshape(steps, BATCH) % len(files)
  plan = sampling.EpochPlan.of_images(indices, seed=0, stage=1, epoch=1)
  return input_pipeline.train_batches(
    split,
    plan,
    image_size=SIZE,
    canvas=device_resize.CANVAS_SCALE * SIZE if kind == "device" else None,
    reader=PillowReader if kind == "threads" else None,
    num_threads=cores,
  )


def _decode(wanted: tuple[str, int]) -> None:
  """Pillow's decoding of a whole image."""
  Image.open(io.BytesIO(pathlib.Path(wanted[0]).read_bytes())).load()


def _tensorflow_crop(*, resized: bool):
  """A function that decodes a crop, and resizes it or not."""
  from blt_jax.data.lazy_tensorflow import tensorflow
  from blt_jax.data.reading import crops, tf_reader

  tf = tensorflow()
  tf_reader.keep_freed_memory()

  def work(wanted: tuple[str, int]) -> None:
    path, number = wanted
    data = pathlib.Path(path).read_bytes()
    width, height = Image.open(io.BytesIO(data)).size
    x, y, w, h = _crop_window(width, height, random.Random(number))
    image = tf.raw_ops.DecodeAndCropJpeg(
      contents=data,
      crop_window=[y, x, h, w],
      channels=3,
      dct_method="INTEGER_ACCURATE",
    )
    if resized:
      crops.resize(np.asarray(memoryview(image)), SIZE, SIZE)

  return work


def _chain(wanted: tuple[str, int]) -> np.ndarray:
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
  return np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
