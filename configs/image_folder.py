r"""BLT on your own images, in a folder a class.

    python main.py --config=configs/image_folder.py --config.dataset.root=DIR

DIR holds a folder for each class; then up to 5 images a class are held out for
validation and 5 for the test. Or it holds train/, validation/ and test/ folders
with a folder for each class in them. Image size, backbone and batch size are
chosen from the images (blt_jax/training/choose.py) if they are not given. The
learning rates, the paper's for batches of 256, are scaled to the batch size:

    python main.py --config=configs/image_folder.py:backbone=resnet18,batch=64 \
        --config.dataset.root=DIR --config.dataset.image_size=128

docs/data.md shows what this prints.
"""

import ml_collections

from blt_jax.config import config_dict
from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = config_dict()
  config.dataset.name = "image_folder"
  config.dataset.source = "image_folder"
  config.dataset.exif_orientation = True
  config.dataset.validation_per_class = 5
  config.dataset.test_per_class = 5
  config.dataset.image_size = 0  # Chosen from the images.
  config.model.backbone = "auto"  # By the size and number of images.
  config.stage1.batch_size = 0  # By the number of images.
  config.stage2.batch_size = 0
  return common.variant(config, arg)
