"""Checks a configuration as users write it and turns it into a Config.

ml_collections refuses unknown fields and values of another type on the command
line; here every value is checked by the rule of its field.
"""

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from blt_jax.config.dataset_config import check_pixels
from blt_jax.config.rules import (
  GIVEN,
  PATH,
  WEIGHTS,
  Rule,
  home_expanded,
  whole_path,
)
from blt_jax.config.schema import Config, ModelConfig
from blt_jax.data.sources import USED_FIELDS
from blt_jax.data.sources.splits import check_folds
from blt_jax.models import BACKBONES, IMAGENET, expected_size

if TYPE_CHECKING:
  import ml_collections

# Sources of a user's own images. With these, fields that have a value for it
# may be left open, and training/choose.py chooses them from the images.
OPEN_SOURCES = ("npz", "image_list", "image_folder", "image_table", GIVEN)
# Sources whose images are pixels already; no file is left to be decoded.
PIXEL_SOURCES = ("digits", "npz")
# The field that every data set of files may leave open.
_GREY_RANGE = "dataset.grey_range"
# Weights to begin with. With these, every data set may leave open what they
# were trained with.
_OF_WEIGHTS = ("model.backbone", "dataset.image_size")


@dataclasses.dataclass(frozen=True)
class Field:
  """A field of the schema.

  Attributes:
    name: dotted, such as "perturb.p".
    kind: Python's type of the value.
    rule: the rule that a value has to meet.
    default: the value in a configuration that does not set it.
    help: a line for users.
    left_open: the value that lets training/choose.py choose; None without one.
    resume: what the value may be when a run is resumed: "same", "any", "more"
      (at least as much) or "moved" (another place of the same images or
      weights).
  """

  name: str
  kind: Any
  rule: Rule
  default: Any
  help: str
  left_open: Any
  resume: str


def _fields_of(section: Any, prefix: str = "") -> Iterator[Field]:
  hints = typing.get_type_hints(type(section), include_extras=True)
  for each in dataclasses.fields(section):
    name, value = prefix + each.name, getattr(section, each.name)
    if dataclasses.is_dataclass(value):
      yield from _fields_of(value, f"{name}.")
    else:
      kind, rule = typing.get_args(hints[each.name])
      yield Field(name, kind, rule, value, **each.metadata)


# {"perturb.p": its Field} of every field.
SCHEMA: dict[str, Field] = {each.name: each for each in _fields_of(Config())}

# The fields that say where a run's images and the weights it began with are.
PLACES = tuple(n for n, each in SCHEMA.items() if each.resume == "moved")


def config_dict(config: Config | None = None) -> "ml_collections.ConfigDict":
  """A configuration that can be changed: the default one, or a copy."""
  import ml_collections  # Only main.py and configs/ need it.

  return ml_collections.ConfigDict(dataclasses.asdict(config or Config()))


def flatten(config: Config) -> dict[str, Any]:
  """{"section.field": value} of every field, sequences as JSON's lists."""
  return {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in _flat(dataclasses.asdict(config)).items()
  }


def check_config(
  given: "Config | ml_collections.ConfigDict | Mapping[str, Any]",
) -> Config:
  """Refuses a configuration with a value that can't work.

  Args:
    given: as get_config of configs/*.py gives it, or as a work directory's
      config.json holds it, or a Config of which fields were replaced.

  Returns:
    The same as a Config; lists have become tuples.

  Raises:
    ValueError: naming the first bad field, its value and what is expected.
  """
  values = values_of(given)
  for name, each in SCHEMA.items():
    value = values[name]
    can_be_open = may_be_open(each, values)
    if each.rule.accepts(value) or (can_be_open and is_open(each, value)):
      continue
    hint = f", or {each.left_open!r} to have it picked" if can_be_open else ""
    raise ValueError(
      f"config.{name} is {value!r}; expected {each.rule.allowed}{hint}."
    )
  config = _typed(values)
  _check_together(config)
  _check_static(config)
  _check_loss(config.model)
  if config.model.train != "all":
    from blt_jax.config import trained  # Few runs train a part.

    trained.check(config.model)
  return config


