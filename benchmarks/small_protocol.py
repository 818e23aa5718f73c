"""The images of the small CIFAR-10-LT protocol of docs/results.md."""

import pathlib

from blt_jax.data.dataset import Dataset
from blt_jax.data.sources import SplitOptions, image_lists


def load(root: pathlib.Path) -> Dataset:
  """1000 ... 10 training images a class, 50 validation images, all test images.

  Args:
    root: folder with the lists of `benchmarks.cifar10_lists`.
  """
  return image_lists.load_image_lists(
    str(root),
    str(root / "train.txt"),
    test_list=str(root / "test.txt"),
    options=SplitOptions(
      profile="exponential",
      max_per_class=1000,
      imbalance=100.0,
      validation_per_class=50,
    ),
  )
