"""Seconds and memory that it takes to load a list of millions of images.

    .venv/bin/python -m benchmarks.full_size_lists --out=DIR

makes a list of --images unique paths of 58 letters below --out, in random order
and in folders of 100, unless it is there already; the files are empty. Then it
loads the list, which looks every file up, holds three images a class out for
validation, and prints the time on the clock, the processor time and the largest
memory that this process ever had (imports of NumPy and Pillow included).
"""

import pathlib
import resource
import time

import numpy as np
from absl import app, flags

from blt_jax.data.sources import SplitOptions, load_image_lists

_OUT = flags.DEFINE_string("out", None, "Folder for the files.", required=True)
_IMAGES = flags.DEFINE_integer("images", 3_000_000, "Images of the list.")

FOLDER = 100  # Images a class.


def main(_: list[str]) -> None:
  """Makes the list where it is missing, and measures."""
  root = pathlib.Path(_OUT.value) / str(_IMAGES.value)
  if not (root / "train.txt").exists():
    make(root, _IMAGES.value)
  start = time.monotonic(), time.process_time()
  dataset = load_image_lists(
    str(root),
    str(root / "train.txt"),
    class_folders=True,
    options=SplitOptions(validation_per_class=3),
  )
  clock, cpu = time.monotonic() - start[0], time.process_time() - start[1]
  memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
  print(
    f"{len(dataset.train) + len(dataset.validation)} images in"
    f" {dataset.num_classes} classes: {clock:.1f} s, {cpu:.1f} s of processor"
    f" time, {memory:.2f} GB"
  )


def make(root: pathlib.Path, images: int) -> None:
  """Files and the list train.txt that names them."""
  rng = np.random.default_rng(0)
  lines = []
  for first in range(0, images, FOLDER):
    label = first // FOLDER
    place = f"images/Plantae/{label:06d}"
    (root / place).mkdir(parents=True)
    letters = rng.bytes(16 * FOLDER).hex()
    for i in range(min(FOLDER, images - first)):
      name = f"{place}/{letters[32 * i : 32 * i + 32]}.jpg"
      (root / name).touch()
      lines.append(f"{name} {label}\n")
  order = rng.permutation(len(lines)).tolist()
  with open(root / "train.txt", "w") as text:
    text.writelines(lines[i] for i in order)


if __name__ == "__main__":
  app.run(main)
