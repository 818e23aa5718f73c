"""The variants of all configurations: what follows the colon of --config.

A data set's file begins with `config_dict()`, the defaults of
blt_jax/config/schema, and sets what is different. It ends with
`variant(config, arg)`, which applies the pairs of
`--config=configs/digits_lt.py:method=blt_softmax,seed=1`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import ml_collections

from blt_jax.config import SCHEMA
from blt_jax.config.short_names import SHORT_NAMES

T = TypeVar("T")

# The methods that the paper compares, and the fields that each sets.
METHODS: dict[str, dict[str, Any]] = {
  "plain": {
    "model.classifier": "linear",
    "stage2.balanced": False,
    "stage2.perturb": False,
  },
  "sampling": {"model.classifier": "linear", "stage2.perturb": False},
  "blt": {},
  "blt_softmax": {"model.classifier": "linear"},
  "blt_entire_batch": {"perturb.classes": "all"},
  "blt_uniform": {"stage2.gamma": 0.0},
  "augmentations": {"perturb.max_steps": 0},
  "neither": {"stage2.perturb": False},
  "static_targeted": {"perturb.static": True},
  "static_random": {"perturb.static": True, "perturb.targets": "random"},
}

# Settings that belong together: the paper's text, the authors' released code,
# and the best of our search on CIFAR-10-LT (docs/results.md).
PRESETS: dict[str, dict[str, Any]] = {
  "default": {},
  "release": {
    "model.alpha": 16.0,
    "perturb.momentum": 1.0,
    "perturb.rounding": "floor",
    "perturb.confidence_choices": (0.15, 0.2, 0.25),
  },
  "tuned": {
    "model.alpha": 10.0,
    "perturb.p": 0.5,
    "perturb.momentum": 1.0,
    "perturb.confidence": (0.3, 0.5),
  },
}

VARIANT_KEYS = ("method", "preset", "lr", "confidence", *SHORT_NAMES)


def variant(
  config: ml_collections.ConfigDict,
  arg: str | None,
  *,
  methods: Mapping[str, dict[str, Any]] = METHODS,
) -> ml_collections.ConfigDict:
  """Applies the `key=value,...` pairs after the colon of --config.

  Args:
    config: the data set's configuration; changed in place.
    arg: the pairs, or None. The keys are VARIANT_KEYS. `method` and `preset`
      are applied first, wherever they stand, so that single values win over
      them.
    methods: the values of `method`, and the fields that each sets.

  Returns:
    config.

  Raises:
    ValueError: for an unknown key, method or preset, a repeated key or a value
      of the wrong type.
  """
  pairs = _parse(arg or "")
  set_fields(config, one_of("preset", pairs.pop("preset", "default"), PRESETS))
  method = pairs.pop("method", config.method)
  set_fields(config, {**one_of("method", method, methods), "method": method})
  for key, value in pairs.items():
    if key == "lr":
      _set_rates(config, value)
    elif key == "confidence":
      _set_confidence(config, value)
    else:
      for field in SHORT_NAMES[key]:
        set_fields(config, {field: _parsed(key, value, SCHEMA[field].kind)})
      if (key, value) == ("loss", "ldam"):  # LDAM's scale is for cosines.
        config.model.classifier = "squashing_cosine"
  return config


def take(arg: str | None, key: str, *, default: str) -> tuple[str, str]:
  """Takes a key of a configuration's own out of the `key=value` pairs.

  Returns:
    (its value, the other pairs for `variant`).
  """
  pairs = (arg or "").split(",")
  values = [pair for pair in pairs if pair.startswith(f"{key}=")]
  if len(values) > 1:
    raise ValueError(f"variant {key} is given twice; expected it once.")
  found = values[0].partition("=")[2] if values else default
  return found, ",".join(pair for pair in pairs if pair not in values)


def _parse(arg: str) -> dict[str, str]:
  """Splits `a=1,b=2` into a dict and refuses keys that do not exist."""
  pairs: dict[str, str] = {}
  for item in filter(None, arg.split(",")):
    key, equals, value = item.partition("=")
    if key not in VARIANT_KEYS or not equals:
      raise ValueError(
        f"variant {item!r} is not known; expected key=value with a key of "
        f"{', '.join(VARIANT_KEYS)}."
      )
    if key in pairs:
      raise ValueError(f"variant {key} is given twice; expected it once.")
    pairs[key] = value
  return pairs


def set_fields(
  config: ml_collections.ConfigDict, values: Mapping[str, Any]
) -> None:
  """Sets fields, given as {"section.field": value}."""
  for name, value in values.items():
    section, _, field = name.rpartition(".")
    holder = config[section] if section else config
    holder[field] = value


def one_of(key: str, value: str, table: Mapping[str, T]) -> T:
  """The entry of a table for a name."""
  if value not in table:
    raise ValueError(
      f"variant {key} is {value!r}; expected one of {', '.join(table)}."
    )
  return table[value]


def _parsed(key: str, value: str, kind: type) -> Any:
  """A value as its field's type."""
  try:
    return kind(value)
  except ValueError:
    wanted = {int: "a whole number", float: "a number"}[kind]
    raise ValueError(
      f"variant {key} is {value!r}; expected {wanted}."
    ) from None


def _set_rates(config: ml_collections.ConfigDict, value: str) -> None:
  """The learning-rate policies of the supplement's Table 1."""
  if value not in ("base", "small"):
    raise ValueError(
      f"variant lr is {value!r}; expected base or small, a tenth of base."
    )
  if value == "small":
    for stage in (config.stage1, config.stage2):
      stage.backbone_rate /= 10
      stage.classifier_rate /= 10


def _set_confidence(config: ml_collections.ConfigDict, value: str) -> None:
  """`0.2` is a constant, `0.15-0.25` a range."""
  low, dash, high = value.partition("-")
  config.perturb.confidence = tuple(
    _parsed("confidence", bound, float)
    for bound in (low, high if dash else low)
  )
  config.perturb.confidence_choices = ()
