r"""BLT on your own images, named by a table.

    python main.py --config=configs/image_table.py \
        --config.dataset.table=labels.csv --config.dataset.root=DIR

The table is a CSV or TSV file, JSON lines (such as metadata.jsonl of Hugging
Face) or COCO's JSON, as camera-trap projects publish it. It has a column of
paths, relative to DIR or to the table's own folder, a column of classes, by
number or by name, and perhaps columns of splits and of groups. They are found
by their usual names or named:

    python main.py --config=configs/image_table.py \
        --config.dataset.table=labels.csv --config.dataset.root=DIR \
        --config.dataset.path=image_id --config.dataset.label=dx \
        --config.dataset.group=lesion_id

Without a column of splits up to 5 images a class are held out for validation
and 5 for the test. With a column of groups (camera, patient, specimen) it is
about a fifth of the images each, and no group lies in two splits. "none" as the
name of the column of splits or groups takes none.

What is left open is chosen as in configs/image_folder.py. Every run on files
leaves such a table in its work directory, splits.csv. docs/data.md says more.
"""

import ml_collections

from configs import common, image_folder


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """The configuration; `arg` holds `key=value` pairs as in common.variant."""
  config = image_folder.get_config()
  config.dataset.name = "image_table"
  config.dataset.source = "image_table"
  return common.variant(config, arg)
