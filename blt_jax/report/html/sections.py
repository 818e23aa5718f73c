"""The sections of a report below its headline."""

from collections.abc import Sequence

from blt_jax.config import differing
from blt_jax.report import (
  class_figures,
  epoch_figures,
  measures,
  recall_figure,
)
from blt_jax.report.confidence import thresholds
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.figures import Drawings
from blt_jax.report.html import class_table, confidence_tables, run_tables
from blt_jax.report.html.markup import Markup, join, tag
from blt_jax.report.html.side_by_side import Runs, folded, section
from blt_jax.report.record import TESTED, RunRecord

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
    *tables,
    folded("Every epoch in numbers", run_tables.epochs_table(run)),
  )


def classes(side: Runs) -> Markup | None:
  """Class counts, and every class's measures by its size."""
  runs, _, _ = side.chosen(lambda run: len(run.class_counts) > 0)
  text = (
    "Recall is the share of a class's test images that is right, which is its "
    "accuracy, at the best epoch. Lines mark the limits of the groups."
  )
  tested, names, titles = side.chosen(
    lambda run: len(run.class_counts) > 0 and run.class_accuracies() is not None
  )
  if len(tested) > 1 and len(_distinct(runs)) == 1:
    charts = side.beside(
      class_figures.class_counts(runs[0]),
      class_figures.accuracies_of_runs(tested, names),
    )
    table = class_table.class_table_of_runs(tested, names)
    return section("Classes by size", text, charts, table)
  parts: list[Markup | None] = []
  if not side.several:
    (drawn,) = side.drawings
    parts.append(side.beside(drawn["class_counts"], drawn["class_accuracies"]))
  else:
    parts.append(side.beside(*map(class_figures.class_counts, _distinct(runs))))
  for run, heading in zip(tested, titles, strict=True):
    if side.several:
      chart = recall_figure.class_accuracies(run)
      parts += [tag("h3", heading), side.beside(chart)]
    parts.append(class_table.class_table(run))
  return section("Classes by size", text, *parts)


def _distinct(runs: Sequence[RunRecord]) -> list[RunRecord]:
  """One run of each list of classes."""
  found: dict[tuple, RunRecord] = {}
  for run in runs:
    found.setdefault((tuple(run.class_counts), tuple(run.class_names)), run)
  return list(found.values())


def confidence(side: Runs) -> Markup | None:
  """Whether confidences are right, and from which one on to trust answers."""

  def draw(drawn: Drawings) -> Markup | None:
    run = drawn.run
    if run.predictions(TESTED) is None:
      return None
    tables = (
      confidence_tables.calibration_table((run.results or {}).get("best", {})),
      confidence_tables.thresholds_table(thresholds(run)),
    )
    return join(
      side.beside(drawn["reliability"], drawn["coverage"]), side.beside(*tables)
    )

  text = (
    "The confidence of an answer is the probability that the network gives it. "
    "Where a line lies below the dashed one, the network is surer than it is "
    "right. If answers of low confidence are left out, more of the others are "
    "right; the mode predict leaves them out with its flag min_confidence. "
    "Marks show where the thresholds of the table lead to, which are "
    "calibrated confidences. Their groups are those of the class that is "
    "answered, because an image's own class is not known where a network is "
    "used; those of the calibration error are of the image's own class."
  )
  return section("What its confidence is worth", text, side.each(draw))


def differences(side: Runs) -> Markup | None:
  """Every run against the first one, image by image."""
  if not side.several:
    return None
  rows, left_out = [], []
  for title, badge, found in zip(
    side.titles[1:], side.badges[1:], side.differences, strict=True
  ):
    if found.points:
      rows.append(run_tables.row(title, *run_tables.difference_cells(found)))
    else:
      left_out.append(tag("p", badge, f"Left out: {found.reason}."))
  reasons = tag("div", *left_out, class_="missing") if left_out else None
  if not rows:
    return section("Differences", "", reasons)
  caption = (
    "Points above or below A, with 95 % intervals; bold where 0 lies outside"
  )
  table = run_tables.table(
    ("run", *measures.TAIL_FIRST), rows, caption=caption, class_="numbers"
  )
  text = (
    "Every run against the first one, image by image: top-1 on the same test "
    "images at each run's best epoch, means over classes; intervals by "
    "bootstrap over the images of each class. They say how much the choice of "
    "test images matters, not how much another seed would."
  )
  chart = side.beside(side.differences_chart, table)
  return section("Differences", text, reasons, chart)


def confusion(side: Runs) -> Markup | None:
  """What is taken for what."""
  limit = _SOME_PAIRS if side.several else _ALL_PAIRS

  def draw(drawn: Drawings) -> Markup | None:
    run = drawn.run
    entries = run.entries(TESTED)
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
