"""A configuration: the schema of its fields, and the check of their values.

`schema` has every field once. `config_dict()` gives the default values as an
ml_collections.ConfigDict, which configs/*.py change. `check_config` turns it
into the frozen, typed Config that the program reads.
"""

from blt_jax.config.check import (
  PIXEL_SOURCES,
  PLACES,
  SCHEMA,
  Field,
  check_config,
  check_used,
  config_dict,
  differing,
  flatten,
  resize_size,
  unknown_field,
  with_values,
)
from blt_jax.config.open_fields import (
  as_begun,
  follow,
  left_open,
  repository_of,
)
from blt_jax.config.rules import AUTO, GIVEN
from blt_jax.config.schema import (
  Config,
  StageConfig,
)

__all__ = [
  "AUTO",
  "GIVEN",
  "PIXEL_SOURCES",
  "PLACES",
  "SCHEMA",
  "Config",
  "Field",
  "StageConfig",
  "as_begun",
  "check_config",
  "check_used",
  "config_dict",
  "differing",
  "flatten",
  "follow",
  "left_open",
  "repository_of",
  "resize_size",
  "unknown_field",
  "with_values",
]
