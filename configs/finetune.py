r"""Fine-tunes a pretrained network on your own images, with BLT.

    python main.py --config=configs/finetune.py --config.dataset.root=DIR

DIR holds a folder for each class, or train/, validation/ and test/ folders with
those in them (configs/image_folder.py). A table or lists instead, as in
configs/image_table.py and image_list.py:

    python main.py --config=configs/finetune.py \
        --config.dataset.source=image_table \
        --config.dataset.table=labels.csv --config.dataset.root=DIR
    python main.py --config=configs/finetune.py \
        --config.dataset.source=image_list --config.dataset.root=DIR \
        --config.dataset.train_list=train.txt \
        --config.dataset.validation_list=val.txt \
        --config.dataset.test_list=test.txt

The weights are picked by the number and size of the images and the device
(blt_jax/training/pick_weights.py) and fetched from the hub of Hugging Face. Or
they are named, as docs/pretrained.md says:

    python main.py --config=configs/finetune.py:method=neither \
        --config.model.pretrained=timm:resnet50.a1_in1k \
        --config.dataset.root=DIR

Without any, with a line that says why, it is configs/image_folder.py: training
from scratch.

Normalisations and biases are trained, and the classifier (adapters and the
classifier of a vision transformer). Stage 1 samples naturally, with a loss that
corrects for the frequencies of the classes; stage 2 samples nearly equally and
hallucinates (`:method=neither` leaves that out). A stage has 10 epochs at most
and ends once 4 in a row raise nothing on validation. The recipe is
blt_jax/config/finetuning.py.

Hardware, time and result: on one core of an Intel Xeon 1 to 3 minutes for 203
photographs at 96 pixels; 43 % overall in 11 classes, where training from
scratch has 13 %. Stage 1 with a linear classifier and 8 epochs has 76 % on
2,478 images of CIFAR-10-LT, where the best settings from scratch have 50 %
(docs/pretrained.md).
"""

import ml_collections

from blt_jax.config.finetuning import RECIPE
from configs import common, image_folder


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = image_folder.get_config()
  config.dataset.name = "images"
  common.set_fields(config, RECIPE)
  return common.variant(config, arg)
