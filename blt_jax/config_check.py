"""Checks a configuration before anything is read or compiled.

ml_collections refuses unknown fields and wrong types of overrides; values are
checked here, field by field, against the table `RULES`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from blt_jax.data.image_formats import MAX_PIXELS
from blt_jax.data.unreadable import ON_ERROR
from blt_jax.models import BACKBONES, CLASSIFIERS

SOURCES = (
  "digits",
  "npz",
  "image_list",
  "image_folder",
  "inaturalist",
  "tfds",
)
PROFILES = ("natural", "exponential", "step")


class Rule:
  """What a field may be: a sentence for the user and the test behind it."""

  def __init__(self, allowed: str, accepts: Callable[[Any], bool]):
    self.allowed = allowed
    self.accepts = accepts


def whole(low: int, high: int = 2**31 - 1) -> Rule:
  """A whole number in [low, high]."""
  text = f"a whole number from {low} to {high}"
  return Rule(text, lambda v: _is_whole(v) and low <= v <= high)


def number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
  """A finite number in [low, high], or in (low, high] if `above`."""
  text = f"a number {'above' if above else 'of at least'} {low:g}"
  if high < math.inf:
    text += f" and at most {high:g}"

  def accepts(value: Any) -> bool:
    return (
      _is_number(value)
      and low <= value <= high
      and not (above and value == low)
    )

  return Rule(text, accepts)


def choice(options: tuple[str, ...]) -> Rule:
  """One of some names."""
  return Rule("one of " + ", ".join(options), lambda v: v in options)


def interval(low: float, high: float, *, above: bool = False) -> Rule:
  """Two numbers (a, b) with low <= a <= b <= high."""
  inside = number(low, high, above=above)
  return Rule(
    f"(low, high), each {inside.allowed}, low not above high",
    lambda v: _is_sequence(v, inside, length=2) and v[0] <= v[1],
  )


def several(rule: Rule, *, length: int | None = None) -> Rule:
  """A tuple whose members follow a rule."""
  size = "some" if length is None else str(length)
  return Rule(
    f"({size} values, each {rule.allowed})",
    lambda v: _is_sequence(v, rule, length=length),
  )


BOOLEAN = Rule("True or False", lambda v: isinstance(v, bool))
TEXT = Rule("a text", lambda v: isinstance(v, str))

_DATASET_RULES = {
  "name": Rule(
    "a text that is not empty", lambda v: isinstance(v, str) and v != ""
  ),
  "source": choice(SOURCES),
  "root": TEXT,
  "manual_dir": TEXT,
  "train_list": TEXT,
  "validation_list": TEXT,
  "test_list": TEXT,
  "class_names": TEXT,
  "class_folders": BOOLEAN,
  "flat_folders": several(TEXT),
  "drop_below": whole(0),
  "profile": choice(PROFILES),
  "max_per_class": whole(0),
  "imbalance": number(1.0),
  "validation_per_class": whole(0),
  "test_per_class": whole(0),
  "split_seed": whole(0),
  "on_error": choice(ON_ERROR),
  "max_pixels": whole(1, MAX_PIXELS),
  "resize_on": choice(("auto", "host", "device")),
  "many_above": whole(0),
  "few_up_to": whole(0),
  "image_size": whole(8),
  "resize_size": whole(8),
  "crop_scale": interval(0.0, 1.0, above=True),
  "crop_ratio": interval(0.0, 100.0, above=True),
  "flip": number(0.0, 1.0),
  "rotation": number(0.0, 180.0),
  "brightness": number(0.0, 1.0),
  "contrast": number(0.0, 1.0),
  "saturation": number(0.0, 1.0),
  "mean": several(number(0.0, 1.0), length=3),
  "std": several(number(0.0, 10.0, above=True), length=3),
}
_MODEL_RULES = {
  "backbone": choice(BACKBONES),
  "classifier": choice(CLASSIFIERS),
  "hidden": whole(1),
  "alpha": number(0.0, above=True),
  "beta": number(0.0, above=True),
  "margin": number(0.0),
  "dtype": choice(("float32", "bfloat16")),
}
_OPTIMIZER_RULES = {
  "momentum": number(0.0, 1.0),
  "weight_decay": number(0.0),
}
_PERTURB_RULES = {
  "p": number(0.0, 1.0),
  "rounding": choice(("ceil", "floor")),
  "classes": choice(("tail", "all")),
  "targets": choice(("confusion", "random")),
  "static": BOOLEAN,
  "confidence": interval(0.0, 1.0),
  "confidence_choices": several(number(0.0, 1.0)),
  "step_size": number(0.0),
  "max_steps": whole(0, 1000),
  "momentum": number(0.0, 1.0),
  "crop_scale": interval(0.0, 1.0, above=True),
  "every": whole(1, 1000),
  "start_epoch": whole(1),
}
_STAGE_RULES = {
  "epochs": whole(0),
  "batch_size": whole(1),
  "balanced": BOOLEAN,
  "gamma": number(-10.0, 10.0),
  "perturb": BOOLEAN,
  "backbone_rate": number(0.0),
  "classifier_rate": number(0.0),
  "drop_epochs": several(whole(1)),
}
RULES: dict[str, dict[str, Rule]] = {
  "": {
    "seed": whole(0),
    "method": TEXT,
    "num_devices": whole(0),
  },
  "dataset": _DATASET_RULES,
  "model": _MODEL_RULES,
  "optimizer": _OPTIMIZER_RULES,
  "perturb": _PERTURB_RULES,
  "checkpoint": {"every_minutes": number(0.0)},
  "stage1": {**_STAGE_RULES, "reuse": TEXT},
  "stage2": {**_STAGE_RULES, "new_classifier": BOOLEAN},
}


def check_config(config: ml_collections.ConfigDict) -> None:
  """Refuses a configuration with a value that can't work.

  Args:
    config: a configuration as `configs/common.py` defines it.

  Raises:
    ValueError: naming the first bad field, its value and what is allowed.
  """
  for field, value, rule in fields(config):
    if not rule.accepts(value):
      raise ValueError(f"config.{field} is {value!r}; expected {rule.allowed}.")
  _check_together(config)


def fields(
  config: ml_collections.ConfigDict,
) -> Iterator[tuple[str, Any, Rule]]:
  """Yields (dotted name, value, rule) of every field.

  Raises:
    ValueError: when a field or a section is missing or unknown.
  """
  if not isinstance(config, ml_collections.ConfigDict):
    raise ValueError(
      f"the configuration is {config!r}; expected an "
      "ml_collections.ConfigDict, as get_config of configs/ gives it."
    )
  for section, rules in RULES.items():
    holder = config.get(section) if section else config
    prefix = f"{section}." if section else ""
    if holder is None:
      raise ValueError(f"config.{section} is missing; expected a section.")
    if not isinstance(holder, ml_collections.ConfigDict):
      raise ValueError(
        f"config.{section} is {holder!r}; expected a section of fields."
      )
    known = set(rules) | (set(RULES) - {""} if not section else set())
    for name in holder:
      if name not in known:
        raise ValueError(
          f"config.{prefix}{name} is not a known field; expected those of "
          "configs/common.py."
        )
    for name, rule in rules.items():
      if name not in holder:
        raise ValueError(
          f"config.{prefix}{name} is missing; expected {rule.allowed}."
        )
      yield prefix + name, holder[name], rule


def _check_together(config: ml_collections.ConfigDict) -> None:
  """Checks what no field can be blamed for alone."""
  stages = {"stage1": config.stage1, "stage2": config.stage2}
  if not any(stage.epochs for stage in stages.values()):
    raise ValueError(
      "config.stage1.epochs and config.stage2.epochs are both 0; expected at "
      "least one epoch."
    )
  for name, stage in stages.items():
    drops = list(stage.drop_epochs)
    if drops != sorted(set(drops)):
      raise ValueError(
        f"config.{name}.drop_epochs is {stage.drop_epochs!r}; expected epochs "
        "in rising order."
      )
  if config.dataset.few_up_to > config.dataset.many_above:
    raise ValueError(
      f"config.dataset.few_up_to is {config.dataset.few_up_to}; expected at "
      f"most config.dataset.many_above, {config.dataset.many_above}."
    )
  if config.dataset.resize_size < config.dataset.image_size:
    raise ValueError(
      f"config.dataset.resize_size is {config.dataset.resize_size}; expected "
      f"at least config.dataset.image_size, {config.dataset.image_size}."
    )
  if config.perturb.static and config.stage1.perturb:
    raise ValueError(
      "config.stage1.perturb is True; expected False with "
      "config.perturb.static, whose images are made as stage 2 begins."
    )
  if config.perturb.static and config.perturb.every > 1:
    raise ValueError(
      f"config.perturb.every is {config.perturb.every}; expected 1 with "
      "config.perturb.static, which hallucinates once for all epochs."
    )
  if config.perturb.static and not config.stage1.epochs:
    raise ValueError(
      "config.stage1.epochs is 0; expected at least 1 with "
      "config.perturb.static, which perturbs with the network of stage 1."
    )


def _is_number(value: Any) -> bool:
  return (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and math.isfinite(value)
  )


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_sequence(value: Any, rule: Rule, *, length: int | None) -> bool:
  return (
    isinstance(value, tuple | list)
    and (length is None or len(value) == length)
    and all(rule.accepts(member) for member in value)
  )
