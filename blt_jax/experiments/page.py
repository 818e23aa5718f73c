"""Writes the page of an experiment: report.md with its tables and figure."""

import functools
import importlib.metadata
import importlib.resources
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import Config
from blt_jax.experiments import (
  accuracy_table,
  changes,
  run_status,
  time_table,
)
from blt_jax.experiments.accuracy_table import Paper, Results
from blt_jax.experiments.plan import Plan, PlannedExperiment
from blt_jax.experiments.protocols import comparison, replacements
from blt_jax.report.record import RunRecord, read_run

PACKAGES = ("jax", "flax", "optax", "numpy")
TITLES = {"last": "Last epoch", "best": "Best epoch on validation"}


def origin_of(command: Sequence[str]) -> dict[str, str]:
  """Where results come from: the command line, this machine, now."""
  versions = {
    "Python": platform.python_version(),
    **{name: importlib.metadata.version(name) for name in PACKAGES},
    "commit": _commit(),
  }
  return {
    "Command": f"`{shlex.join(command)}`",
    "Date": time.strftime("%-d %B %Y"),
    "Machine": f"{os.cpu_count()} x {_processor()}, {platform.system()}",
    "Versions": ", ".join(f"{k} {v}" for k, v in versions.items() if v),
  }


def write_page(
  planned: PlannedExperiment,
  plan: Plan,
  folder: pathlib.Path,
  origin: Mapping[str, str],
) -> pathlib.Path:
  """Writes report.md, with the tables, and the figure of an experiment."""
  results, missing = read_results(planned, plan)
  folder.mkdir(parents=True, exist_ok=True)
  sections = [_head(planned, plan, results, origin)]
  if results:
    text, said = _tables(planned, results)
    sections += [text, _figure(planned, results, folder)]
    sections += [list_of("What the numbers say", said)]
  sections += [list_of("Not finished", missing), _runs(planned, plan, folder)]
  path = folder / "report.md"
  path.write_text("\n".join(filter(None, sections)), encoding="utf-8")
  return path


def read_results(
  planned: PlannedExperiment, plan: Plan
) -> tuple[dict[str, list[RunRecord]], list[str]]:
  """(records of the finished runs by label, what is not finished)."""
  by_name = {run.name: run for run in plan.runs}
  results: dict[str, list[RunRecord]] = {}
  missing = []
  for label, names in planned.runs.items():
    for name in names:
      if run_status.is_finished(by_name[name]):
        record = read_run(by_name[name].workdir)
        results.setdefault(label, []).append(record)
      else:
        missing.append(f"{label}: {name}")
  return results, missing


def paper_of(planned: PlannedExperiment) -> Paper:
  """The paper's numbers by label."""
  return {
    setting.label: paper_numbers(setting.paper)
    for setting in planned.settings
    if setting.paper
  }


def paper_numbers(path: tuple[str, ...]) -> dict[str, Any]:
  """The paper's published numbers at a path in paper_results.json.

  Args:
    path: keys from the outside in: ("imagenet_lt_resnet10", "blt").

  Returns:
    {"many", "medium", "few", "overall"} in percent, or for Table 6 {"image",
    "batch_256", "epoch"} in seconds and "total" as text.

  Raises:
    ValueError: when there are no numbers at the path.
  """
  found: Any = _published()
  for key in path:
    found = found.get(key) if isinstance(found, dict) else None
  if not isinstance(found, dict) or any(
    isinstance(value, dict) for value in found.values()
  ):
    raise ValueError(
      f"paper_results.json has no numbers at {' / '.join(path)}; expected the "
      "keys of a row of a table."
    )
  return found


@functools.cache
def _published() -> dict[str, Any]:
  """Everything that paper_results.json holds; not to be changed."""
  file = importlib.resources.files(__package__) / "paper_results.json"
  return json.loads(file.read_bytes())