def check_used(config: Config, given: Iterable[str]) -> None:
  """Refuses fields that the source of the images does not use.

  Args:
    config: the configuration.
    given: dotted names of the fields that the user has set. One that has its
      default value changes nothing and passes.

  Raises:
    ValueError: names the field and the sources that use it.
  """
  source, values = config.dataset.source, flatten(config)
  for name in given:
    value, default = values[name], SCHEMA[name].default
    if value == (list(default) if isinstance(default, tuple) else default):
      continue
    field = name.removeprefix("dataset.")
    users = [each for each, used in USED_FIELDS.items() if field in used]
    if users and source not in users:
      raise ValueError(
        f"config.{name} is {value!r}; expected {default!r} with "
        f"config.dataset.source {source}, which does not use it: it is for "
        f"{', '.join(users)}."
      )


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
  """A configuration with other values of some fields.

  Args:
    config: the configuration; it does not change.
    values: {"section.field": value}.

  Raises:
    ValueError: as in `check_config`.
  """
  content = dataclasses.asdict(config)
  for name, value in values.items():
    if name not in SCHEMA:
      raise ValueError(unknown_field(name))
    section, _, field = name.rpartition(".")
    (content[section] if section else content)[field] = value
  return check_config(content)


def differing(first: Config, *others: Config) -> dict[str, tuple[Any, ...]]:
  """{"section.field": its value in each} of the fields that are not equal."""
  flat = [flatten(config) for config in (first, *others)]
  return {
    name: tuple(each[name] for each in flat)
    for name in sorted(flat[0])
    if any(each[name] != flat[0][name] for each in flat)
  }


def resize_size(image_size: int) -> int:
  """The short side that evaluation cuts a square of `image_size` from."""
  return image_size * 256 // 224


# The fields that every data set may leave open, and what each is then.
FOLLOWING: dict[str, Callable[[Config], Any]] = {
  # In the paper's proportion to image_size.
  "dataset.resize_size": lambda c: resize_size(c.dataset.image_size),
  "dataset.interpolation": lambda _: "bilinear",
  "dataset.mean": lambda _: IMAGENET[0],
  "dataset.std": lambda _: IMAGENET[1],
  "model.train": lambda c: _trained_part(c.model.backbone),
}


def _trained_part(backbone: str) -> str:
  from blt_jax.config import trained  # Few runs leave it open.

  return trained.usual_part(backbone)


def unknown_field(name: str) -> str:
  """The message for the name of a field that does not exist."""
  close = difflib.get_close_matches(name, SCHEMA, n=1)
  hint = f" Did you mean config.{close[0]}?" if close else ""
  return (
    f"config.{name} is not a known field; expected those of "
    f"docs/configuration.md.{hint}"
  )


def may_be_open(each: Field, values: Mapping[str, Any]) -> bool:
  """Whether a field may be left open beside the other values."""
  source = values["dataset.source"]
  has_weights = values["model.pretrained"] != ""
  if each.left_open is None or each.name in FOLLOWING:
    return each.left_open is not None
  if each.name == "model.pretrained_sha256":
    return has_weights
  if each.name in _OF_WEIGHTS and has_weights:
    return True
  if each.name == _GREY_RANGE:
    return source not in PIXEL_SOURCES
  return source in OPEN_SOURCES


def is_open(each: Field, value: Any) -> bool:
  """Whether a value leaves a field open, where that is allowed."""
  return (
    each.left_open is not None
    and (tuple(value) if isinstance(value, list) else value) == each.left_open
    and not isinstance(value, bool)
  )


