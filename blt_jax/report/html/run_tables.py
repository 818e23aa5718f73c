"""Tables of a report: results, confusions, epochs, time, configuration."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.config import differing, flatten
from blt_jax.data.text import shortened_apart
from blt_jax.report import measures
from blt_jax.report.differences import Difference
from blt_jax.report.html.markup import Markup, join, tag
from blt_jax.report.measures import SHOT_GROUPS, TAIL_FIRST
from blt_jax.report.record import RunRecord
from blt_jax.system.console import duration
from blt_jax.workdir.records import Confusion

_PAIR_WIDTH = 30  # Most columns of a name in the table of pairs.


def percent(value: float | None, *, digits: int = 1) -> str:
  """A number of percent, or a dash for what is not known."""
  if value is None or not math.isfinite(value):
    return "–"
  return f"{value:.{digits}f}"


def accuracies(measured: Mapping[str, Any], *, f1: bool) -> list[Markup]:
  """Cells of the groups' accuracies, the tail first, with their intervals.

  Args:
    measured: of results.json, on a split.
    f1: whether macro F1 follows.
  """
  cells = []
  for group in TAIL_FIRST:
    bounds = interval(measured, group)
    below = tag("small", bounds) if bounds else None
    cells.append(tag("td", percent(measured.get(group)), below))
  return cells + [tag("td", percent(measured.get("macro_f1")))] * f1


def interval(measured: Mapping[str, Any], group: str) -> str | None:
  """The 95 % interval of a group's accuracy; None where there is none."""
  bounds = measured.get("interval", {}).get(group)
  if bounds is None or None in bounds:
    return None
  return "–".join(map(percent, bounds))


def table(
  head: Iterable[Any],
  rows: Iterable[Markup],
  *,
  caption: str,
  class_: str = "",
  sorted_by: str = "",
) -> Markup:
  """A table that scrolls by itself where it is too wide.

  Args:
    head: headings of the columns.
    rows: from `row`.
    caption: stands above it.
    class_: of the style sheet.
    sorted_by: heading of the column whose values rise.
  """
  rising = "ascending" if sorted_by else None
  headings = (
    tag("th", h, scope="col", aria_sort=rising if h == sorted_by else None)
    for h in head
  )
  content = tag(
    "table",
    tag("thead", tag("tr", *headings)),
    tag("tbody", *rows),
    class_=class_ or None,
    aria_label=caption,
  )
  # The caption stands outside, so that it does not scroll with the table.
  return join(
    tag("p", caption, class_="caption"),
    tag(
      "div",
      content,
      class_="scroll",
      tabindex=0,
      role="region",
      aria_label=caption,
    ),
  )


def row(title: Any, *cells: Any, class_: str | None = None) -> Markup:
  """A row with its heading; cells that are no markup become `td`."""
  made = (c if isinstance(c, Markup) else tag("td", c) for c in cells)
  return tag("tr", tag("th", title, scope="row"), *made, class_=class_)


def results_table(content: Mapping[str, Any], *, top5: bool) -> Markup:
  """Accuracy of the best and the last epoch on both splits."""
  found = [
    (f"{which} ({content[which]['epoch']}), {split}", content[which][split])
    for which in ("best", "last")
    for split in ("test", "validation")
    if split in content.get(which, {})
  ]
  if top5:
    found = [(name, measured["top5"]) for name, measured in found]
  caption = (
    f"Top-{5 if top5 else 1} in percent, means of per-class accuracies, after "
    "the best and the last epoch"
  )
  return _accuracies_table("", found, caption)


def comparison_table(
  contents: Sequence[Mapping[str, Any]],
  labels: Sequence[Markup],
  *,
  which: str,
  split: str,
) -> Markup:
  """Accuracy of several runs on one split after the best or last epoch."""
  found = []
  for content, label in zip(contents, labels, strict=True):
    epoch = content.get(which, {})
    title = join(label, f" ({epoch.get('epoch', '–')})")
    found.append((title, epoch.get(split, {})))
  caption = f"{which.capitalize()} epoch, {split}: top-1 in percent"
  return _accuracies_table("run (epoch)", found, caption)


def _accuracies_table(
  heading: str, found: Sequence[tuple[str, Mapping[str, Any]]], caption: str
) -> Markup:
  """A row for each (title, measures on a split, as in results.json)."""
  head, has_f1 = [heading, *TAIL_FIRST], False
  if any("macro_f1" in measured for _, measured in found):
    head, has_f1 = [*head, "macro F1"], True
  if any("interval" in measured for _, measured in found):
    caption += ", with 95 % intervals"
  rows = [row(name, *accuracies(one, f1=has_f1)) for name, one in found]
  return table(head, rows, caption=caption, class_="numbers results")


def difference_cells(found: Difference) -> list[Markup]:
  """Cells of a run's differences, the tail first."""
  cells = []
  for group in TAIL_FIRST:
    middle, low, high = found.points[group]
    if not math.isfinite(middle):
      cells.append(tag("td", "–"))
      continue
    sure = low > 0 or high < 0
    number = tag("strong" if sure else "span", signed(middle))
    bounds = f"{signed(low)} to {signed(high)}"
    cells.append(tag("td", number, tag("small", bounds)))
  return cells


def signed(value: float) -> str:
  """A number of points with its sign."""
  text = f"{value:+.1f}".replace("-", "−")
  return "0.0" if text[1:] == "0.0" else text