def _head(
  planned: PlannedExperiment,
  plan: Plan,
  results: Results,
  origin: Mapping[str, str],
) -> str:
  """Title, what is compared with what, and where it was made."""
  experiment, protocol = planned.experiment, plan.protocol
  facts = {
    "Source": experiment.source,
    **origin,
    "Trained on": devices_of(results),
    "Seeds": ", ".join(map(str, plan.seeds)),
    "Schedule": schedule(plan.runs[0].config),
  }
  notes = [
    protocol.note,
    comparison(experiment, protocol),
    replacements(experiment, protocol),
    experiment.note,
  ]
  lines = [f"# {experiment.name} on {protocol.dataset}: {experiment.title}", ""]
  lines += [f"- {name}: {fact}" for name, fact in facts.items() if fact]
  return "\n".join([*lines, "", *filter(None, notes), ""])


def schedule(config: Config) -> str:
  """Epochs, patience and learning rates of both stages."""
  stages = []
  for section in (config.stage1, config.stage2):
    drops = ", ".join(str(e) for e in section.drop_epochs if e < section.epochs)
    rates = f"rates times 0.1 after {drops}" if drops else ""
    if config.optimizer.schedule == "cosine":
      rates = "rates along a cosine"
    text = f"{section.epochs} epochs"
    if section.patience:
      text += f" at most, until {section.patience} in a row raise nothing"
    stages.append(f"{text} ({rates})" if rates else text)
  return " + ".join(stages)


def _tables(
  planned: PlannedExperiment, results: Results
) -> tuple[str, list[str]]:
  """(tables in Markdown, what they say in sentences) of an experiment."""
  published = paper_of(planned)
  if planned.experiment.table == "time":
    times = time_table.time_rows(results, published)
    text = f"Training without validation.\n\n{time_table.markdown(times)}"
    return text, time_table.sentences(times)
  parts, said = [], []
  for epoch, title in TITLES.items():
    rows = accuracy_table.accuracy_rows(results, published, epoch)
    parts.append(
      f"{title}: top-1 on the test images in percent, mean ± standard "
      f"deviation over seeds.\n\n{accuracy_table.markdown(rows)}"
    )
    said += [
      f"{title}: {sentence}"
      for sentence in changes.sentences(
        results, published, planned.settings, epoch=epoch
      )
    ]
  return "\n".join(parts), said


def _figure(
  planned: PlannedExperiment, results: Results, folder: pathlib.Path
) -> str:
  """Draws the figure, or says in its place why it can't be drawn."""
  from blt_jax.experiments.figures import kinds
  from blt_jax.report import fonts, style

  kind = planned.experiment.figure
  if kind is None:
    return ""
  try:
    figure = kinds.FIGURES[kind](results, paper_of(planned))
  except ValueError as error:
    return f"No figure: {error}\n"
  style.save(figure, folder / "figure")
  lacking = fonts.missing([figure])
  return f"![{planned.experiment.title}](figure.png)\n" + (
    f"\nNote: {lacking}.\n" if lacking else ""
  )


def list_of(title: str, lines: Sequence[str]) -> str:
  """A section with a list, nothing for an empty one."""
  return "\n".join(
    [f"## {title}", "", *(f"- {x}" for x in lines), ""] * bool(lines)
  )


def _runs(planned: PlannedExperiment, plan: Plan, folder: pathlib.Path) -> str:
  """Where the runs of each setting are."""
  paths = {run.name: run.workdir for run in plan.runs}
  links = [
    f"{label}: "
    + ", ".join(f"`{os.path.relpath(paths[name], folder)}`" for name in names)
    for label, names in planned.runs.items()
  ]
  return list_of("Runs", links)


def devices_of(results: Results) -> str:
  """What the runs were trained on: "2 x cpu"."""
  found = {
    record.results["device"]
    for records in results.values()
    for record in records
    if record.results and "device" in record.results
  }
  return ", ".join(sorted(found))


def _processor() -> str:
  """The processor's name as the system tells it."""
  path = pathlib.Path("/proc/cpuinfo")
  text = path.read_text(encoding="utf-8") if path.exists() else ""
  name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
  return name[1] if name else platform.processor() or platform.machine()


def _commit() -> str:
  """The checkout's commit, marked when files differ from it."""
  command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
  try:
    told = subprocess.run(
      command,
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=False,
    )
  except OSError:
    return ""
  return told.stdout.strip()
