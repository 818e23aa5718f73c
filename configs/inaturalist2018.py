r"""BLT on iNaturalist 2018 with ResNet-34.

    python main.py --config=configs/inaturalist2018.py \
        --config.dataset.root=/data/inaturalist2018

The root holds the images (train_val2018/...) and the official train2018.json
and val2018.json. Five training images a class are held out as validation and
the official validation set is the test, as the authors do; classes that keep
fewer than 2 training images are dropped and the rest is numbered anew. Lists of
"path label" lines can be used instead:

    python main.py --config=configs/inaturalist2018.py \
        --config.dataset.source=image_list \
        --config.dataset.train_list=iNaturalist18_train.txt \
        --config.dataset.test_list=iNaturalist18_val.txt

What to put where, and the counts to expect: docs/datasets.md.

Hardware and time: not measured by us on this data set.
Expected top-1 (paper, Table 2, ResNet-34): many 53.7, medium 52.5, few 49.9,
overall 51.0.
"""

import ml_collections

from blt_jax.config import config_dict
from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = config_dict()
  config.dataset.name = "inaturalist2018"
  config.dataset.source = "inaturalist"
  config.dataset.root = "data/inaturalist2018"
  config.dataset.train_list = "train2018.json"
  config.dataset.test_list = "val2018.json"
  config.dataset.validation_per_class = 5
  config.dataset.drop_below = 2
  config.model.backbone = "resnet34"
  return common.variant(config, arg)
