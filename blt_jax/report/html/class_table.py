"""The table of all classes, which a click on a heading sorts."""

from collections.abc import Iterable, Sequence
from typing import Any

from blt_jax.report import measures
from blt_jax.report.html.markup import Markup, tag
from blt_jax.report.html.run_tables import broken, percent, row, table
from blt_jax.report.record import RunRecord

OPEN_UP_TO = 20  # More classes than this are folded.


def class_table(run: RunRecord) -> Markup | None:
  """What classes.csv says of every class, the smallest class first."""
  known = run.classes
  if known is None:
    return None
  rows = []
  for c in measures.by_size(run.class_counts)[::-1]:
    one = known[c]
    shares = map(percent, (one.recall, one.precision, one.f1, one.top5))
    taken = broken(one.confused_with) if one.confused_with else "–"
    name = tag("td", taken, class_="name")
    cells = (one.train, *shares, name, one.validation, one.test)
    rows.append(_row(run, c, *cells))
  caption = (
    "Every class, the smallest first: training images; on the test images of "
    "the best epoch recall, precision, F1 and top-5 in percent, and the class "
    "that it is most taken for; images in the other splits. A click on a "
    "heading sorts."
  )
  shown = ("recall", "precision", "F1", "top-5", "most taken for")
  return _table(("train", *shown, "validation", "test"), rows, caption)


def class_table_of_runs(
  runs: Sequence[RunRecord], labels: Sequence[str]
) -> Markup:
  """The recall of every class in runs on the same classes, smallest first."""
  found = [run.class_accuracies() for run in runs]
  rows = [
    _row(
      runs[0],
      c,
      int(runs[0].class_counts[c]),
      *(
        percent(recalls[c]) if recalls is not None else "–" for recalls in found
      ),
    )
    for c in measures.by_size(runs[0].class_counts)[::-1]
  ]
  caption = (
    "Every class, the smallest first: training images, and recall in percent "
    "on the test images of each run's best epoch. A click on a heading sorts."
  )
  return _table(("train", *labels), rows, caption)


def _row(run: RunRecord, c: int, *cells: Any) -> Markup:
  """A class's row with the colour of its group."""
  group = next(g for g, mask in run.groups.items() if mask[c])
  return row(broken(run.class_names[c]), *cells, class_=group)


def _table(head: Iterable[str], rows: Sequence[Markup], caption: str) -> Markup:
  """The table; of many classes it is folded."""
  made = table(
    ("class", *head),
    rows,
    caption=caption,
    class_="numbers classes sortable",
    sorted_by="train",
  )
  return tag(
    "details",
    tag("summary", "Every class in numbers"),
    made,
    open=len(rows) <= OPEN_UP_TO,
  )
