"""What a field of the schema is made of: its rule, default and help.

A rule is a test of a value, and what it allows in words for the user.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from blt_jax.models import repository

T = TypeVar("T")

# Of fields that name something: training/choose.py is to choose it.
AUTO = "auto"
# Of fields that name images or a network: a program hands them in.
GIVEN = "given"


@dataclasses.dataclass(frozen=True)
class Rule:
  """The values that are allowed, in words for the user and as a test."""

  allowed: str
  accepts: Callable[[Any], bool]


def one_of(*names: str) -> Rule:
  """One of these names."""
  return Rule("one of " + ", ".join(names), lambda value: value in names)


def whole(low: int, high: int = 2**31 - 1) -> Rule:
  """A whole number in [low, high]."""
  return Rule(
    f"a whole number from {low} to {high}",
    lambda v: isinstance(v, int) and not _is_bool(v) and low <= v <= high,
  )


def number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
  """A finite number in [low, high], or in (low, high] if `above`."""
  text = f"a number {'above' if above else 'of at least'} {low:g}"
  if high < math.inf:
    text += f" and at most {high:g}"

  def accepts(value: Any) -> bool:
    return (
      isinstance(value, int | float)
      and not _is_bool(value)
      and math.isfinite(value)
      and low <= value <= high
      and not (above and value == low)
    )

  return Rule(text, accepts)


def interval(low: float, high: float, *, above: bool = False) -> Rule:
  """Two numbers (a, b) with low <= a <= b <= high."""
  inside = number(low, high, above=above)
  pair = several(inside, length=2)
  return Rule(
    f"(low, high), each {inside.allowed}, low not above high",
    lambda value: pair.accepts(value) and value[0] <= value[1],
  )


def span() -> Rule:
  """Nothing, or two numbers (low, high) with low < high."""
  pair = several(number(-math.inf), length=2)
  return Rule(
    "(low, high), low below high",
    lambda value: (
      isinstance(value, tuple | list)
      and (len(value) == 0 or (pair.accepts(value) and value[0] < value[1]))
    ),
  )


def several(rule: Rule, *, length: int | None = None) -> Rule:
  """A tuple whose members follow a rule."""

  def accepts(value: Any) -> bool:
    return (
      isinstance(value, tuple | list)
      and (length is None or len(value) == length)
      and all(rule.accepts(member) for member in value)
    )

  size = "some" if length is None else str(length)
  return Rule(f"({size} values, each {rule.allowed})", accepts)


def trained() -> Rule:
  """What of a network is trained."""
  names = ("all", "classifier", "norms_and_biases", "adapters")
  return Rule(
    f"one of {', '.join(names)}, or last:N for the last N blocks",
    lambda value: (
      isinstance(value, str)
      and (value in names or bool(re.fullmatch(r"last:[1-9]\d{0,3}", value)))
    ),
  )


def _is_bool(value: Any) -> bool:
  """Whether a value is a bool, which Python would take for a number."""
  return isinstance(value, bool)


def home_expanded(path: str) -> str:
  """A path with the home folder in place of a leading ~ or ~USER.

  A shell does this only at the beginning of a word, so not in --workdir=~/run.
  A folder that is really called "~" is ./~.

  Raises:
    ValueError: there is no such user.
  """
  expanded = os.path.expanduser(path)
  if expanded.startswith("~"):
    user = path.partition("/")[0]
    raise ValueError(
      f"there is no home folder {user}; expected ./{user} for a file that is "
      "called so."
    )
  return expanded


def whole_path(weights: str) -> str:
  """Weights to begin with, a file by a path that is right from any folder."""
  if weights in ("", AUTO) or repository(weights):
    return weights
  return os.path.abspath(home_expanded(weights))


def _is_path(value: Any) -> bool:
  """Whether a value can be a path, perhaps with ~ for a home folder."""
  if not isinstance(value, str) or "\0" in value:
    return False
  try:
    home_expanded(value)
  except ValueError:
    return False
  return True


def _is_weights(value: Any) -> bool:
  """Whether a value can name weights: a file, or a repository of a hub."""
  is_file = _is_path(value) and not value.startswith(("hf:", "timm:"))
  if value == AUTO:  # A file that is called so is ./auto.
    return False
  return is_file or (isinstance(value, str) and repository(value) is not None)


NUMBER = number(-math.inf)
TEXT = Rule("a text", lambda value: isinstance(value, str))
PATH = Rule("a path, where ~ or ~USER is a home folder", _is_path)
WEIGHTS = Rule(
  "a safetensors file, hf:OWNER/NAME or timm:NAME, both with @REVISION or "
  "without",
  _is_weights,
)
SHA256 = Rule(
  "empty, or 64 of the digits 0-9 and a-f",
  lambda value: (
    isinstance(value, str) and bool(re.fullmatch("([0-9a-f]{64})?", value))
  ),
)
NAME = Rule(
  "a text that is not empty",
  lambda value: isinstance(value, str) and value != "",
)
SWITCH = Rule("True or False", _is_bool)


def field(
  default: T,
  help: str,
  *,
  left_open: T | None = None,
  resume: Literal["same", "any", "more", "moved"] = "same",
) -> T:
  """A field of the schema.

  Args:
    default: its value in a configuration that does not set it.
    help: a line for users.
    left_open: the value that lets training/choose.py choose, if there is one.
    resume: what the value may be when a run is resumed: the same, any, or at
      least as much ("more"). "any" is for fields that do not change the result.
      "moved" is for places of the images and of weights to begin with: any that
      holds the same classes with the same numbers of images, or the same file,
      and config.json then has the new place.
  """
  metadata = {"help": help, "left_open": left_open, "resume": resume}
  return dataclasses.field(default=default, metadata=metadata)


# Types of fields, each with its rule.
Text = Annotated[str, TEXT]
Path = Annotated[str, PATH]
Switch = Annotated[bool, SWITCH]
Count = Annotated[int, whole(0)]
Positive = Annotated[int, whole(1)]
Amount = Annotated[float, number(0)]
PositiveAmount = Annotated[float, number(0, above=True)]
Share = Annotated[float, number(0, 1)]
UpTo10 = Annotated[float, number(0, 10)]
Range = Annotated[tuple[float, float], interval(0, 1)]
AreaRange = Annotated[tuple[float, float], interval(0, 1, above=True)]
RatioRange = Annotated[tuple[float, float], interval(0, 100, above=True)]
