"""Charts as SVG whose colours the page's style sheet decides."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from blt_jax.report.html.markup import Markup, join, number, tag

# Pixels at which a chart is drawn for a screen, a phone and beside another.
WIDE, NARROW, PANEL = 880, 360, 430

Values = Sequence[float] | np.ndarray

# Room for the labels around the plot, pixels: left, right, top, bottom.
_MARGINS = (42.0, 12.0, 44.0, 36.0)

# Least distance of two labels one above the other, pixels.
_LINE = 15.0


@dataclasses.dataclass(frozen=True)
class Axis:
  """A range of values and where its ticks are.

  Attributes:
    low: value at the left or lower end.
    high: value at the other end.
    ticks: (value, label) of each tick.
    title: what the values are.
    log: whether equal ratios get equal lengths; low must be positive.
  """

  low: float
  high: float
  ticks: Sequence[tuple[float, str]] = ()
  title: str = ""
  log: bool = False

  def share(self, value: float) -> float:
    """Where a value lies between the ends, 0..1 inside them."""
    if self.log:
      span = math.log(self.high / self.low)
      return math.log(max(value, self.low) / self.low) / span
    return (value - self.low) / (self.high - self.low)


def percent_axis(title: str, values: Values = (100.0,)) -> Axis:
  """From 0 to 100 percent, or to 75 or 50 where no value is larger."""
  largest = max((value for value in values if math.isfinite(value)), default=0)
  high = next(end for end in (50, 75, 100) if end >= min(largest, 100.0))
  ticks = [(float(value), str(value)) for value in range(0, high + 1, 25)]
  return Axis(0.0, float(high), ticks, title)


def count_axis(largest: float, title: str, *, wanted: int = 4) -> Axis:
  """From 0 to at least `largest`, ticks at round numbers."""
  largest = largest if math.isfinite(largest) and largest > 0 else 1.0
  step = 10 ** math.floor(math.log10(largest / wanted))
  for factor in (1, 2, 5, 10):
    if largest / (factor * step) <= wanted:
      break
  step *= factor
  last = math.ceil(largest / step - 1e-9)
  ticks = [(i * step, f"{i * step:g}") for i in range(last + 1)]
  return Axis(0.0, last * step, ticks, title)


def log_axis(largest: float, title: str) -> Axis:
  """From 1 to at least `largest` by powers of ten."""
  decades = max(1, math.ceil(math.log10(max(largest, 1)) - 1e-9))
  high = max(largest, 2.0)
  ticks = [
    (float(10**power), f"{10**power:,}")
    for power in range(decades + 1)
    if 10**power <= high
  ]
  return Axis(1.0, high * 1.15, ticks, title, log=True)


class Plot:
  """A chart under construction; positions are given in values of its axes."""

  def __init__(
    self, x: Axis, y: Axis, *, width: int, height: int, right: float = 0.0
  ):
    """An empty plot of so many pixels, `right` more of them on the right."""
    left, margin, top, bottom = _MARGINS
    self.x, self.y, self.width, self.height = x, y, width, height
    self.left, self.right = left, width - margin - right
    self.top, self.bottom = top, height - bottom
    self._parts: list[Markup] = []

  def at_x(self, value: float) -> float:
    """Pixel of a value on the x axis."""
    return self.left + self.x.share(value) * (self.right - self.left)

  def at_y(self, value: float) -> float:
    """Pixel of a value on the y axis."""
    return self.bottom - self.y.share(value) * (self.bottom - self.top)

  def add(self, *parts: Markup) -> None:
    """Draws over what is there."""
    self._parts.extend(parts)

  def line(self, xs: Values, ys: Values, *, class_: str) -> None:
    """A line through points; NaN interrupts it."""
    commands, pen_down = [], False
    for x, y in zip(xs, ys, strict=True):
      if not math.isfinite(y):
        pen_down = False
        continue
      place = f"{number(self.at_x(x))} {number(self.at_y(y))}"
      commands.append(f"{'L' if pen_down else 'M'}{place}")
      pen_down = True
    self.add(tag("path", d="".join(commands), class_=f"line {class_}"))

  def band(
    self,
    xs: Values,
    low: Values,
    high: Values,
    *,
    class_: str,
  ) -> None:
    """The area between two lines."""
    there = [(x, y) for x, y in zip(xs, high, strict=True)]
    back = [(x, y) for x, y in zip(xs, low, strict=True)][::-1]
    points = [
      f"{number(self.at_x(x))} {number(self.at_y(y))}"
      for x, y in there + back
      if math.isfinite(y)
    ]
    if points:
      self.add(tag("path", d=f"M{'L'.join(points)}Z", class_=class_))

  def bar(
    self,
    x: float,
    low: float,
    high: float,
    *,
    class_: str,
    title: str = "",
    share: float = 0.8,
  ) -> None:
    """A bar around x from one value of y to another; a title is its hint."""
    start, end = self.at_x(x - share / 2), self.at_x(x + share / 2)
    top, bottom = self.at_y(high), self.at_y(low)
    self.add(
      tag(
        "rect",
        tag("title", title) if title else None,
        x=start,
        y=top,
        width=max(end - start, 0.2),
        height=max(bottom - top, 0.0),
        class_=class_,
      )
    )

  def marks(self, xs: Values, ys: Values, *, shape: str, class_: str) -> None:
    """A mark at each finite point, all in one path."""
    draw = _SHAPES[shape]
    commands = [
      draw(self.at_x(x), self.at_y(y))
      for x, y in zip(xs, ys, strict=True)
      if math.isfinite(y)
    ]
    self.add(tag("path", d="".join(commands), class_=f"mark {class_}"))

  def vertical(self, x: float, *, class_: str = "rule") -> None:
    """A line from the bottom to the top."""
    place = number(self.at_x(x))
    ends = f"M{place} {number(self.bottom)}V{number(self.top)}"
    self.add(tag("path", d=ends, class_=class_))

  def horizontal(self, y: float, *, class_: str = "rule") -> None:
    """A line from the left to the right."""
    place = number(self.at_y(y))
    ends = f"M{number(self.left)} {place}H{number(self.right)}"
    self.add(tag("path", d=ends, class_=class_))

  def text(
    self,
    content: str,
    x: float,
    y: float,
    *,
    anchor: str = "middle",
    class_: str = "",
  ) -> None:
    """Text at a pixel."""
    self.add(
      tag("text", content, x=x, y=y, text_anchor=anchor, class_=class_ or None)
    )

  def end_labels(self, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names of lines at their right end, moved apart where they would touch.

    Args:
      labels: (value of y, text, class) each; NaN ones are left out.
    """
    known = sorted(
      (label for label in labels if math.isfinite(label[0])), reverse=True
    )
    places = spread(
      [self.at_y(value) for value, _, _ in known],
      gap=_LINE,
      low=self.top,
      high=self.bottom,
    )
    for place, (_, content, class_) in zip(places, known, strict=True):
      self.text(
        content,
        self.right + 9,
        place + 4,
        anchor="start",
        class_=f"name {class_}",
      )

  def render(self, title: str, description: str) -> Markup:
    """The chart as an image with a text alternative.

    Args:
      title: a few words.
      description: what the chart shows, in numbers.
    """
    return tag(
      "svg",
      tag("g", *self._grid(), class_="grid"),
      *self._parts,
      viewBox=f"0 0 {self.width} {self.height}",
      role="img",
      aria_label=f"{title}. {description}",
      class_="chart",
    )

  def _grid(self) -> Iterator[Markup]:
    """Ticks with their lines and labels, and the titles of the axes."""
    for value, label in self.y.ticks:
      place = self.at_y(value)
      line = f"M{number(self.left)} {number(place)}H{number(self.right)}"
      yield tag("path", d=line)
      yield tag("text", label, x=self.left - 7, y=place + 4, text_anchor="end")
    for value, label in self.x.ticks:
      yield tag(
        "text",
        label,
        x=self.at_x(value),
        y=self.bottom + 16,
        text_anchor="middle",
      )
    yield tag("text", self.y.title, x=0.0, y=14.0, class_="axis")
    yield tag(
      "text",
      self.x.title,
      x=self.right,
      y=self.bottom + 32,
      text_anchor="end",
      class_="axis",
    )


