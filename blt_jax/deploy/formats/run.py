"""Runs an exported network in a process of its own.

python -m blt_jax.deploy.formats.run FORMAT FOLDER IMAGES.npy LOGITS.npy
"""

import pathlib
import sys

import numpy as np

from blt_jax.deploy import formats


def main(name: str, folder: str, images: str, logits: str) -> None:
  """Writes the logits of images, computed in batches of several sizes."""
  classify = formats.module(name).load(pathlib.Path(folder))
  pixels = np.load(images, allow_pickle=False)
  parts = np.split(pixels, [1, 4])
  np.save(logits, np.concatenate([classify(part) for part in parts]))


if __name__ == "__main__":
  main(*sys.argv[1:])
