"""Seconds and memory from full-size image lists to the first batch.

    .venv/bin/python -m benchmarks.full_size_lists --jpegs=DIR --out=DIR

makes, below --out, iNaturalist 2018's size (437,513 images in 8,142 classes)
and 10 million images in 100,000 classes, unless they are there already: Zipf's
counts, three validation images a class, lines in random order, unique paths of
58 letters that are hard links of the JPEG files below --jpegs (so --out needs a
file system with hard links; the large one takes five minutes and 1 GB). Then it
starts a process for each measurement, in turn fresh and resumed in the middle
of the epoch, and prints medians over the rounds and their range:

  start     from the start of the process to the first batch, imports included
  CPU       seconds of processor time of that, on all cores
  load      load_image_lists: lists parsed and every file looked up
  plan      one index draw, sampling.epoch_plan of stage 2
  batch     from the plan to the first batch
  memory    largest resident memory above that after the imports, MB
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

_JPEGS = flags.DEFINE_string("jpegs", None, "Folder of JPEGs.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for lists.", required=True)
_LISTS = flags.DEFINE_list("lists", ["inat", "ten_million"], "Which lists.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of all measurements.")
_MEASURE = flags.DEFINE_string("measure", None, "Used by the program itself.")

SIZES = {"inat": (437_513, 8_142), "ten_million": (10_000_000, 100_000)}
VALIDATION = 3  # Images a class.
BATCH = 256
GAMMA = 0.9
P = 0.5
COLUMNS = ("start", "cpu", "load", "plan", "batch", "memory")


def main(_: list[str]) -> None:
  """Makes what is missing and measures, or measures once for the parent."""
  if _MEASURE.value:
    lists, start, started = _MEASURE.value.rsplit(":", 2)
    print(json.dumps(_measure(pathlib.Path(lists), start, float(started))))
    return
  for name in _LISTS.value:
    folder = pathlib.Path(_OUT.value) / name
    if not (folder / "train.txt").exists():
      _make_lists(folder, *SIZES[name])
  print("| list, start | " + " | ".join(COLUMNS) + " |")
  print("|---|" + "---|" * len(COLUMNS))
  for name in _LISTS.value:
    _compare(name)


def _compare(name: str) -> None:
  """Prints two rows: fresh and resumed starts, measured in turn."""
  results: dict[str, list[dict[str, float]]] = {"fresh": [], "resumed": []}
  for _ in range(_ROUNDS.value):
    for start, rows in results.items():
      rows.append(_in_process(pathlib.Path(_OUT.value) / name, start))
  for start, rows in results.items():
    cells = []
    for column in COLUMNS:
      values = [row[column] for row in rows]
      digits = 0 if column == "memory" else 2
      middle, *ends = (
        f"{value:.{digits}f}"
        for value in (statistics.median(values), min(values), max(values))
      )
      cells.append(f"{middle} ({'-'.join(ends)})")
    print(f"| {name}, {start} | {' | '.join(cells)} |", flush=True)


def _make_lists(folder: pathlib.Path, images: int, classes: int) -> None:
  """Hard links of the JPEGs below `folder`, and lists that name them."""
  shutil.rmtree(folder, ignore_errors=True)
  pool = _copies(folder / "pool")
  rng = np.random.default_rng(0)
  train: list[str] = []
  validation: list[str] = []
  for c, count in enumerate(_zipf_counts(images, classes).tolist()):
    place = f"images/Plantae/{c:06d}"
    (folder / place).mkdir(parents=True)
    here = os.open(folder / place, os.O_RDONLY)
    letters = rng.bytes(16 * (count + VALIDATION)).hex()
    for i in range(count + VALIDATION):
      name = f"{letters[32 * i : 32 * i + 32]}.jpg"
      number = len(train) + len(validation)
      os.link(pool[number % len(pool)], name, dst_dir_fd=here)
      (train if i < count else validation).append(f"{place}/{name} {c}\n")
    os.close(here)
  for lines, file in ((validation, "val.txt"), (train, "train.txt")):
    order = rng.permutation(len(lines)).tolist()
    with open(folder / file, "w") as text:
      text.writelines(lines[i] for i in order)


def _copies(pool: pathlib.Path) -> list[pathlib.Path]:
  """Copies of the JPEG files, since links can't leave a file system."""
  files = sorted(
    path
    for path in pathlib.Path(_JPEGS.value).rglob("*")
    if path.suffix.lower() in (".jpg", ".jpeg")
  )
  if not files:
    raise ValueError(f"--jpegs={_JPEGS.value} holds no JPEG file.")
  pool.mkdir(parents=True)
  copies = [pool / f"{i}.jpg" for i in range(len(files))]
  for file, copy in zip(files, copies, strict=True):
    shutil.copyfile(file, copy)
  return copies


def _zipf_counts(images: int, classes: int) -> np.ndarray:
  """Class sizes in proportion to 1, 1/2, 1/3 .., 2 or more."""
  share = 1 / np.arange(1, classes + 1)
  counts = np.maximum((images * share / share.sum()).astype(int), 2)
  counts[0] += images - counts.sum()
  return counts


def _in_process(folder: pathlib.Path, start: str) -> dict[str, float]:
  """One measurement in a new process."""
  command = [sys.executable, "-m", "benchmarks.full_size_lists"]
  command += [f"--jpegs={_JPEGS.value}", f"--out={_OUT.value}"]
  done = subprocess.run(
    [*command, f"--measure={folder}:{start}:{time.time()}"],
    check=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )
  return json.loads(done.stdout)


def _measure(
  folder: pathlib.Path, start: str, started: float
) -> dict[str, float]:
  """Loads the lists, draws an epoch and takes its first batch."""
  from blt_jax.data import input_pipeline, lazy_tensorflow, longtail, sampling
  from blt_jax.data.sources import image_lists

  lazy_tensorflow.tensorflow()
  before = _start_of_memory()
  clock = [time.time()]
  dataset = image_lists.load_image_lists(
    str(folder),
    str(folder / "train.txt"),
    validation_list=str(folder / "val.txt"),
    class_folders=True,
  )
  counts = dataset.class_counts
  tail = longtail.shot_groups(counts)["few"]
  slots = sampling.capacity(counts, tail, gamma=GAMMA, p=P, batch_size=BATCH)
  clock.append(time.time())
  plan = sampling.epoch_plan(
    dataset.train.labels,
    seed=0,
    stage=2,
    epoch=9,
    batch_size=BATCH,
    gamma=GAMMA,
    hallucinate=sampling.HallucinationPlan(tail, P, slots),
  )
  clock.append(time.time())
  plan = plan.tail(len(plan) // 2 if start == "resumed" else 0)
  batches: Any = input_pipeline.train_batches(
    dataset.train, plan, image_size=224
  )
  next(batches)
  clock.append(time.time())
  load, draw, batch = np.diff(clock).tolist()
  result = {"start": clock[-1] - started, "cpu": time.process_time()}
  result |= {"load": load, "plan": draw, "batch": batch}
  result["memory"] = _memory("VmHWM") - before
  batches.close()
  return result


def _start_of_memory() -> float:
  """Resident memory now, in MB; the largest is counted from here on."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  return _memory("VmRSS")


def _memory(name: str) -> float:
  """A number of /proc/self/status, in MB."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  (line,) = (line for line in lines if line.startswith(name + ":"))
  return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
  app.run(main)
