"""Checks a configuration before anything is read or compiled.

ml_collections refuses unknown fields and wrong types of overrides; values are
checked here, field by field, against the table `RULES`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from blt_jax.data.reading.decode import MAX_PIXELS
from blt_jax.data.reading.substitutes import ON_ERROR
from blt_jax.method.losses import LOSSES
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

# What leaves a field open for blt_jax.auto to pick, and the sources of a user's
# own images, where that is allowed.
LEFT_OPEN: dict[str, int | str] = {
  "dataset.image_size": 0,
  "dataset.resize_size": 0,
  "model.backbone": "auto",
  "stage1.batch_size": 0,
  "stage2.batch_size": 0,
}
OPEN_SOURCES = ("npz", "image_list", "image_folder")


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


NUMBER = Rule("a finite number", lambda v: _is_number(v))
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
  "loss": choice(LOSSES),
  "margin": number(0.0),
  "focal_gamma": number(0.0, 10.0),
  "class_balanced_beta": number(0.0, 1.0),
  "logit_adjustment_tau": number(0.0, 10.0),
  "ldam_max_margin": number(0.0),
  "ldam_scale": number(0.0, above=True),
  "reweight_epoch": whole(0),
  "posthoc_tau": number(0.0, 10.0),
  "dtype": choice(("float32", "bfloat16")),
  "init_from": TEXT,
}
_OPTIMIZER_RULES = {
  "momentum": number(0.0, 1.0),
  "weight_decay": number(0.0),
  "rate_batch_size": whole(0),
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
    if not rule.accepts(value) and not _is_open(config, field, value):
      raise ValueError(
        f"config.{field} is {value!r}; expected {rule.allowed}"
        f"{_or_open(config, field)}."
      )
  _check_together(config)
  _check_loss(config.model)


def left_open(config: ml_collections.ConfigDict) -> list[str]:
  """Dotted names of the fields whose values blt_jax.auto is to pick."""
  return [
    field
    for field, value, _ in fields(config)
    if _is_open(config, field, value)
  ]


def _is_open(config: ml_collections.ConfigDict, field: str, value: Any) -> bool:
  """Whether a field is left open, where it may be."""
  return (
    field in LEFT_OPEN
    and config.dataset.source in OPEN_SOURCES
    and value == LEFT_OPEN[field]
    and not isinstance(value, bool)
  )


def _or_open(config: ml_collections.ConfigDict, field: str) -> str:
  """What a message adds about a field that may be left open."""
  if field in LEFT_OPEN and config.dataset.source in OPEN_SOURCES:
    return f", or {LEFT_OPEN[field]!r} to have it picked"
  return ""


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
  if 0 < config.dataset.resize_size < config.dataset.image_size:
    raise ValueError(
      f"config.dataset.resize_size is {config.dataset.resize_size}; expected "
      f"at least config.dataset.image_size, {config.dataset.image_size}."
    )
  if config.perturb.static and config.stage1.perturb:
    raise ValueError(
      "config.stage1.perturb is True; expected False with "
      "config.perturb.static, whose images are made as stage 2 begins."
    )
  if config.perturb.static and not config.stage1.epochs:
    raise ValueError(
      "config.stage1.epochs is 0; expected at least 1 with "
      "config.perturb.static, which perturbs with the network of stage 1."
    )


def _check_loss(model: ml_collections.ConfigDict) -> None:
  """Checks what goes with which loss (docs/losses.md says why)."""
  allowed = {
    "margin": ("cross_entropy",),
    "reweight_epoch": ("cross_entropy", "focal", "ldam"),
    "posthoc_tau": ("cross_entropy", "focal"),
  }
  for field, names in allowed.items():
    if model[field] and model.loss not in names:
      raise ValueError(
        f"config.model.{field} is {model[field]!r}; expected 0 with "
        f"config.model.loss {model.loss}: it goes with {', '.join(names)}."
      )
  if model.posthoc_tau and model.reweight_epoch:
    raise ValueError(
      f"config.model.posthoc_tau is {model.posthoc_tau!r}; expected 0 with "
      "config.model.reweight_epoch, whose weights correct the same already."
    )
  scaled = model.loss == "ldam" and model.ldam_scale != 1
  if scaled and model.classifier == "linear":
    raise ValueError(
      f"config.model.ldam_scale is {model.ldam_scale!r}; expected 1 with "
      "config.model.classifier linear: the scale is for cosines, the logits of "
      "squashing_cosine."
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
