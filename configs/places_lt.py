r"""BLT on Places-LT with ResNet-10.

    python main.py --config=configs/places_lt.py \
        --config.dataset.root=/data/places

The root holds the images of Places365 (train/airfield/00004851.jpg, val/...;
the validation images may also lie without class folders in val_256/ or
val_large/) and the split lists Places_LT_train.txt, Places_LT_val.txt and
Places_LT_test.txt of OLTR. 62,500 training images in 365 classes, 4980 ... 5 a
class. The lists number five classes differently from Places365 itself. With
Places365's list of names, labels are the numbers of that list:

    python main.py --config=configs/places_lt.py \
        --config.dataset.root=/data/places \
        --config.dataset.class_names=categories_places365.txt

What to put where, and the counts to expect: docs/datasets.md.

Hardware and time: not measured by us on this data set.
Expected top-1 (paper, Table 1, ResNet-10): many 31.0, medium 27.4, few 14.1,
overall 25.9.
"""

import ml_collections

from blt_jax.config import config_dict
from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = config_dict()
  config.dataset.name = "places_lt"
  config.dataset.source = "image_list"
  config.dataset.root = "data/places"
  config.dataset.train_list = "Places_LT_train.txt"
  config.dataset.validation_list = "Places_LT_val.txt"
  config.dataset.test_list = "Places_LT_test.txt"
  config.dataset.class_folders = True
  config.dataset.flat_folders = ("val_256", "val_large")
  return common.variant(config, arg)
