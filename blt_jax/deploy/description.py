"""The description of a trained network, as model.json holds it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from blt_jax import __version__
from blt_jax.config import SCHEMA
from blt_jax.config.rules import (
  NUMBER,
  TEXT,
  Rule,
  number,
  one_of,
  several,
  whole,
)
from blt_jax.data.five_crop import VIEWS
from blt_jax.data.reading.decode import Decoding, grey_range
from blt_jax.method.metrics import GROUPS
from blt_jax.models import expected_size, takes_adapters

# Written into each description. A change that would make programs misread a
# description takes the next number.
VERSION = 2


@dataclasses.dataclass(frozen=True)
class Description:
  """Everything about a trained network but its weights.

  Attributes:
    backbone: one of models.BACKBONES.
    classifier: one of models.CLASSIFIERS.
    alpha: of the squashing cosine.
    beta: of the squashing cosine.
    hidden: width of the layer before the classifier, 0 for none.
    dtype: what the network computes in.
    image_size: side of the square that the network sees, pixels.
    resize_size: length of the short side before the square is cut out.
    interpolation: of this resizing, bilinear or bicubic.
    five_crop: whether logits are means over five crops of an image, the
      corners and the centre of its centred square of resize_size.
    mean: of the three channels, subtracted from values of 0..1.
    std: of the three channels, what the difference is divided by.
    background: red, green, blue, 0..255, under transparent pixels.
    exif_orientation: whether images are turned as their EXIF data say.
    grey_range: (low, high), the values that become black and white in grey
      images of more than 8 bits; () where such images are refused.
    logit_offset: [C], added to the network's logits, or None.
    temperature: what the logits are then divided by, so that their softmax is
      calibrated; 1 where it is not.
    class_names: [C].
    class_counts: [C], training images of each class.
    dataset: name of what it was trained on.
    method: of the training.
    many_above: training images that a class of the group "many" has more than.
    few_up_to: training images that a class of the group "few" has at most.
    checkpoint: "best" (by validation) or "last".
    stage: of the checkpoint.
    epoch: of the checkpoint.
    accuracy: {"validation" and, once it is known, "test": percent by shot group
      and by "top5", and the other measures of results.json}; empty where
      nothing was measured.
    config: of the run.
    test_set: what results.json has of the run's test images, see
      `measures.test_set`; empty where nothing was measured.
    shares: [C], of the classes where the network is used, by the run's
      `dataset.prior`; None without one.
    adapter_width: of the adapters in a vision transformer's blocks, 0 for none.
    precision: of its convolutions and matrix products, as in a configuration.
    blt_jax: version that trained it.
    weights: SHA-256 of the variables, in an export.
  """

  backbone: str
  classifier: str
  alpha: float
  beta: float
  hidden: int
  dtype: str
  image_size: int
  resize_size: int
  interpolation: str
  five_crop: bool
  mean: tuple[float, ...]
  std: tuple[float, ...]
  background: tuple[int, ...]
  exif_orientation: bool
  grey_range: tuple[float, ...]
  logit_offset: tuple[float, ...] | None
  temperature: float
  class_names: tuple[str, ...]
  class_counts: tuple[int, ...]
  dataset: str
  method: str
  many_above: int
  few_up_to: int
  checkpoint: str
  stage: int
  epoch: int
  accuracy: Mapping[str, Any]
  config: Mapping[str, Any]
  test_set: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  shares: tuple[float, ...] | None = None
  adapter_width: int = 0
  precision: str = "default"
  blt_jax: str = __version__
  weights: str = ""

  @property
  def decoding(self) -> Decoding:
    """How files become the RGB that the network was trained on."""
    red, green, blue = self.background
    return Decoding(
      background=(red, green, blue),
      exif_orientation=self.exif_orientation,
      grey_range=grey_range(self.grey_range),
    )

  @property
  def input_size(self) -> int:
    """Side of the square of an image that the logits follow from, pixels."""
    return self.resize_size if self.five_crop else self.image_size

  @property
  def views(self) -> int:
    """Images that the network sees for one."""
    return VIEWS if self.five_crop else 1

  @property
  def prior(self) -> str:
    """The run's `dataset.prior`, "" without one."""
    dataset = self.config.get("dataset")
    given = dataset.get("prior") if isinstance(dataset, dict) else None
    return given if isinstance(given, str) else ""

  @property
  def calibration(self) -> str:
    """What the softmax of the logits is, in words."""
    logits = "the network's logits"
    if self.five_crop:
      logits = f"the mean of {logits} over five crops"
    if self.temperature == 1:
      return f"softmax of {logits}, not calibrated"
    return (
      f"calibrated, softmax of {logits} / {self.temperature:.4g}, the "
      "temperature fitted on validation"
    )

  def differing(self, other: "Description") -> tuple[str, ...]:
    """The fields by which another network computes something else.

    Returns:
      Names of fields; none if both are of one network, whose accuracies, for
      example, may differ.
    """
    return tuple(
      name for name in _FUNCTION if getattr(self, name) != getattr(other, name)
    )

  def to_json(self) -> dict[str, Any]:
    """The description in JSON's types alone."""
    return {"format": VERSION, **dataclasses.asdict(self)}

  @classmethod
  def from_json(cls, content: Any, *, source: str) -> Self:
    """Reads what `to_json` gave; checks it, as it may come from a stranger.

    Args:
      content: what JSON held.
      source: where it was, for messages.

    Raises:
      ValueError: names the source, the field, its value and what is expected.
    """
    if not isinstance(content, dict) or "format" not in content:
      raise ValueError(
        f"{source} does not say what network it is of; expected a file that "
        "--mode=export wrote."
      )
    if content["format"] != VERSION:
      raise ValueError(
        f"{source} has format {content['format']!r}; expected {VERSION}, which "
        "this version of blt_jax reads."
      )
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values: dict[str, Any]
    values = {name: content[name] for name in fields if name in content}
    for name, field in fields.items():
      if name not in values and _has_default(field):
        continue
      if name not in values or not _RULES[name].accepts(values[name]):
        raise ValueError(
          f"{source}: {name} is {values.get(name)!r}; expected "
          f"{_RULES[name].allowed}."
        )
    _check_together(values, source)
    for name, value in values.items():
      values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def _has_default(field: dataclasses.Field) -> bool:
  missing = dataclasses.MISSING
  return not (field.default is missing and field.default_factory is missing)


