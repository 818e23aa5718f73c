"""figures/ of a work directory: a run's charts for papers and slides."""

import pathlib
from collections.abc import Callable

from blt_jax.report import class_figures, epoch_figures, style
from blt_jax.report.chart import Chart
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.record import RunRecord, read_run

FOLDER = "figures"

# Name of the files -> function from a run to its chart, which is None where the
# run lacks the numbers.
FIGURES: dict[str, Callable[[RunRecord], Chart | None]] = {
  "accuracy": epoch_figures.accuracy,
  "class_counts": class_figures.class_counts,
  "class_accuracies": class_figures.class_accuracies,
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


def drawings_of(workdir: pathlib.Path) -> Drawings:
  """The charts of a run, finished or not; see `read_run`."""
  return Drawings(read_run(workdir))


def write_figures(
  drawings: Drawings, folder: pathlib.Path
) -> dict[str, list[pathlib.Path]]:
  """Writes every figure that the record of a run has the numbers for.

  Raises:
    ValueError: when a file of the run is damaged.
  """
  files = {}
  for name in FIGURES:
    chart = drawings[name]
    if chart is not None:
      folder.mkdir(parents=True, exist_ok=True)
      files[name] = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
      style.write(chart.figure, files[name][0], "png")
      files[name][1].write_bytes(chart.svg)
  return files
