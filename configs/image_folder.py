"""BLT on your own images, in a folder a class.

    python main.py --config=configs/image_folder.py --config.dataset.root=DIR

DIR holds either a folder for each class, then 5 images a class are held out for
validation and 5 for the test, or train/, validation/ and test/ folders with a
folder for each class in them.
"""

import ml_collections

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = common.default()
  config.dataset.name = "image_folder"
  config.dataset.source = "image_folder"
  config.dataset.validation_per_class = 5
  config.dataset.test_per_class = 5
  return common.variant(config, arg)
