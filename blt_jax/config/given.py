"""Images and a network that a program hands to a run, see blt_jax/library.py.

Then the configuration does not name them: `dataset.source` and
`model.backbone` are GIVEN, and what would describe them has no effect.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from blt_jax.config.check import SCHEMA, check_config, values_of
from blt_jax.config.rules import GIVEN
from blt_jax.config.schema import Config

# Fields of where images are and how they are split.
_OF_IMAGES = tuple(
  f"dataset.{name}"
  for name in (
    *("root", "manual_dir", "train_list", "validation_list", "test_list"),
    *("table", "path", "label", "split", "group"),
    *("class_names", "class_folders", "flat_folders", "drop_below"),
    *("profile", "max_per_class", "imbalance", "split_seed"),
    *("validation_per_class", "test_per_class", "folds", "fold"),
  )
)
# Fields of the networks of blt_jax.models, and what they are for another one:
# a linear classifier is one of which nothing is known.
_OF_NETWORK = {
  "model.backbone": GIVEN,
  "model.classifier": "linear",
  "model.hidden": 0,
  **{
    f"model.{name}": SCHEMA[f"model.{name}"].default
    for name in ("alpha", "beta", "dtype", "adapter_width")
  },
}
# Fields that need a network of blt_jax.models, whose parts are known.
_OF_PARTS = (
  *("model.pretrained", "model.train", "model.classifier_init"),
  "optimizer.layer_decay",
)


def settle(
  config: Any, *, images: str | None = None, network: bool = False
) -> tuple[Config, list[str]]:
  """A configuration of images or of a network that a program hands in.

  Args:
    config: as `check_config` takes it; a data set need not be named in it.
    images: the name of a data set that is handed in, None without one. A name
      in the configuration takes its place.
    network: whether a network is handed in.

  Returns:
    (the configuration, lines about its fields that have no effect).

  Raises:
    ValueError: as in `check_config`, and for a field that does not go with a
      network that is handed in.
  """
  values = values_of(config)
  lines = []
  if images is not None:
    own = {name: SCHEMA[name].default for name in _OF_IMAGES}
    own["dataset.source"] = GIVEN
    lines += _lines(values, own, "the program hands in the data set")
    values |= own
    values["dataset.name"] = values["dataset.name"] or images
  if network:
    for name in _OF_PARTS:
      if values[name] != SCHEMA[name].default:
        raise ValueError(
          f"config.{name} is {values[name]!r}; expected "
          f"{SCHEMA[name].default!r} with a network that the program hands in: "
          "it is for the networks of config.model.backbone."
        )
    lines += _lines(values, _OF_NETWORK, "the program hands in the network")
    values |= _OF_NETWORK
  return check_config(_nested(values)), lines


def at(config: Any, place: str | os.PathLike) -> dict[str, Any]:
  """A configuration of the images in a folder, a table or an .npz file.

  Args:
    config: as `check_config` takes it.
    place: a folder of class folders or of splits, a table of images, or an
      .npz file; the data set has its name unless the configuration has one.

  Returns:
    The configuration, to be checked.

  Raises:
    ValueError: there is no such file or folder.
  """
  path = pathlib.Path(place).expanduser()
  if not path.exists():
    raise ValueError(
      f"dataset is {str(place)!r}, and there is no such file or folder; "
      "expected a folder of images, a table of them, an .npz file, or a data "
      "set of blt_jax.sources."
    )
  is_table = path.is_file() and path.suffix != ".npz"
  source = "npz" if path.is_file() else "image_folder"
  values = values_of(config)
  values["dataset.source"] = "image_table" if is_table else source
  values["dataset.table" if is_table else "dataset.root"] = str(path)
  values["dataset.name"] = values["dataset.name"] or path.absolute().stem
  return _nested(values)


def _lines(
  values: Mapping[str, Any], own: Mapping[str, Any], reason: str
) -> list[str]:
  """A line with the fields that say something else than what counts."""
  fields = [
    f"config.{name} {value!r}"
    for name, counts in own.items()
    for value in (_as_tuple(values[name]),)
    if value not in (counts, SCHEMA[name].default, SCHEMA[name].left_open)
  ]
  return [f"note: no effect, as {reason}: {', '.join(fields)}"] * bool(fields)


def _as_tuple(value: Any) -> Any:
  """A list as the tuple that it becomes."""
  return tuple(value) if isinstance(value, list) else value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
  """{"section": {"field": value}} of {"section.field": value}."""
  content: dict[str, Any] = {}
  for name, value in values.items():
    section, _, field = name.rpartition(".")
    (content.setdefault(section, {}) if section else content)[field] = value
  return content
