"""Training times of an experiment beside the paper's Table 6."""

import math
import statistics
from collections.abc import Mapping, Sequence

from blt_jax.experiments import accuracy_table as tables
from blt_jax.experiments.accuracy_table import Paper, Results, Value
from blt_jax.report.record import RunRecord
from blt_jax.system import console

UNITS = ("image", "batch", "epoch", "total")

# The paper's names of them.
_PAPER = {"image": "image", "batch": "batch_256", "epoch": "epoch"}


def times_of(record: RunRecord) -> dict[str, float]:
  """Training time of a run, without validation.

  The median over the steady epochs of stage 2: those that hallucinate, if the
  method does, without the first one, which compiles.

  Returns:
    {"image", "batch", "epoch", "total"} in seconds, an image being a real one;
    "total" is of all epochs of both stages. NaN where there is no steady epoch.
  """
  section = record.config.stage2
  first = max(2, record.config.perturb.start_epoch)
  previous = 0.0
  seconds: list[float] = []
  steps: list[float] = []
  for row in record.rows:
    if row.stage == 2 and row.epoch >= first:
      seconds.append(row.seconds)
      steps.append(row.step - previous)
    previous = row.step
  total = sum(row.seconds for row in record.rows)
  if not seconds:
    return {**dict.fromkeys(UNITS, math.nan), "total": total}
  epoch, batches = statistics.median(seconds), statistics.median(steps)
  return {
    "image": epoch / (batches * section.batch_size),
    "batch": epoch / batches,
    "epoch": epoch,
    "total": total,
  }


def time_rows(results: Results, paper: Paper) -> dict[str, dict[str, Value]]:
  """{label: {unit: seconds over the seeds, with the paper's}}."""
  rows = {}
  for label, records in results.items():
    times = [times_of(record) for record in records]
    printed = paper.get(label, {})
    rows[label] = {
      unit: tables.value_of(
        (time[unit] for time in times),
        float(printed.get(_PAPER.get(unit, ""), math.nan)),
      )
      for unit in UNITS
    }
    if printed:
      ours = rows[label]["total"]
      rows[label]["total"] = Value(
        ours.seeds, ours.mean, ours.deviation, _seconds(str(printed["total"]))
      )
  return rows


def markdown(rows: Mapping[str, Mapping[str, Value]]) -> str:
  """The times, and under them the ratios of each setting to the first."""
  lines = [
    "| setting | seeds | image [ms] | batch [ms] | epoch [s] | total | "
    "paper: image [ms] / batch of 256 [ms] / epoch [s] / total |",
    "|---|---|---|---|---|---|---|",
  ]
  for label, values in rows.items():
    means = [value.mean for value in values.values()]
    printed = [value.paper for value in values.values()]
    cells = [label, str(values["total"].seeds), *_cells(means)]
    lines.append(f"| {' | '.join(cells)} | {' / '.join(_cells(printed))} |")
  for label, ours, theirs in ratios(rows):
    cells = [label, "", *(tables.number_text(ours[u], 2) for u in UNITS)]
    last = " / ".join(tables.number_text(theirs[u], 2) for u in UNITS)
    lines.append(f"| {' | '.join(cells)} | {last} |")
  return "\n".join(lines) + "\n"


def ratios(
  rows: Mapping[str, Mapping[str, Value]],
) -> list[tuple[str, dict[str, float], dict[str, float]]]:
  """(title, our ratios, the paper's) of each setting to the first one."""
  first, *others = rows
  return [
    (
      f"{label} / {first}",
      {u: rows[label][u].mean / rows[first][u].mean for u in UNITS},
      {u: rows[label][u].paper / rows[first][u].paper for u in UNITS},
    )
    for label in others
  ]


def sentences(rows: Mapping[str, Mapping[str, Value]]) -> list[str]:
  """What the ratios say, a sentence a setting."""
  return [
    f"`{label}`: an epoch takes {ours['epoch']:.2f} times as long "
    f"(the paper's: {printed['epoch']:.2f}), an image {ours['image']:.2f} "
    f"times ({printed['image']:.2f})."
    for label, ours, printed in ratios(rows)
    if not math.isnan(ours["epoch"])
  ]


def _cells(seconds: Sequence[float]) -> list[str]:
  """Image, batch, epoch and total in their units."""
  image, batch, epoch, total = seconds
  return [
    tables.number_text(1000 * image, 3),
    tables.number_text(1000 * batch),
    tables.number_text(epoch, 2),
    "-" if math.isnan(total) else console.duration(total),
  ]


def _seconds(text: str) -> float:
  """Seconds of a time as the paper prints it: "3h10min"."""
  hours, minutes = text.removesuffix("min").split("h")
  return 3600.0 * int(hours) + 60.0 * int(minutes)
