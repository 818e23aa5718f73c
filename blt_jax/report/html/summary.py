"""A run in a few sentences."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from blt_jax.method import metrics
from blt_jax.report import facts
from blt_jax.report.record import RunRecord
from blt_jax.system.console import duration
from blt_jax.workdir.records import Confusion


def sentences(run: RunRecord) -> list[str]:
  """How the run does on the tail, what it confuses and what was done."""
  lines = list(_accuracy(run))
  entries = run.entries("test-best")
  if entries is not None and len(run.class_counts):
    lines += _confusion(run, entries)
  if run.rows:
    lines += [*_hallucination(run), *_time(run)]
  return [line.replace(" %", "\u00a0%") for line in lines]


def _accuracy(run: RunRecord) -> Iterator[str]:
  content = run.results or facts.accuracies_so_far(run)
  split = "test" if run.results else "validation"
  if "best" not in content:
    return
  values: Mapping[str, Any] = content["best"][split]
  few, many = values["few"], values["many"]
  limit = run.config.dataset.few_up_to
  if not _known(few):
    yield (
      f"No {split} class is few-shot ({limit} training images or fewer); over "
      f"all classes the best epoch gets {values['overall']:.1f} % right."
    )
    return
  number = int(run.groups["few"].sum()) if len(run.class_counts) else 0
  classes = f"the {number} few-shot classes" if number else "few-shot classes"
  line = (
    f"On {classes} ({limit} training images or fewer) the best epoch gets "
    f"{few:.1f} % of the {split} images right"
  )
  if _known(many):
    gap = many - few
    order = "fewer" if gap >= 0 else "more"
    line += f", {abs(gap):.1f} points {order} than on many-shot classes"
  yield f"{line}; over all classes {values['overall']:.1f} %."


def _known(value: float | None) -> bool:
  return value is not None and math.isfinite(value)


def _confusion(run: RunRecord, entries: Confusion) -> Iterator[str]:
  few = run.groups["few"]
  accuracies = metrics.class_accuracies(entries.correct(), entries.totals())
  weakest = facts.worst_classes(accuracies, few)
  if not weakest:
    return
  named = ", ".join(
    f"{run.class_names[c]} ({accuracies[c]:.1f} %)" for c in weakest
  )
  yield f"Weakest of the tail: {named}."
  flow = facts.group_flow(entries, run.groups)["few"]
  wrong = 100 - flow["correct"]
  if wrong > 1e-6:
    parts = ", ".join(
      f"{100 * flow[group] / wrong:.0f} % to {group}-shot classes"
      for group in facts.SHOT_GROUPS
      if run.groups[group].any()
    )
    yield f"Where the tail's mistakes go: {parts}."


def _hallucination(run: RunRecord) -> Iterator[str]:
  counts = facts.hallucinated(run)
  total = np.nansum(counts)
  if not total:
    yield "No image was hallucinated in training."
    return
  i = int(np.flatnonzero(counts > 0)[-1])
  row = run.rows[i]
  yield (
    f"{total:,.0f} hallucinated images were trained on, "
    f"{100 * row.hallucinated_share:.1f} % of all images in the last such "
    f"epoch. There an image took {row.mean_updates:.1f} updates, and "
    f"{100 * row.reached_share:.0f} % reached the confidence they aimed at."
  )


def _time(run: RunRecord) -> Iterator[str]:
  spent = {n: float(np.nansum(v)) for n, v in facts.times(run).items()}
  total = sum(spent.values())
  yield (
    f"{len(run.rows)} epochs took {duration(total)} (h:mm:ss), "
    f"{100 * spent['waiting'] / total:.0f} % of it waiting for images."
  )