def responsive(draw: Callable[[int], Markup]) -> Markup:
  """A chart drawn twice: the style sheet shows the one that fits.

  Args:
    draw: makes the chart for a width, WIDE or NARROW.
  """
  return join(
    tag("div", draw(WIDE), class_="wide"),
    tag("div", draw(NARROW), class_="narrow"),
  )


def sparkline(values: Values, description: str) -> Markup:
  """A small line without axes, for values of 0..1."""
  x = Axis(0.0, max(len(values) - 1.0, 1.0))
  width, height = 88.0, 22.0
  points, pen_down = [], False
  for i, value in enumerate(values):
    if math.isfinite(value):
      place = 2 + x.share(i) * (width - 4)
      level = height - 2 - value * (height - 4)
      points.append(
        f"{'L' if pen_down else 'M'}{number(place)} {number(level)}"
      )
    pen_down = math.isfinite(value)
  return tag(
    "svg",
    tag("title", description),
    tag("path", d=f"M2 {height - 2:g}H{width - 2:g}", class_="base"),
    tag("path", d="".join(points), class_="line"),
    viewBox=f"0 0 {width:g} {height:g}",
    role="img",
    aria_label=description,
    class_="sparkline",
  )


def spread(
  places: Values, *, gap: float, low: float, high: float
) -> list[float]:
  """Moves rising places apart until neighbours have a distance.

  Args:
    places: rising.
    gap: least distance of two neighbours.
    low: least place.
    high: largest place, which gives way when there is no room.

  Returns:
    The places, in order and as near to where they were as a pass down and one
    up leave them.
  """
  moved: list[float] = []
  for place in places:
    moved.append(max(place, low, *(p + gap for p in moved[-1:])))
  limit = high
  for i in reversed(range(len(moved))):
    moved[i] = min(moved[i], limit)
    limit = moved[i] - gap
  shift = max(0.0, low - moved[0]) if moved else 0.0
  return [place + shift for place in moved]


def run_class(index: int) -> str:
  """Class of a run's lines; the style sheet has six, then they repeat."""
  return f"run{index % 6}"


def _circle(x: float, y: float) -> str:
  return f"M{number(x - 3)} {number(y)}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z"


def _square(x: float, y: float) -> str:
  return f"M{number(x - 3)} {number(y - 3)}h6v6h-6z"


def _triangle(x: float, y: float) -> str:
  return f"M{number(x)} {number(y - 4)}l4 7h-8z"


def _diamond(x: float, y: float) -> str:
  return f"M{number(x)} {number(y - 4)}l4 4l-4 4l-4 -4z"


_SHAPES: dict[str, Callable[[float, float], str]] = {
  "circle": _circle,
  "square": _square,
  "triangle": _triangle,
  "diamond": _diamond,
}

# Marks of runs side by side; where there are more they repeat.
RUN_SHAPES = tuple(_SHAPES)
