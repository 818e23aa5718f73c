"""The sections of a report below its headline."""

import functools
from collections.abc import Sequence

import numpy as np

from blt_jax.report import facts
from blt_jax.report.html import (
  class_charts,
  epoch_charts,
  pictures,
  svg,
  tables,
)
from blt_jax.report.html.layout import Runs, folded, panels, section
from blt_jax.report.html.markup import Markup, join, tag
from blt_jax.report.record import RunRecord

# What class accuracies and confused pairs are taken from.
_TESTED = "test-best"

# How many are shown of a single run, and of each of several.
_ALL_EXAMPLES, _SOME_EXAMPLES = 24, 6
_ALL_PAIRS, _SOME_PAIRS = 12, 8


def accuracy(side: Runs) -> Markup | None:
  """Accuracy by group over the epochs."""
  runs, names, _ = side.chosen(lambda run: bool(run.rows))
  if not runs:
    return None
  text = "On the validation images, after every epoch of both stages."
  if side.several:
    parts = (
      tag("figure", epoch_charts.group_of_runs(runs, group, names))
      for group in tables.ORDER
    )
    charts = panels(parts, class_="panels two")
    return section("Accuracy by group", text, charts)
  draw = functools.partial(epoch_charts.accuracy_over_epochs, runs[0])
  return section(
    "Accuracy by group",
    text,
    tag("figure", svg.responsive(draw)),
    folded("Every epoch in numbers", tables.epochs_table(runs[0])),
  )


def classes(side: Runs) -> Markup | None:
  """Class counts, and every class's accuracy in order of its size."""
  runs, _, _ = side.chosen(lambda run: len(run.class_counts) > 0)
  charts = [
    tag(
      "figure",
      svg.responsive(functools.partial(class_charts.class_counts, run)),
    )
    for run in _distinct(runs)
  ]
  text = (
    "Training images of each class, the largest first, on a log scale; dashed "
    "lines mark the limits of the groups. Below, how many test images of each "
    "class the best epoch gets right."
  )
  if any(len(run.class_counts) > class_charts.MOST_BARS for run in runs):
    text += (
      " Where there are too many classes for a bar each, the line is the mean "
      "of neighbouring classes and the shade their middle half."
    )
  return section("Classes by size", text, *charts, *_class_accuracies(side))


def _class_accuracies(side: Runs) -> list[Markup]:
  runs, names, titles = side.chosen(
    lambda run: run.class_accuracies(_TESTED) is not None
  )
  title = "Every class in numbers"
  if len(runs) > 1 and len(_distinct(runs)) == 1:
    draw = functools.partial(
      class_charts.classes_of_runs, runs, names, name=_TESTED
    )
    table = tables.class_table(runs, names)
    return [tag("figure", svg.responsive(draw)), folded(title, table)]
  parts = []
  for run, name, heading in zip(runs, names, titles, strict=True):
    draw = functools.partial(class_charts.class_accuracies, run, name=_TESTED)
    shown = tag("h3", heading) if side.several else None
    parts.append(tag("figure", shown, svg.responsive(draw)))
    parts.append(folded(title, tables.class_table([run], [name])))
  return parts


def _distinct(runs: Sequence[RunRecord]) -> list[RunRecord]:
  """One run of each list of classes."""
  found: dict[tuple, RunRecord] = {}
  for run in runs:
    found.setdefault((tuple(run.class_counts), tuple(run.class_names)), run)
  return list(found.values())


def confusion(side: Runs) -> Markup | None:
  """What is taken for what."""
  limit = _SOME_PAIRS if side.several else _ALL_PAIRS

  def draw(run: RunRecord) -> Markup | None:
    entries = run.entries(_TESTED)
    if entries is None or not len(run.class_counts):
      return None
    stage = run.results["best"]["stage"] if run.results else 2
    history = run.validation_entries(stage)
    return join(
      tables.flow_table(run, entries),
      tables.pairs_table(run, entries, history, limit=limit),
    )

  text = (
    "Test images, best epoch. A share is that of the class's own images; the "
    "line shows it on validation images, epoch by epoch of the last stage."
  )
  return section("What is taken for what", text, side.each(draw))


def examples(side: Runs) -> Markup | None:
  """The wall of perturbed images."""
  limit = _SOME_EXAMPLES if side.several else _ALL_EXAMPLES
  text = (
    "Images of tail classes, moved by the best epoch's network towards a class "
    "that theirs is confused with, until it gives that class the confidence "
    "aimed at or the most updates are made. In the middle the change, "
    "amplified, on grey; percentages are the network's confidence in the other "
    "class before and after."
  )
  if not any(_hallucinates(run) for run in side.runs):
    text += " They were made for this report: training used none."
  wall = side.each(lambda run: pictures.wall(run, limit=limit))
  return section("Perturbed images", text, wall)


def hallucination(side: Runs) -> Markup | None:
  """How many images were hallucinated, and how many updates they took."""

  def draw(run: RunRecord) -> Markup | None:
    if not _hallucinates(run):
      return None
    charts = (epoch_charts.hallucinated_images, epoch_charts.updates)
    return tag(
      "figure",
      *(side.chart(functools.partial(chart, run)) for chart in charts),
    )

  text = (
    "Perturbed images of tail classes that were added to training, and the "
    "mean number of updates that one took; dashed, the share of them that "
    "reached the confidence aimed at."
  )
  return section("Hallucination in training", text, side.each(draw))


def _hallucinates(run: RunRecord) -> bool:
  return bool(run.rows) and np.nansum(facts.hallucinated(run)) > 0


def time(side: Runs) -> Markup | None:
  """Time of an epoch and where it went."""

  def draw(run: RunRecord) -> Markup | None:
    if not run.rows:
      return None
    chart = functools.partial(epoch_charts.time_of_epochs, run)
    return tag("figure", side.chart(chart))

  runs, _, titles = side.chosen(lambda run: bool(run.rows))
  if not runs:
    return None
  text = (
    "Seconds of every epoch. The first epoch of a stage also compiles the "
    "programs that the others use."
  )
  table = tables.times_table(runs, titles)
  return section("Time", text, side.each(draw), _time_legend(), table)


def _time_legend() -> Markup:
  words = {
    "computing": "computing",
    "waiting": "waiting for images",
    "validation": "validation",
  }
  items = (
    tag("span", tag("i", class_=f"time-{name}"), text)
    for name, text in words.items()
  )
  return tag("p", *items, class_="legend")


def configuration(side: Runs) -> Markup | None:
  """The configuration, and where the runs differ."""
  whole = tables.config_table(side.runs, side.badges)
  parts = [folded("Every field", whole)]
  if side.several:
    names = facts.differences(side.runs)
    same = tag("p", "The configurations are the same.")
    parts.insert(
      0,
      tables.config_table(side.runs, side.badges, only=names)
      if names
      else same,
    )
  return section("Configuration", "", *parts)
