"""Writes what a comparison found: compare.md, .csv, .json and the drawing."""

import dataclasses
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from blt_jax.experiments import compare_tables as tables
from blt_jax.experiments import page, run_status
from blt_jax.experiments.choice import Choice
from blt_jax.experiments.compare_tables import Found, Table
from blt_jax.experiments.outcomes import accuracy_of
from blt_jax.experiments.plan import PlannedRun
from blt_jax.system import installed
from blt_jax.workdir import files

NAME = "compare"


def write(
  found: Found, folder: pathlib.Path, origin: Mapping[str, str]
) -> list[str]:
  """Writes the page, its tables and its drawing.

  Returns:
    Lines for the terminal: the table, the choice, how to go on, the page.
  """
  folder.mkdir(parents=True, exist_ok=True)
  lines = [line for _, line in _unfinished(found)]
  text = [_head(found, origin)]
  if found.choice:
    chosen = _choice_lines(found, found.choice)
    drawn, ahead = _draw(found, folder), _go_on(found, found.choice)
    accuracies = tables.accuracies(found)
    text += [
      page.list_of("The choice", chosen),
      drawn,
      _section("Accuracy on the test images", _ABOUT, _markdown(accuracies)),
      _section(
        f"Differences to {found.simplest}, the simplest",
        "Points, on the same test images.",
        _markdown(tables.differences(found)),
      ),
      _section(
        "Run by run",
        f"{_OF_BEST} Δ: points above {found.simplest} in the same repeat.",
        _markdown(tables.run_by_run(found)),
      ),
      _section("Going on", "", "\n".join(f"    {line}" for line in ahead)),
    ]
    lines = [*_aligned(accuracies), "", *chosen, "", *ahead, *lines]
    files.write_text(folder / f"{NAME}.csv", tables.csv_text(found))
    files.write_json(folder / f"{NAME}.json", _json(found, found.choice))
  text += [
    page.list_of("What the runs remark", _remarks(found)),
    page.list_of(
      "Not finished",
      [line.removeprefix("not finished: ") for _, line in _unfinished(found)],
    ),
    page.list_of("Runs", _places(found, folder)),
  ]
  path = folder / f"{NAME}.md"
  files.write_text(path, "\n".join(filter(None, text)))
  return [*lines, str(path)]


_OF_BEST = "Of the epoch with the highest validation accuracy; percent."
_ABOUT = (
  f"{_OF_BEST} In brackets the 95 % interval: by bootstrap over the images, "
  "and widened by the spread over seeds where there are several. ± is the "
  "standard deviation over them. Training is of both stages, with validation, "
  "whoever trained a shared stage 1; its ratio is to the simplest method's."
)


def _head(found: Found, origin: Mapping[str, str]) -> str:
  comparison = found.comparison
  config = comparison.runs[0].config
  repeats = ", ".join(each.title for each in comparison.repeats)
  facts = {
    **origin,
    "Trained on": page.devices_of(_records(found)),
    "Repeats": f"{repeats}, seed {comparison.repeats[0].seed}"
    if comparison.folds
    else repeats,
    "Schedule": page.schedule(config),
    "Images": _images(found),
    "Test set": _test_set(found),
  }
  lines = [f"# {len(comparison.names)} methods on {config.dataset.name}", ""]
  lines += [f"- {name}: {fact}" for name, fact in facts.items() if fact]
  return "\n".join([*lines, ""])


def _records(found: Found) -> dict[str, list[Any]]:
  return {n: list(each.values()) for n, each in found.outcomes.runs.items()}


def _images(found: Found) -> str:
  """Numbers of images and of classes, of the first run."""
  for runs in found.outcomes.runs.values():
    run = next(iter(runs.values()))
    counts = run.class_counts
    if len(counts):
      return (
        f"{counts.sum()} to train on, in {len(counts)} classes of "
        f"{counts.max()} to {counts.min()}"
      )
  return ""


def _test_set(found: Found) -> str:
  """What the test images are, as the first run recorded it."""
  for runs in found.outcomes.runs.values():
    test = (next(iter(runs.values())).results or {}).get("test_set", {})
    if "kind" in test:
      return (
        f"{test['kind']}, {test['images']} images; overall is the mean over "
        "the classes"
      )
  return ""


def _choice_lines(found: Found, chosen: Choice) -> list[str]:
  """The choice in sentences, and what it does not know."""
  return [
    f"{line}." for line in (chosen.reason, *chosen.test, *_caveats(found))
  ]


def _caveats(found: Found) -> list[str]:
  """What the intervals and the choice leave out."""
  outcomes, comparison = found.outcomes, found.comparison
  lines = []
  left_out = [name for name in comparison.names if name not in outcomes.runs]
  if left_out:
    lines.append(f"left out: {', '.join(left_out)}, without a finished run")
  if len(outcomes.repeats) == 1 and not comparison.folds:
    lines.append(
      "one seed: the intervals are of the images alone and do not know what "
      "another seed would give"
    )
  if len(outcomes.repeats) < len(comparison.repeats):
    compared = ", ".join(each.title for each in outcomes.repeats)
    lines.append(f"compared by {compared} alone: only these all have")
  if comparison.folds:
    lines.append(
      "an image may be in the validation of several folds, so that noise on "
      "validation is somewhat larger than it counts here"
    )
  runs = [run for _, _, run in tables.runs(found)]
  if any(
    (run.results or {}).get("test_set", {}).get("is_validation") for run in runs
  ):
    lines.append(
      "the test images are the validation images, by which epochs and methods "
      "are chosen: their accuracies flatter"
    )
  if any(run.config.dataset.prior for run in runs):
    lines.append(
      "dataset.prior has no part in the choice, which is by the mean over the "
      "classes"
    )
  return lines


