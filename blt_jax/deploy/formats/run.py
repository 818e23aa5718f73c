"""Runs exported networks in a process that knows nothing but their files.

python -m blt_jax.deploy.formats.run EXPORTED FOLDER FORMAT ...

Takes FOLDER/images.npy and writes FOLDER/FORMAT.npy, the logits.
"""

import pathlib
import sys

import numpy as np

from blt_jax.deploy import formats


def main(exported: str, folder: str, *names: str) -> None:
  """Writes the logits of images, computed in batches of several sizes."""
  place = pathlib.Path(folder)
  pixels = np.load(place / "images.npy", allow_pickle=False)
  parts = np.split(pixels, [1, 4])
  for name in names:
    try:
      classify = formats.module(name).load(pathlib.Path(exported))
      logits = np.concatenate([classify(part) for part in parts])
    except Exception as error:
      reason = " ".join(str(error).split()) or type(error).__name__
      sys.exit(f"--format={name} can't be loaded: {reason}")
    np.save(place / f"{name}.npy", logits)


if __name__ == "__main__":
  main(*sys.argv[1:])
