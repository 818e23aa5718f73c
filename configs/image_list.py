r"""BLT on your own images, named by lists.

    python main.py --config=configs/image_list.py \
        --config.dataset.root=DIR --config.dataset.train_list=train.txt \
        --config.dataset.validation_list=val.txt \
        --config.dataset.test_list=test.txt

A list holds a line "path label" for each image: the path is relative to the
root, the label is a number from 0. Lists are looked up as given, then under the
root.
Without a validation list up to 5 images a class are held out of training;
without a test list the validation images are the test images as well. What is
left open is chosen as in configs/image_folder.py.
"""

import ml_collections

from configs import common, image_folder


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = image_folder.get_config()
  config.dataset.name = "image_list"
  config.dataset.source = "image_list"
  config.dataset.test_per_class = 0  # Lists hold no test images out.
  return common.variant(config, arg)
