r"""BLT on CIFAR-10-LT: 5000 ... 50 images a class (imbalance 100), 32 pixels.

    python main.py --config=configs/cifar10_lt.py

reads CIFAR-10 through TFDS: 12,406 training images; for validation up to 50
images a class that the profile leaves over (none of the largest class); the
official test set. The small protocol of docs/results.md (1000 ... 10 images a
class) reads JPEG files from lists:

    python main.py --config=configs/cifar10_lt.py \
        --config.dataset.source=image_list --config.dataset.root=DIR \
        --config.dataset.train_list=train.txt \
        --config.dataset.test_list=test.txt \
        --config.dataset.max_per_class=1000 \
        --config.dataset.validation_per_class=50

Hardware, time and results of the small protocol: docs/results.md.
"""

import ml_collections

from blt_jax.config import config_dict
from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = config_dict()
  config.dataset.name = "cifar10"
  config.dataset.source = "tfds"
  config.dataset.profile = "exponential"
  config.dataset.max_per_class = 5000
  config.dataset.imbalance = 100.0
  config.dataset.validation_per_class = 50
  config.dataset.image_size = 32
  config.model.backbone = "small_resnet10"
  config.stage1.batch_size = 128
  config.stage2.batch_size = 128
  config.optimizer.rate_batch_size = 128  # The paper's rates as they stand.
  return common.variant(config, arg)
