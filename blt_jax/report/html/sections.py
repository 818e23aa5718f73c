"""The sections of a report below its headline."""

from collections.abc import Sequence

from blt_jax.config import differing
from blt_jax.report import class_figures, epoch_figures, measures
from blt_jax.report.chart import MOST_BARS
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.figures import Drawings
from blt_jax.report.html import run_tables
from blt_jax.report.html.markup import Markup, join, tag
from blt_jax.report.html.side_by_side import Runs, folded, section
from blt_jax.report.record import RunRecord

# How many are shown of a single run, and of each of several.
_ALL_PAIRS, _SOME_PAIRS = 12, 8
_SOME_EXAMPLES = 6


def accuracy(side: Runs) -> Markup | None:
  """Accuracy by group over the epochs."""
  runs, names, _ = side.chosen(lambda run: bool(run.rows))
  if not runs:
    return None
  text = "The chart shows the validation images, after every epoch."
  if side.several:
    charts = (
      epoch_figures.accuracy_of_runs(runs, group, names)
      for group in measures.TAIL_FIRST
    )
    return section("Accuracy by group", text, side.beside(*charts))
  (run,), (content,) = runs, side.contents
  tables = [run_tables.results_table(content, top5=False)]
  if run.results:
    tables.append(run_tables.results_table(content, top5=True))
  return section(
    "Accuracy by group",
    text,
    side.alone(side.drawings[0]["accuracy"]),
    side.beside(*tables),
    folded("Every epoch in numbers", run_tables.epochs_table(run)),
  )


def classes(side: Runs) -> Markup | None:
  """Class counts, and every class's accuracy in order of its size."""
  runs, _, _ = side.chosen(lambda run: len(run.class_counts) > 0)
  text = (
    "The largest class first. Dashed lines mark the limits of the groups; "
    "accuracies are of the best epoch."
  )
  if any(len(run.class_counts) > MOST_BARS for run in runs):
    text += (
      " Where there are too many classes for a bar each, the line is the mean "
      "of neighbouring classes and the shade their middle half."
    )
  tested, names, titles = side.chosen(
    lambda run: len(run.class_counts) > 0 and run.class_accuracies() is not None
  )
  title = "Every class in numbers"
  if len(tested) > 1 and len(_distinct(runs)) == 1:
    charts = side.beside(
      class_figures.class_counts(runs[0]),
      class_figures.accuracies_of_runs(tested, names),
    )
    table = folded(title, run_tables.class_table(tested, names))
    return section("Classes by size", text, charts, table)
  parts: list[Markup | None] = []
  if not side.several:
    (drawn,) = side.drawings
    parts.append(side.beside(drawn["class_counts"], drawn["class_accuracies"]))
  else:
    parts.append(side.beside(*map(class_figures.class_counts, _distinct(runs))))
  for run, name, heading in zip(tested, names, titles, strict=True):
    if side.several:
      chart = class_figures.class_accuracies(run)
      parts += [tag("h3", heading), side.beside(chart)]
    parts.append(folded(title, run_tables.class_table([run], [name])))
  return section("Classes by size", text, *parts)


def _distinct(runs: Sequence[RunRecord]) -> list[RunRecord]:
  """One run of each list of classes."""
  found: dict[tuple, RunRecord] = {}
  for run in runs:
    found.setdefault((tuple(run.class_counts), tuple(run.class_names)), run)
  return list(found.values())


def confusion(side: Runs) -> Markup | None:
  """What is taken for what."""
  limit = _SOME_PAIRS if side.several else _ALL_PAIRS

  def draw(drawn: Drawings) -> Markup | None:
    run = drawn.run
    entries = run.entries(class_figures.TESTED)
    if entries is None or not len(run.class_counts):
      return None
    flow = run_tables.flow_table(run, entries)
    pairs = run_tables.pairs_table(run, entries, limit=limit)
    return side.beside(drawn["confusion"], join(flow, pairs))

  text = "Test images, best epoch. A share is that of the class's own images."
  return section("What is taken for what", text, side.each(draw))


def examples(side: Runs) -> Markup | None:
  """Images before and after the ascent."""
  text = (
    "Images of tail classes, moved by the best epoch's network towards a class "
    "that theirs is confused with, until it gives that class the confidence "
    "aimed at or the most updates are made."
  )
  if not any(measures.hallucinates(run) for run in side.runs):
    text += " They were made for this report: training used none."

  def draw(drawn: Drawings) -> Markup | None:
    if not side.several:
      return side.alone(drawn["perturbed"])
    return side.beside(perturbed(drawn.run, most=_SOME_EXAMPLES))

  return section("Perturbed images", text, side.each(draw))


def hallucination(side: Runs) -> Markup | None:
  """How many images were hallucinated, and how many updates they took."""

  def draw(drawn: Drawings) -> Markup | None:
    return side.beside(drawn["hallucinated"], drawn["updates"])

  text = (
    "Perturbed images of tail classes that were added to training, and the "
    "mean number of updates that one took; dashed, the share of them that "
    "reached the confidence aimed at."
  )
  return section("Hallucination in training", text, side.each(draw))


def time(side: Runs) -> Markup | None:
  """Time of an epoch and where it went."""
  runs, _, titles = side.chosen(lambda run: bool(run.rows))
  if not runs:
    return None
  text = (
    "The first epoch of a stage also compiles the programs that the others use."
  )
  table = run_tables.times_table(runs, titles if side.several else [""])
  if not side.several:
    chart = side.drawings[0]["time"]
    return section("Time", text, side.beside(chart, table))
  charts = side.each(lambda drawn: side.beside(drawn["time"]))
  return section("Time", text, charts, table)


def configuration(side: Runs) -> Markup | None:
  """The configuration, and where the runs differ."""
  whole = run_tables.config_table(side.runs, side.badges)
  parts = [folded("Every field", whole)]
  if side.several:
    names = list(differing(*(run.config for run in side.runs)))
    same = tag("p", "The configurations are the same.")
    parts.insert(
      0,
      run_tables.config_table(side.runs, side.badges, only=names)
      if names
      else same,
    )
  return section("Configuration", "", *parts)
