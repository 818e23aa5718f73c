"""Writes docs/configuration.md, the table of all fields, from the schema.

python docs/make_configuration.py
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"

_HEAD = """# Configuration

Written by `python docs/make_configuration.py` from
[blt_jax/config/schema.py](../blt_jax/config/schema.py); a test compares them.

A file of [configs/](../configs) sets what is different for its data set; every
field can be set on the command line:

    python main.py --config=configs/digits_lt.py --config.stage2.epochs=10

`python main.py --config=configs/digits_lt.py --help` lists the fields with
their values in that configuration. What stands behind the colon of
`--config=configs/digits_lt.py:method=blt_softmax,seed=1` sets several fields at
once ([configs/common.py](../configs/common.py)); its keys are {keys}.

"""


def make_page() -> str:
  """The whole page."""
  from blt_jax.config import describe
  from configs import common

  keys = ", ".join(f"`{key}`" for key in common.VARIANT_KEYS)
  return _HEAD.format(keys=keys) + describe.markdown()


if __name__ == "__main__":
  sys.path.insert(0, str(ROOT))
  PAGE.write_text(make_page())
