"""report.html: one page about a run, or about several side by side."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import blt_jax
from blt_jax.report import measures, style
from blt_jax.report.html import run_tables, sections
from blt_jax.report.html.css import CSS
from blt_jax.report.html.markup import Markup, tag
from blt_jax.report.html.script import SCRIPT, SOURCE
from blt_jax.report.html.side_by_side import Runs
from blt_jax.report.record import RunRecord
from blt_jax.system.console import duration
from blt_jax.workdir.progress import Progress

# The page runs its own script alone and loads nothing from elsewhere.
_POLICY = (
  "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
  f"script-src {SOURCE}"
)


def render(side: Runs) -> str:
  """The report of one run, or of several side by side.

  Raises:
    ValueError: when a file of a run is damaged.
  """
  with style.look():
    return _document(side)


def _document(side: Runs) -> str:
  runs = side.runs
  head = tag(
    "head",
    tag("meta", charset="utf-8"),
    tag("meta", name="viewport", content="width=device-width"),
    tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
    tag("link", rel="icon", href="data:,"),
    tag("title", " / ".join(dict.fromkeys(_title(run) for run in runs))),
    tag("style", Markup(CSS)),
  )
  main = tag(
    "main",
    _header(side),
    _missing(side),
    *_headline(side),
    sections.differences(side),
    sections.accuracy(side),
    sections.classes(side),
    sections.confidence(side),
    sections.confusion(side),
    sections.examples(side),
    sections.hallucination(side),
    sections.time(side),
    sections.configuration(side),
    tag("footer", f"Written by blt_jax {blt_jax.__version__}."),
    class_="several" if side.several else None,
  )
  body = tag("body", main, tag("script", Markup(SCRIPT)))
  return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(side: Runs) -> Markup:
  """The titles and settings of the runs."""
  if not side.several:
    (run,) = side.runs
    name = f"{_setting(run)} · {run.workdir.resolve().name}"
    return tag("header", tag("h1", _title(run)), tag("p", name, class_="under"))
  items = (
    tag("p", title, f" · {_title(run)} · {_setting(run)}", class_="under")
    for title, run in zip(side.titles, side.runs, strict=True)
  )
  heading = tag("h1", f"{len(side.runs)} runs side by side")
  return tag("header", heading, *items)


def _title(run: RunRecord) -> str:
  return f"{run.config.method} on {run.config.dataset.name}"


def _setting(run: RunRecord) -> str:
  epochs = " + ".join(_epochs(run, stage) for stage in (1, 2))
  return f"{run.network}, {epochs} epochs, seed {run.config.seed}"


def _epochs(run: RunRecord, stage: int) -> str:
  """Epochs of a stage; of one that ended early also how many it had."""
  epochs = run.config.stage(stage).epochs
  done = Progress(tuple(run.rows)).epochs_done(stage)
  return f"{done} of {epochs}" if _ended_early(run, stage) else f"{epochs}"


def _ended_early(run: RunRecord, stage: int) -> bool:
  """Whether patience has spared a stage epochs."""
  progress, section = Progress(tuple(run.rows)), run.config.stage(stage)
  return progress.epochs_done(stage) < section.epochs and progress.ended_early(
    stage, patience=section.patience
  )


def _missing(side: Runs) -> Markup | None:
  """What the runs have not recorded."""
  lines = [
    tag("p", badge if side.several else None, line)
    for badge, run in zip(side.badges, side.runs, strict=True)
    for line in measures.missing(run)
  ]
  return tag("div", *lines, class_="missing", role="note") if lines else None


def _headline(side: Runs) -> Iterator[Markup]:
  """The numbers that matter most, the tail first."""
  split = "test" if all(run.results for run in side.runs) else "validation"
  if not any(side.contents):
    return
  if side.several:
    for which in ("best", "last"):
      yield run_tables.comparison_table(
        side.contents, side.titles, which=which, split=split
      )
    return
  (run,), (content,) = side.runs, side.contents
  best = content["best"]
  tiles = (_tile(run, group, best[split]) for group in measures.TAIL_FIRST)
  yield tag("div", *tiles, class_="tiles")
  note = (
    f"Top-1 on {split} images, means of per-class accuracies, of the epoch "
    f"that is best on validation: stage {best['stage']} epoch {best['epoch']}."
  )
  about = " ".join([note, *measures.test_set(content)])
  yield tag("p", about.replace(" %", "\u00a0%"), class_="explain")
  lines = " ".join(_summary(run, best[split]))
  yield tag("p", lines.replace(" %", "\u00a0%"), class_="summary")


def _summary(run: RunRecord, best: Mapping[str, float | None]) -> Iterator[str]:
  """What the numbers mean for the tail, and what the run took."""
  few, many = (
    math.nan if best[group] is None else float(best[group] or 0)
    for group in ("few", "many")
  )
  if math.isfinite(many - few):
    order = "below" if many >= few else "above"
    yield (
      f"The few-shot classes are {abs(many - few):.1f} points {order} the "
      "many-shot classes."
    )
  if not run.rows:
    return
  made = np.nansum(measures.column(run.rows, "hallucinated"))
  if made:
    yield f"Training hallucinated {made:,.0f} images for the tail."
  else:
    yield "Training hallucinated no image."
  spent = {n: float(np.nansum(v)) for n, v in measures.times(run).items()}
  total = sum(spent.values())
  epochs = "1 epoch" if len(run.rows) == 1 else f"{len(run.rows)} epochs"
  yield f"{epochs} took {duration(total)} (h:mm:ss)."
  for stage in (1, 2):
    if _ended_early(run, stage):
      patience = run.config.stage(stage).patience
      yield (
        f"Stage {stage} ended early: its accuracy on validation rose no more "
        f"(stage{stage}.patience is {patience})."
      )


def _tile(run: RunRecord, group: str, measured: Mapping[str, Any]) -> Markup:
  """A headline number, and how sure it is."""
  text = run_tables.percent(measured[group])
  bounds = run_tables.interval(measured, group)
  unit = None if text == "–" else tag("small", " %")
  return tag(
    "div",
    tag("div", group, class_="label"),
    tag("div", text, unit, class_="value"),
    tag("div", f"95 % interval {bounds}", class_="detail") if bounds else None,
    tag("div", _size(run, group), class_="detail"),
    class_=f"tile {group}",
  )


def _size(run: RunRecord, group: str) -> str:
  """How many classes a group has, and of what size."""
  number = len(run.class_counts)
  if not number:
    return ""
  low, high = run.config.dataset.few_up_to, run.config.dataset.many_above
  sizes = {
    "few": f"up to {low} images",
    "medium": f"{low + 1} to {high} images",
    "many": f"more than {high} images",
    "overall": "mean over all",
  }
  if group != "overall":
    number = int(run.groups[group].sum())
  unit = "class" if number == 1 else "classes"
  return f"{number:,} {unit}, {sizes[group]}"
