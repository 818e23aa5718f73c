"""figures/ of a work directory: a run's charts for papers and slides."""

import pathlib
from collections.abc import Callable, Mapping

from blt_jax.report import (
  class_figures,
  confidence_figures,
  epoch_figures,
  recall_figure,
  style,
)
from blt_jax.report.chart import Chart
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.record import RunRecord, read_run

FOLDER = "figures"

# Name of the files -> function from a run to its chart, which is None where the
# run lacks the numbers.
FIGURES: dict[str, Callable[[RunRecord], Chart | None]] = {
  "accuracy": epoch_figures.accuracy,
  "class_counts": class_figures.class_counts,
  "class_accuracies": recall_figure.class_accuracies,
  "reliability": confidence_figures.reliability,
  "coverage": confidence_figures.coverage,
  "confusion": class_figures.confusion,
  "hallucinated": epoch_figures.hallucinated_images,
  "updates": epoch_figures.updates,
  "time": epoch_figures.time,
  "perturbed": perturbed,
}


class Drawings(dict[str, Chart | None]):
  """Charts of a run by their names, each drawn when it is first needed."""

  def __init__(self, run: RunRecord):
    """Charts of this run."""
    self.run = run

  def __missing__(self, name: str) -> Chart | None:
    with style.look():
      self[name] = FIGURES[name](self.run)
    return self[name]

  def all(self) -> dict[str, Chart | None]:
    """Every chart, in the order of FIGURES."""
    return {name: self[name] for name in FIGURES}


def drawings_of(workdir: pathlib.Path) -> dict[str, Chart | None]:
  """The charts of a run, finished or not; see `read_run`."""
  return Drawings(read_run(workdir)).all()


def write_figures(
  charts: Mapping[str, Chart | None], folder: pathlib.Path
) -> dict[str, list[pathlib.Path]]:
  """Writes charts as NAME.png and NAME.svg, those that could be drawn."""
  files = {}
  for name, chart in charts.items():
    if chart is not None:
      folder.mkdir(parents=True, exist_ok=True)
      files[name] = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
      style.write(chart.figure, files[name][0], "png")
      files[name][1].write_bytes(chart.svg)
  return files
