"""A drawing of Matplotlib inside the page: small, and in the page's colours."""

import re
import xml.etree.ElementTree as ET

from blt_jax.report import style
from blt_jax.report.chart import Chart
from blt_jax.report.html.markup import Markup, number

_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOR = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"font-family: [^;]*;? ?")
_UNTURNED = re.compile(r"rotate\(-?0 .*\)")
_NAMES = {light: name for name, (light, _) in style.PALETTE.items()}


def embed(chart: Chart, prefix: str) -> Markup:
  """The chart as an element of the page.

  Text stays text and takes the page's font; colours of the palette become the
  style sheet's variables, so that the drawing turns dark with the page.
  """
  root = ET.fromstring(chart.svg)
  for parent in root.iter():
    for child in list(parent):
      if _local(child.tag) in ("metadata", "style"):
        parent.remove(child)
  for element in root.iter():
    element.tag = _local(element.tag)
    element.attrib = _attributes(element, prefix)
    element.text = element.text if element.tag == "text" else None
    element.tail = None
  used = set(re.findall(rf"#({prefix}-[\w-]+)", str(ET.tostring(root))))
  for element in root.iter():
    if element.attrib.get("id") not in used:
      element.attrib.pop("id", None)
  _flatten(root)
  size = root.attrib["viewBox"]
  width = float(size.split()[2])
  root.attrib = {
    "viewBox": size,
    "style": f"--points:{width:.0f}",
    "role": "img",
    "aria-label": f"{chart.title}. {chart.description}",
    "class": "chart photos" if chart.photos else "chart",
  }
  return Markup(ET.tostring(root, encoding="unicode"))


def _local(name: str) -> str:
  """A name without its namespace, which HTML does not have."""
  return name.rpartition("}")[2]


def _attributes(element: ET.Element, prefix: str) -> dict[str, str]:
  """An element's attributes as the page has them."""
  kept = {}
  for name, value in element.attrib.items():
    key = _local(name)
    if key == "href" and value.startswith("data:"):
      kept[key] = "".join(value.split())
    elif key in ("href", "clip-path"):
      kept[key] = value.replace("#", f"#{prefix}-")
    elif key == "id":
      kept[key] = f"{prefix}-{value}"
    elif key == "style":
      kept[key] = _short(_COLOR.sub(_variable, _FONT.sub("", value)))
    elif not (key == "transform" and _UNTURNED.fullmatch(value)):
      kept[key] = _short(value)
  return kept


def _variable(color: re.Match[str]) -> str:
  name = _NAMES.get(color[0])
  return f"var(--{name})" if name else color[0]


def _short(text: str) -> str:
  """Numbers with two decimals, white space as single blanks."""
  rounded = _NUMBER.sub(lambda found: number(float(found[0])), text)
  return " ".join(rounded.split())


def _flatten(element: ET.Element) -> None:
  """Drops empty groups, and puts the content of plain ones in their places."""
  for place, child in reversed(list(enumerate(element))):
    _flatten(child)
    if child.tag in ("g", "defs") and not len(child):
      del element[place]
    elif child.tag == "g" and not child.attrib:
      element[place : place + 1] = list(child)
