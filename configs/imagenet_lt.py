r"""BLT on ImageNet-LT with ResNet-10: the paper's main run.

    python main.py --config=configs/imagenet_lt.py \
        --config.dataset.root=/data/imagenet

The root holds ImageNet's train/ and val/ folders and the split lists
ImageNet_LT_train.txt, ImageNet_LT_val.txt and ImageNet_LT_test.txt of OLTR
("train/n01440764/n01440764_190.JPEG 0"). val/ may be without class folders, as
its archive unpacks. TFDS can also read the original archives; the first time it
prepares record files of its own under the root:

    python main.py --config=configs/imagenet_lt.py \
        --config.dataset.source=tfds --config.dataset.root=/data/tfds \
        --config.dataset.manual_dir=/data/imagenet_archives

What to put where, and the counts to expect: docs/datasets.md.

Hardware and time: not measured by us on this data set. The paper reports
7 h 3 min for the 90 epochs on one RTX 2080 Ti (supplement, Table 6).
Expected top-1 (supplement, Table 1, batch 256, p = 0.25): many 41.6, medium
33.4, few 26.3, overall 35.5. The paper's headline (Table 1: many 44.4, medium
33.5, few 25.5, overall 36.6) is the bar of gamma 0.9 and p 0.5 in its Fig. 3c;
`:p=0.5` trains that.
"""

import ml_collections

from blt_jax.config import config_dict
from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = config_dict()
  config.dataset.name = "imagenet_lt"
  config.dataset.source = "image_list"
  config.dataset.root = "data/imagenet"
  config.dataset.train_list = "ImageNet_LT_train.txt"
  config.dataset.validation_list = "ImageNet_LT_val.txt"
  config.dataset.test_list = "ImageNet_LT_test.txt"
  config.dataset.class_folders = True
  config.dataset.flat_folders = ("val",)
  return common.variant(config, arg)
