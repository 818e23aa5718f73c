"""splits.csv of a work directory: which images a run began with."""

import os
import pathlib

from blt_jax.config import Config
from blt_jax.data.dataset import Dataset
from blt_jax.data.sources.splits_csv import splits_csv
from blt_jax.data.text import as_text, counted
from blt_jax.system import console
from blt_jax.workdir import files, records


def write(workdir: pathlib.Path, config: Config, dataset: Dataset) -> None:
  """Writes the file as a run begins; nothing if its images have no files."""
  content = _content(config, dataset)
  if content is not None:
    files.write_bytes(workdir / records.SPLITS, content)


def compare(workdir: pathlib.Path, config: Config, dataset: Dataset) -> None:
  """Says how many images the file lacks, if there are any.

  That classes and counts agree is checked elsewhere; the names of files decide
  which of them are held out.
  """
  content = _content(config, dataset)
  path = workdir / records.SPLITS
  if content is None or not path.exists():
    return
  before = path.read_bytes()
  if before == content:
    return
  known = set(before.splitlines())
  others = [row for row in content.splitlines() if row not in known]
  if others:
    first = others[0].decode("utf-8", "surrogateescape")
    console.say(
      f"note: {path} lacks {len(others)} of"
      f" {counted(len(content.splitlines()) - 1, 'image')}, such as"
      f" {as_text(first)!r}: since the run began they were renamed or"
      " exchanged, or came into another split by that, so images may be tested"
      " that were trained on. Classes and counts agree: the images are used."
    )


def _content(config: Config, dataset: Dataset) -> bytes | None:
  root = config.dataset.root or os.path.dirname(config.dataset.table)
  return splits_csv(dataset, root)