def flow_table(run: RunRecord, entries: Confusion) -> Markup:
  """Where the images of each shot group end up."""
  flow = measures.group_flow(entries, run.groups)
  rows = [
    row(
      chip(group),
      *(percent(flow[group][name]) for name in ("correct", *SHOT_GROUPS[::-1])),
    )
    for group in SHOT_GROUPS[::-1]
    if run.groups[group].any()
  ]
  head = (
    "images of",
    "correct",
    *(f"taken for {g}" for g in SHOT_GROUPS[::-1]),
  )
  caption = "Where the images of each group end up, percent"
  return table(head, rows, caption=caption, class_="numbers")


def pairs_table(
  run: RunRecord, entries: Confusion, *, limit: int
) -> Markup | None:
  """The pairs of classes that are confused most often; None without any."""
  rows = []
  pairs = measures.confused_pairs(entries, limit)
  classes = list(dict.fromkeys(c for p in pairs for c in (p.true, p.predicted)))
  short = shortened_apart([run.class_names[c] for c in classes], _PAIR_WIDTH)
  names = dict(zip(classes, short, strict=True))
  for pair in pairs:
    share = 100 * pair.share
    bar = tag("i", tag("i", style=f"width:{share:.0f}%"), class_="bar")
    cells = (
      tag("td", _named(run, pair.predicted, names), class_="name"),
      tag("td", f"{pair.count}/{pair.total}"),
      tag("td", tag("span", f"{share:.1f}"), bar, class_="share"),
    )
    group = next(g for g, mask in run.groups.items() if mask[pair.true])
    title = join(_named(run, pair.true, names), " ", chip(group))
    rows.append(row(title, *cells))
  if not rows:
    return None
  return table(
    ("class", "taken for", "images", "share, %"),
    rows,
    caption="Most confused pairs on the test images",
    class_="numbers pairs",
  )


def _named(run: RunRecord, c: int, short: Mapping[int, str]) -> Markup:
  """A class's short name, which shows the whole one under the pointer."""
  whole = run.class_names[c]
  return named(short[c], title=whole if whole != short[c] else None)


def named(name: str, *, title: str | None = None) -> Markup:
  """A class's name with the width that it needs to be readable."""
  width = f"min-width:{min(len(name), 10)}ch"
  return tag("span", broken(name), style=width, title=title)


def broken(name: str) -> Markup:
  """A name that may go on in the next line after its signs."""
  parts = re.split(r"(?<=[_/-])", name)
  return join(*(join(part, Markup("<wbr>")) for part in parts[:-1]), parts[-1])


def chip(group: str) -> Markup:
  """The name of a group with its colour."""
  return tag("span", group, class_=f"chip {group}")


def epochs_table(run: RunRecord) -> Markup:
  """What the charts over the epochs show, in numbers."""
  spent = measures.times(run)
  rows = []
  for i, values in enumerate(run.rows):
    made = values.hallucinated > 0
    rows.append(
      row(
        f"{values.stage} · {values.epoch}",
        percent(values.loss, digits=3),
        *(percent(values.validation[group]) for group in TAIL_FIRST),
        values.hallucinated,
        percent(values.mean_updates) if made else "–",
        percent(100 * values.reached_share, digits=0) if made else "–",
        *(percent(spent[name][i], digits=2) for name in spent),
      )
    )
  head = ("stage · epoch", "loss", *TAIL_FIRST, "hallucinated", "updates")
  times = (f"{name}, s" for name in spent)
  return table(
    (*head, "reached, %", *times),
    rows,
    caption="Every epoch: validation top-1 in percent, hallucination, time",
    class_="numbers",
  )


def times_table(runs: Sequence[RunRecord], labels: Sequence[Any]) -> Markup:
  """Time of the epochs together, an epoch, and where it went."""
  rows = []
  for run, label in zip(runs, labels, strict=True):
    spent = {n: float(np.nansum(v)) for n, v in measures.times(run).items()}
    total = sum(spent.values())
    last = measures.stage_starts(run.rows)[-1]
    epochs = np.nansum([v[last:] for v in measures.times(run).values()], axis=0)
    shares = (percent(100 * value / total) for value in spent.values())
    median = f"{np.median(epochs):.2f}"
    rows.append(row(label, duration(total), median, *shares))
  head = ("", "all", "an epoch, s", *spent)
  return table(
    head,
    rows,
    caption="All epochs (h:mm:ss), the median one of the last stage, and where "
    "the time went, percent",
    class_="numbers",
  )


def config_table(
  runs: Sequence[RunRecord], labels: Sequence[Any], *, only: Sequence[str] = ()
) -> Markup:
  """The configuration field by field; differences between runs are marked."""
  flat = [flatten(run.config) for run in runs]
  different = differing(*(run.config for run in runs))
  rows = [
    row(
      tag("code", name),
      *(tag("td", tag("code", _value(f[name]))) for f in flat),
      class_="different" if name in different and not only else None,
    )
    for name in (only or flat[0])
  ]
  head = ("field", *(labels if len(runs) > 1 else ("value",)))
  caption = "Where the configurations differ" if only else "Configuration"
  return table(head, rows, caption=caption, class_="config")


def _value(value: Any) -> str:
  if isinstance(value, list):
    return ", ".join(map(str, value)) or "none"
  return "“”" if value == "" else str(value)