TEMPERATURE = number(0, above=True)

# What a network computes depends on these.
_FUNCTION = (
  "weights",
  "backbone",
  "classifier",
  "alpha",
  "beta",
  "hidden",
  "adapter_width",
  "precision",
  "image_size",
  "resize_size",
  "interpolation",
  "five_crop",
  "mean",
  "std",
  "background",
  "exif_orientation",
  "grey_range",
  "logit_offset",
  "temperature",
  "class_names",
)


def _of_config(name: str) -> Rule:
  """The rule of a configuration's field."""
  return SCHEMA[name].rule


def _a_class(rule: Rule) -> Rule:
  """One or more members that follow a rule; `_check_together` counts them."""
  return Rule(
    f"a list with {rule.allowed} for each class",
    lambda value: several(rule).accepts(value) and len(value) > 0,
  )


def _is_accuracy(value: Any) -> bool:
  """Whether a value is what `Description.accuracy` may be."""

  def are_percents(numbers: Any) -> bool:
    return isinstance(numbers, dict) and all(
      group in numbers and _is_known(numbers[group]) for group in GROUPS
    )

  def have_measures(numbers: dict[str, Any]) -> bool:
    calibrated = numbers.get("calibrated", {})
    return isinstance(calibrated, dict) and all(
      map(
        _is_known,
        (*map(numbers.get, _MEASURES), calibrated.get("ece")),
      )
    )

  def have_intervals(numbers: dict[str, Any]) -> bool:
    found = numbers.get("interval", {})
    pair = several(Rule("a number or null", _is_known), length=2)
    return isinstance(found, dict) and all(map(pair.accepts, found.values()))

  return isinstance(value, dict) and all(
    are_percents(numbers)
    and are_percents(numbers.get("top5"))
    and have_measures(numbers)
    and have_intervals(numbers)
    for numbers in value.values()
  )


# Of a split, beside the accuracies by group: what the model card shows.
_MEASURES = ("macro_f1", "accuracy", "ece")


def _is_known(value: Any) -> bool:
  """Whether a value is a measure: a number, or null for an unknown one."""
  return value is None or NUMBER.accepts(value)


def _is_test_set(value: Any) -> bool:
  """Whether a value is what `Description.test_set` may be."""
  return isinstance(value, dict) and (
    not value
    or (
      value.get("kind") in ("balanced", "natural", "neither")
      and whole(0).accepts(value.get("images"))
      and whole(0).accepts(value.get("classes"))
      and isinstance(value.get("is_validation"), bool)
    )
  )


# Field -> the rule that its value in JSON has to follow.
_RULES: dict[str, Rule] = {
  **{
    name: _of_config(f"{section}.{name}")
    for section, names in (
      ("model", ("backbone", "classifier", "alpha", "beta", "hidden", "dtype")),
      ("model", ("adapter_width", "precision")),
      ("dataset", ("image_size", "resize_size", "interpolation")),
      ("dataset", ("five_crop", "mean", "std")),
      ("dataset", ("background", "exif_orientation", "grey_range")),
      ("dataset", ("many_above", "few_up_to")),
    )
    for name in names
  },
  "logit_offset": Rule(
    f"null or {_a_class(NUMBER).allowed}",
    lambda value: value is None or _a_class(NUMBER).accepts(value),
  ),
  "temperature": TEMPERATURE,
  "class_names": _a_class(TEXT),
  "class_counts": _a_class(whole(0)),
  "dataset": TEXT,
  "method": TEXT,
  "checkpoint": one_of("best", "last"),
  "stage": whole(1),
  "epoch": whole(1),
  "accuracy": Rule("percent by split and shot group", _is_accuracy),
  "config": Rule("an object", lambda value: isinstance(value, dict)),
  "test_set": Rule("what results.json has of a test set", _is_test_set),
  "shares": Rule(
    f"null or {_a_class(number(0)).allowed}",
    lambda value: value is None or _a_class(number(0)).accepts(value),
  ),
  "blt_jax": TEXT,
  "weights": TEXT,
}


def _check_together(values: Mapping[str, Any], source: str) -> None:
  """Raises ValueError where values that are right alone do not go together."""
  size, short = values["image_size"], values["resize_size"]
  if short < size:
    raise ValueError(
      f"{source}: resize_size is {short}; expected at least image_size, {size}."
    )
  if sizes := expected_size(values["backbone"], size):
    raise ValueError(
      f"{source}: image_size is {size}; expected {sizes}, with backbone "
      f"{values['backbone']}."
    )
  if values.get("adapter_width") and not takes_adapters(values["backbone"]):
    raise ValueError(
      f"{source}: adapter_width is {values['adapter_width']}; expected 0 with "
      f"backbone {values['backbone']}: adapters are for vision transformers."
    )
  classes = len(values["class_names"])
  for name in ("class_counts", "logit_offset", "shares"):
    if values.get(name) is not None and len(values[name]) != classes:
      raise ValueError(
        f"{source}: {name} is {values[name]!r}; expected {classes} numbers, "
        "one for each of class_names."
      )
