"""What a field of a configuration may be, and how one is declared."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class Rule:
  """What a value may be: words for the user, and the test behind them."""

  def __init__(
    self, allowed: Callable[[], str], accepts: Callable[[Any], bool]
  ):
    self._allowed = allowed
    self.accepts = accepts

  @property
  def allowed(self) -> str:
    """What is expected, in words."""
    return self._allowed()


def choice(names: Callable[[], tuple[str, ...]]) -> Rule:
  """One of some names, which are asked for when a value is checked."""
  return Rule(
    lambda: "one of " + ", ".join(names()), lambda value: value in names()
  )


def one_of(*names: str) -> Rule:
  """One of these names."""
  return choice(lambda: names)


def whole(low: int, high: int = 2**31 - 1) -> Rule:
  """A whole number in [low, high]."""
  return Rule(
    lambda: f"a whole number from {low} to {high}",
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

  return Rule(lambda: text, accepts)


def interval(low: float, high: float, *, above: bool = False) -> Rule:
  """Two numbers (a, b) with low <= a <= b <= high."""
  inside = number(low, high, above=above)
  pair = several(inside, length=2)
  return Rule(
    lambda: f"(low, high), each {inside.allowed}, low not above high",
    lambda value: pair.accepts(value) and value[0] <= value[1],
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
  return Rule(lambda: f"({size} values, each {rule.allowed})", accepts)


def _is_bool(value: Any) -> bool:
  """Python takes True for a number; a configuration does not."""
  return isinstance(value, bool)


NUMBER = number(-math.inf)
TEXT = Rule(lambda: "a text", lambda value: isinstance(value, str))
NAME = Rule(
  lambda: "a text that is not empty",
  lambda value: isinstance(value, str) and value != "",
)
SWITCH = Rule(lambda: "True or False", _is_bool)


def field(
  default: T,
  help: str,
  *,
  left_open: T | None = None,
  resume: Literal["same", "any", "more"] = "same",
) -> T:
  """A field of the schema.

  Args:
    default: its value in a configuration that does not set it.
    help: a line for users.
    left_open: the value that leaves it to training/choose.py, if there is one.
    resume: what it may be when a run goes on: the same value, any, or at least
      as much. "any" is for fields that do not change a run's result.
  """
  metadata = {"help": help, "left_open": left_open, "resume": resume}
  return dataclasses.field(default=default, metadata=metadata)
