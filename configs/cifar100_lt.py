"""BLT on CIFAR-100-LT: 500 ... 5 images a class (imbalance 100), 32 pixels.

    python main.py --config=configs/cifar100_lt.py

reads CIFAR-100 through TFDS: 10,847 training images; for validation up to 20
images a class that the profile leaves over (none of the largest class); the
official test set.

Hardware, time and results: not measured by us yet.
"""

import ml_collections

from configs import cifar10_lt, common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = cifar10_lt.get_config()
  config.dataset.name = "cifar100"
  config.dataset.max_per_class = 500
  config.dataset.validation_per_class = 20
  return common.variant(config, arg)
