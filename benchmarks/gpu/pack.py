r"""Packs the images of the small CIFAR-10-LT into one file, for part g.

    .venv/bin/python -m benchmarks.cifar10_lists --root=DIR
    .venv/bin/python -m benchmarks.gpu.pack --root=DIR --output=FILE.npz

The file has the JPEG bytes of the training and validation images of the
protocol in docs/results.md and of the first 250 test images of each class: some
5 MB. Any machine can read it with NumPy and Pillow.
"""

import pathlib

import numpy as np
from absl import app, flags

from benchmarks import small_protocol
from blt_jax.workdir import files

PARTS = ("train", "validation", "test")

TEST_PER_CLASS = 250


def define_flags() -> None:
  """Defines the flags; not on import, as part g imports this."""
  flags.DEFINE_string("root", None, "Folder with the lists.", required=True)
  flags.DEFINE_string("output", None, "File to write.", required=True)


def main(_: list[str]) -> None:
  """Writes the file."""
  root, output = (
    pathlib.Path(path) for path in (flags.FLAGS.root, flags.FLAGS.output)
  )
  arrays = pack(root, test_per_class=TEST_PER_CLASS)
  files.write_npz(output, arrays, compress=False)
  sizes = ", ".join(f"{len(arrays[f'{part}_label'])} {part}" for part in PARTS)
  print(f"{output}: {sizes} images, {output.stat().st_size / 1e6:.1f} MB")


def pack(root: pathlib.Path, *, test_per_class: int) -> dict[str, np.ndarray]:
  """The bytes, lengths and labels of each part, and the classes' names."""
  dataset = small_protocol.load(root)
  arrays: dict[str, np.ndarray] = {"class_names": np.array(dataset.class_names)}
  for part in PARTS:
    split = getattr(dataset, part)
    if part == "test":
      chosen = [
        np.flatnonzero(split.labels == c)[:test_per_class]
        for c in range(dataset.num_classes)
      ]
      split = split.take(np.concatenate(chosen))
    contents = [pathlib.Path(str(path)).read_bytes() for path in split.paths]
    arrays[f"{part}_bytes"] = np.frombuffer(b"".join(contents), np.uint8)
    arrays[f"{part}_length"] = np.array([len(each) for each in contents])
    arrays[f"{part}_label"] = split.labels
  return arrays


if __name__ == "__main__":
  define_flags()
  app.run(main)