def _go_on(found: Found, chosen: Choice) -> list[str]:
  """Commands for the run of the chosen method that validation likes best."""
  run = _best_run(found, chosen)
  program = shlex.join(["python", *installed.program()])
  if not found.comparison.folds:
    workdir = shlex.quote(f"--workdir={run.workdir}")
    return [
      f"{program} --mode=evaluate {workdir}",
      f"{program} --mode=predict {workdir} --input=PHOTOS --output=FILE.csv",
      f"{program} --mode=export {workdir} --output=DIR",
    ]
  # No fold has trained on all that there is to train on.
  folds = ("--config.dataset.folds=", "--config.dataset.fold=")
  flags = [flag for flag in run.flags if not flag.startswith(folds)]
  final = run.workdir.parent.parent / "final"
  train = shlex.join([*flags, f"--workdir={final}"])
  return [
    f"{program} {train}",
    f"{program} --mode=export {shlex.quote(f'--workdir={final}')} --output=DIR",
  ]


def _best_run(found: Found, chosen: Choice) -> PlannedRun:
  comparison, runs = found.comparison, found.outcomes.runs[chosen.chosen]
  best = max(
    runs, key=lambda each: accuracy_of(runs[each], "validation", "overall")
  )
  place = comparison.repeats.index(best)
  name = comparison.names[chosen.chosen][place]
  return next(run for run in comparison.runs if run.name == name)


def _unfinished(found: Found) -> list[tuple[str, str]]:
  """(name of the run, a line) of failed and missing runs."""
  failed = {f.name: f for f in found.failures}
  lines = []
  for label, repeat in found.outcomes.missing:
    place = found.comparison.repeats.index(repeat)
    name = found.comparison.names[label][place]
    line = f"not finished: {name}"
    if name in failed:
      line = f"failed: {name}: {failed[name].reason} ({failed[name].log})"
    lines.append((name, line))
  return lines


def _remarks(found: Found) -> list[str]:
  """The notes of the runs, each once."""
  notes: dict[str, None] = {}
  for run in found.comparison.runs:
    log = run.workdir / run_status.LOG
    if log.exists():
      text = log.read_text("utf-8", "replace")
      notes |= dict.fromkeys(
        line for line in text.splitlines() if line.startswith("note: ")
      )
  return [line.removeprefix("note: ") for line in notes]


def _places(found: Found, folder: pathlib.Path) -> list[str]:
  paths = {run.name: run.workdir for run in found.comparison.runs}
  return [
    f"{label}: "
    + ", ".join(f"`{os.path.relpath(paths[name], folder)}`" for name in names)
    for label, names in found.comparison.names.items()
  ]


def _draw(found: Found, folder: pathlib.Path) -> str:
  """Draws the comparison; returns the link."""
  from blt_jax.experiments.figures import comparison
  from blt_jax.report import style

  outcomes = found.outcomes
  figure = comparison.comparison(
    {n: outcomes.accuracy("test", n) for n in found.names},
    {
      n: outcomes.difference("test", n, found.simplest)
      for n in found.names
      if n != found.simplest
    },
    simplest=found.simplest,
    what="fold" if found.comparison.folds else "seed",
  )
  style.save(figure, folder / "figure")
  return "![Accuracy of each method on the test images](figure.png)\n"


def _section(title: str, about: str, body: str) -> str:
  return "\n".join(
    [f"## {title}", "", *([about, ""] if about else []), body, ""]
  )


def _markdown(rows: Table) -> str:
  head, *rest = rows
  lines = [head, ["---"] * len(head), *rest]
  return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _aligned(rows: Table) -> list[str]:
  """The rows with columns of equal width."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(
      cell.ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip()
    for row in rows
  ]


def _json(found: Found, chosen: Choice) -> dict[str, Any]:
  outcomes, simplest = found.outcomes, found.simplest
  return {
    "chosen": chosen.chosen,
    "reason": _choice_lines(found, chosen),
    "simplest": simplest,
    "highest_on_validation": chosen.highest,
    "within_noise_of_it": list(chosen.tied),
    "repeats": [dataclasses.asdict(each) for each in outcomes.repeats],
    "methods": {
      name: {
        "validation": tables.plain(outcomes.accuracy("validation", name)),
        "test": tables.plain(outcomes.accuracy("test", name)),
        "difference": tables.plain(outcomes.difference("test", name, simplest)),
        "training_seconds": outcomes.seconds(name),
      }
      for name in found.names
    },
    "go_on": _go_on(found, chosen),
    "not_finished": [name for name, _ in _unfinished(found)],
  }
