"""The runs of a report: alone, or side by side."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from blt_jax.report import differences, measures, style
from blt_jax.report.chart import Chart
from blt_jax.report.differences import Difference
from blt_jax.report.figures import Drawings
from blt_jax.report.html.embed import embed
from blt_jax.report.html.markup import Markup, tag
from blt_jax.report.record import RunRecord


class Runs:
  """The runs of a report and what they are called in it."""

  def __init__(self, drawings: Sequence[Drawings]):
    """A report about runs with these charts.

    Raises:
      ValueError: when there is no run.
    """
    if not drawings:
      raise ValueError("a report needs at least one run; expected drawings.")
    self.drawings = list(drawings)
    self.runs = runs = [each.run for each in drawings]
    self.names = [_letter(i) for i in range(len(runs))]
    self.badges = [
      tag("span", name, class_=f"badge run{i % len(style.SERIES_COLORS)}")
      for i, name in enumerate(self.names)
    ]
    self._drawn = 0
    self.contents = [
      run.results or measures.accuracies_so_far(run) for run in runs
    ]

  @property
  def several(self) -> bool:
    """Whether runs are compared."""
    return len(self.runs) > 1

  @property
  def titles(self) -> list[Markup]:
    """Badge and work directory of each run; no badge for a single one."""
    return [
      tag("span", badge if self.several else None, _name(run))
      for badge, run in zip(self.badges, self.runs, strict=True)
    ]

  @functools.cached_property
  def differences(self) -> list[Difference]:
    """Every run against the first one, without the first."""
    return differences.differences(self.runs, self.names)

  @functools.cached_property
  def differences_chart(self) -> Chart | None:
    """The differences as a picture."""
    with style.look():
      return differences.draw(self.differences, self.names[0])

  def chosen(
    self, condition: Callable[[RunRecord], bool]
  ) -> tuple[list[RunRecord], list[str], list[Markup]]:
    """Runs that meet a condition, their names and their titles."""
    keep = [i for i, run in enumerate(self.runs) if condition(run)]
    return (
      [self.runs[i] for i in keep],
      [self.names[i] for i in keep],
      [self.titles[i] for i in keep],
    )

  def beside(self, *parts: Chart | Markup | None) -> Markup | None:
    """Charts and tables beside one another as far as the width allows."""
    cells = [
      tag("figure", self._embed(part))
      if isinstance(part, Chart)
      else tag("div", part)
      for part in parts
      if part is not None
    ]
    return tag("div", *cells, class_="beside") if cells else None

  def alone(self, chart: Chart | None) -> Markup | None:
    """A wide chart, which scrolls by itself on a phone."""
    if chart is None:
      return None
    return tag("figure", self._embed(chart), class_="scroll")

  def _embed(self, chart: Chart) -> Markup:
    self._drawn += 1
    return embed(chart, f"chart{self._drawn}")

  def each(self, draw: Callable[[Drawings], Markup | None]) -> Markup | None:
    """Something of every run, side by side; None when no run has it."""
    drawn = [draw(each) for each in self.drawings]
    if not any(drawn):
      return None
    if not self.several:
      return drawn[0]
    return panels(
      tag("div", tag("h3", title), part or tag("p", "None.", class_="explain"))
      for title, part in zip(self.titles, drawn, strict=True)
    )


def section(title: str, text: str, *content: Any) -> Markup | None:
  """A section with its explanation; None without any content."""
  if not any(content):
    return None
  note = tag("p", text, class_="explain") if text else None
  return tag("section", tag("h2", title), note, *content)


def panels(parts: Any) -> Markup:
  """Parts beside one another as far as the width allows."""
  return tag("div", parts, class_="panels")


def folded(title: str, content: Markup) -> Markup:
  """Content that is hidden until the reader opens it."""
  return tag("details", tag("summary", title), content)


def _name(run: RunRecord) -> Markup:
  """The work directory's name, not cut into more lines than it needs."""
  name = run.workdir.resolve().name
  return tag("span", name, style=f"min-width:{min(len(name), 9)}ch")


def _letter(index: int) -> str:
  """A, B, ... Z, then 27, 28, ..."""
  return chr(ord("A") + index) if index < 26 else str(index + 1)
