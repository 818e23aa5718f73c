"""Writes reports: of a run as it ends, and of several by --mode=report."""

import pathlib
from collections.abc import Sequence

from blt_jax.report import figures, fonts
from blt_jax.report.html import page
from blt_jax.report.html.side_by_side import Runs
from blt_jax.report.record import check_finished, read_run
from blt_jax.system import console
from blt_jax.workdir import files

FILE = "report.html"


def write_report(
  workdirs: Sequence[pathlib.Path], folder: pathlib.Path
) -> pathlib.Path:
  """Writes the report of runs and its figures.

  Of several runs, the picture of their differences is the only file.

  Raises:
    ValueError: when a directory holds no run, or a file of it is damaged.
  """
  runs = [read_run(workdir) for workdir in workdirs]
  for run in runs:
    check_finished(run)
  side = Runs([figures.Drawings(run) for run in runs])
  content = page.render(side)
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"--output={folder} is a file; expected a folder.")
  folder.mkdir(parents=True, exist_ok=True)
  # The report is written last: where it is, the figures are, too.
  if side.several:
    drawn = {"differences": side.differences_chart}
  else:
    drawn = side.drawings[0].all()
  figures.write_figures(drawn, folder / figures.FOLDER)
  lacking = fonts.missing(chart.figure for chart in drawn.values() if chart)
  if lacking:
    console.say(f"note: {lacking}")
  path = folder / FILE
  files.write_text(path, content)
  return path


def report(workdir: str | None, workdirs: Sequence[str], output: str) -> None:
  """--mode=report.

  Raises:
    ValueError: when there is no work directory, or several and no output.
  """
  folders = [*([workdir] if workdir else []), *workdirs]
  if not folders:
    raise ValueError(
      "--workdir and --workdirs are missing; --mode=report needs "
      "--workdir=DIR of a run, or --workdirs=A,B,C."
    )
  if len(folders) > 1 and not output:
    raise ValueError(
      "--output is missing; a report of several runs needs --output=DIR."
    )
  paths = [pathlib.Path(folder) for folder in folders]
  console.say(str(write_report(paths, pathlib.Path(output or folders[0]))))