def values_of(given: Any) -> dict[str, Any]:
  """{dotted name: value} of exactly the fields of the schema, unchecked.

  Raises:
    ValueError: when a field or a section is missing or unknown.
  """
  if isinstance(given, Config):
    return _flat(dataclasses.asdict(given))
  content = given.to_dict() if hasattr(given, "to_dict") else given
  if not isinstance(content, Mapping):
    raise ValueError(
      f"the configuration is {given!r}; expected an ml_collections.ConfigDict, "
      "as get_config of configs/ gives it."
    )
  for section in dict.fromkeys(n.partition(".")[0] for n in SCHEMA if "." in n):
    if section not in content:
      raise ValueError(f"config.{section} is missing; expected a section.")
    if not isinstance(content[section], Mapping):
      raise ValueError(
        f"config.{section} is {content[section]!r}; expected a section of "
        "fields."
      )
  values = _flat(content)
  for name in values:
    if name not in SCHEMA:
      raise ValueError(unknown_field(name))
  for name, each in SCHEMA.items():
    if name not in values:
      raise ValueError(
        f"config.{name} is missing; expected {each.rule.allowed}."
      )
  return values


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
  """{"section.field": value} of nested mappings."""
  flat = {}
  for name, value in content.items():
    if isinstance(value, Mapping):
      flat.update({f"{name}.{inner}": v for inner, v in _flat(value).items()})
    else:
      flat[name] = value
  return flat


def _typed(values: Mapping[str, Any]) -> Config:
  """The Config of values that have passed their rules; ~ is expanded.

  Weights in a file are named by its whole path: a run may need them later.
  """
  sections: dict[str, dict[str, Any]] = {}
  for name, value in values.items():
    section, _, field = name.rpartition(".")
    if isinstance(value, list):
      value = tuple(value)
    elif SCHEMA[name].kind is float:
      value = float(value)
    elif SCHEMA[name].rule is PATH:
      value = home_expanded(value)
    elif SCHEMA[name].rule is WEIGHTS:
      value = whole_path(value)
    sections.setdefault(section, {})[field] = value
  hints = typing.get_type_hints(Config)
  top = sections.pop("")
  return Config(
    **top, **{name: hints[name](**given) for name, given in sections.items()}
  )


def _check_together(config: Config) -> None:
  """Checks fields that have to go together."""
  stages = {"stage1": config.stage1, "stage2": config.stage2}
  if not any(stage.epochs for stage in stages.values()):
    raise ValueError(
      "config.stage1.epochs and config.stage2.epochs are both 0; expected at "
      "least one epoch."
    )
  for name, stage in stages.items():
    drops = stage.drop_epochs
    if list(drops) != sorted(set(drops)):
      raise ValueError(
        f"config.{name}.drop_epochs is {drops!r}; expected epochs in rising "
        "order."
      )
    warmup = config.optimizer.warmup_epochs
    if stage.epochs and warmup > stage.epochs:
      raise ValueError(
        f"config.optimizer.warmup_epochs is {warmup!r}; expected at most "
        f"config.{name}.epochs, {stage.epochs}."
      )
  dataset = config.dataset
  check_folds(dataset.folds, dataset.fold)
  if dataset.few_up_to > dataset.many_above:
    raise ValueError(
      f"config.dataset.few_up_to is {dataset.few_up_to}; expected at most "
      f"config.dataset.many_above, {dataset.many_above}."
    )
  check_pixels(dataset)
  name, size = config.model.backbone, dataset.image_size
  sizes = expected_size(name, size) if size and name in BACKBONES else ""
  if sizes:
    raise ValueError(
      f"config.dataset.image_size is {size}; expected {sizes}, with "
      f"config.model.backbone {name}."
    )


def _check_static(config: Config) -> None:
  """Checks that stage 1 trains the network that makes static images."""
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


def _check_loss(model: ModelConfig) -> None:
  """Checks which options go with which loss (docs/losses.md says why)."""
  allowed = {
    "margin": ("cross_entropy",),
    "reweight_epoch": ("cross_entropy", "focal", "ldam"),
    "posthoc_tau": ("cross_entropy", "focal"),
  }
  for field, names in allowed.items():
    value = getattr(model, field)
    if value and model.loss not in names:
      raise ValueError(
        f"config.model.{field} is {value!r}; expected 0 with config.model.loss "
        f"{model.loss}: it goes with {', '.join(names)}."
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
