"""Makes HTML and SVG by function calls; escapes what is not markup."""

import html
from collections.abc import Iterable
from typing import Any

_VOID = ("br", "hr", "img", "link", "meta")


class Markup(str):
  """Text that is HTML or SVG already; any other string gets escaped."""

  __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
  """An element with its children.

  Args:
    name: of the element.
    *children: Markup as it is, None left out, lists one by one, anything else
      escaped.
    **attributes: class_ is class, and other underscores are hyphens; None and
      False leave the attribute out, True leaves it without a value.

  Returns:
    The element.
  """
  opening = name + "".join(
    _attribute(key, value) for key, value in attributes.items()
  )
  if name in _VOID:
    return Markup(f"<{opening}>")
  return Markup(f"<{opening}>{join(*children)}</{name}>")


def join(*children: Any) -> Markup:
  """Children one after the other, as `tag` takes them."""
  return Markup("".join(_child(child) for child in children))


def number(value: float) -> str:
  """A coordinate: at most two decimals, as short as it gets."""
  text = f"{value:.2f}".rstrip("0").rstrip(".")
  return "0" if text == "-0" else text


def _attribute(key: str, value: Any) -> str:
  if value is None or value is False:
    return ""
  key = "class" if key == "class_" else key.replace("_", "-")
  if value is True:
    return f" {key}"
  text = number(value) if isinstance(value, float) else str(value)
  return f' {key}="{html.escape(text)}"'


def _child(child: Any) -> str:
  if child is None:
    return ""
  if isinstance(child, Markup):
    return child
  if isinstance(child, Iterable) and not isinstance(child, str):
    return join(*child)
  return html.escape(str(child))
