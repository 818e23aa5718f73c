"""Data sets from tables: CSV, TSV, JSON lines, and COCO's JSON."""

import dataclasses

import numpy as np

from blt_jax.data.sources import USUAL_COLUMNS, Columns


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTable:
  """The images of a table, each once, all their files looked up.

  Attributes:
    file: the table.
    names: [C], the classes in the order of their numbers.
    labels: int32 [n], 0..C-1.
    paths: strings [n], files that exist.
    splits: strings [n], "train", "validation" or "test"; None without a column.
    groups: strings [n], "" where a cell is empty; None without a column.
    left_out: lines about what was left out.
  """

  file: str
  names: tuple[str, ...]
  labels: np.ndarray
  paths: np.ndarray
  splits: np.ndarray | None = None
  groups: np.ndarray | None = None
  left_out: tuple[str, ...] = ()


def read_table(
  file: str, *, root: str = "", columns: Columns = USUAL_COLUMNS
) -> ImageTable:
  """Reads a table of images.

  Args:
    file: CSV, TSV, JSON lines or COCO's JSON.
    root: folder that the paths are relative to; those that are not found there
      are relative to the table's own folder.
    columns: names of the columns.

  Raises:
    ValueError: names the file and the line or column that is wrong.
  """
  raise ValueError(f"{file}: tables of images can't be read yet.")
