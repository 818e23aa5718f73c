"""Data sets from tables: CSV, TSV, JSON lines, and COCO's JSON."""

import dataclasses

import numpy as np

from blt_jax.data.dataset import Dataset, Split, path_array
from blt_jax.data.grouping import hold_out_groups, torn_groups
from blt_jax.data.sources import USUAL_COLUMNS, Columns, table_rows
from blt_jax.data.sources.image_folders import hold_out
from blt_jax.data.sources.splits import NATURAL, SplitOptions, assemble
from blt_jax.data.sources.table_columns import describe_columns
from blt_jax.data.sources.table_files import read_cells
from blt_jax.data.sources.table_paths import PathFinder
from blt_jax.data.text import counted

# Images of each split: rows of a table.
_Rows = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTable:
  """The images of a table, each once, all their files looked up.

  Attributes:
    file: the table.
    names: [C], the classes in the order of their numbers.
    labels: int32 [n], 0..C-1.
    paths: strings [n], files that exist.
    relative: strings [n], the same relative to the root, or to the table's
      folder.
    splits: strings [n], "train", "validation" or "test"; None without a column.
    groups: strings [n], "" where a cell is empty; None if all are.
    columns: content ("path", "label", "split", "group") -> the column's name.
    left_out: lines about which columns were taken and what was left out.
  """

  file: str
  names: tuple[str, ...]
  labels: np.ndarray
  paths: np.ndarray
  relative: np.ndarray
  splits: np.ndarray | None
  groups: np.ndarray | None
  columns: dict[str, str]
  left_out: tuple[str, ...] = ()

  def __len__(self) -> int:
    return len(self.labels)


def read_table(
  file: str,
  *,
  root: str = "",
  columns: Columns = USUAL_COLUMNS,
  fallback: str = "",
) -> ImageTable:
  """Reads a table of images.

  Rows without a path, a label or (where there is a column of splits) a split
  are left out and counted. Rows that repeat an image are counted once.

  Args:
    file: CSV, TSV, JSON lines, an array of JSON objects or COCO's JSON, see
      table_files.read_cells.
    root: folder that the paths are relative to, "" for the table's own. Paths
      that are not found there may be relative to the table's folder, see
      table_paths.PathFinder.
    columns: names of the columns; "none" for split and group uses no column.
    fallback: folder to look in if files are missing; "" for none.

  Returns:
    An ImageTable with 1 or more images.

  Raises:
    ValueError: names the file and the line or column that is wrong, or the two
      lines of one image that contradict each other.
  """
  cells = read_cells(file, columns)
  rows, lines = table_rows.complete_rows(cells)
  finder = PathFinder(root, file, fallback=fallback)

  def place(i: int) -> str:
    return cells.place(rows[i])

  written = table_rows.texts(cells, "path", rows)
  paths, relative = finder.find(written, place=place)
  names, labels = table_rows.classes(cells, rows, place)
  splits = table_rows.splits(cells, rows, place)
  groups, joined = table_rows.groups(cells, rows)
  chosen = dict(cells.chosen)
  if groups is not None and not any(groups):
    _check_not_asked(chosen.pop("group"), columns, file)
    groups = None
  said = {
    "label": [names[c] for c in labels.tolist()],
    "split": splits,
    "group": groups,
  }
  kept, repeated = table_rows.each_once(
    finder.identities(paths), said, place=place
  )
  lines += [*joined, *repeated, *finder.lines(paths)]
  return ImageTable(
    file,
    names,
    labels[kept],
    path_array(paths)[kept],
    path_array(relative)[kept],
    None if splits is None else path_array(splits)[kept],
    None if groups is None else path_array(groups)[kept],
    chosen,
    (f"{file}: {describe_columns(chosen, cells.unused)}", *lines),
  )


def _check_not_asked(column: str, columns: Columns, file: str) -> None:
  """Raises ValueError if an empty column of groups was asked for."""
  if columns.group:
    raise ValueError(
      f"config.dataset.group is {columns.group!r}; expected a column with a"
      f" group in it, but {column!r} of {file} is empty."
    )


def load_image_table(
  root: str,
  table: str,
  *,
  name: str = "image_table",
  columns: Columns = USUAL_COLUMNS,
  options: SplitOptions = NATURAL,
) -> Dataset:
  """A data set from a table of images.

  Class names keep their order in the table; labels that are numbers are in the
  order of the numbers (see table_labels.number_classes). The images of a split
  are sorted by class.

  Without a column of splits, images are held out as for image folders, or, if
  there is a column of groups, group by group (see grouping.hold_out_groups);
  validation_per_class and test_per_class then only say whether a split is held
  out. With one, validation is held out of training if the table has no
  validation image, and the validation images are the test if it has no test
  image.

  Args:
    root: folder that the paths are relative to; "" for the table's own.
    table: see read_table.
    name: of the data set.
    columns: names of the columns; "none" for split and group uses no column.
    options: see SplitOptions.

  Returns:
    The Dataset, with paths, groups if the table has them, and lines about what
    was left out.

  Raises:
    ValueError: names the file, line, column or field that is wrong; or the
      table's splits tear groups apart and neither column was named.
  """
  found = read_table(table, root=root, columns=columns)
  lines = list(found.left_out)
  rows = _given(found) if found.splits is not None else {"train": _all(found)}
  if len(rows) > 1:
    lines += _torn(found, rows, columns)
    found, rows, said = _without_training(found, rows)
    lines += said
  if len(found.names) < 2:
    raise ValueError(
      f"{table}: column {found.columns['label']!r} has one class,"
      f" {found.names[0]!r}; expected 2 or more."
    )
  wanted = _wanted(rows, options)
  if wanted:
    held, said = _hold_out(found, rows["train"], wanted, options=options)
    rows, lines = {**rows, **held}, lines + said
  whole = Split(found.labels, paths=found.paths, groups=found.groups)
  splits = {part: whole.take(chosen) for part, chosen in rows.items()}
  return assemble(
    name,
    found.names,
    train=splits["train"],
    validation=splits.get("validation"),
    test=splits.get("test"),
    options=options,
    left_out=lines,
  )


def _all(found: ImageTable) -> np.ndarray:
  """All rows, sorted by class; those of a class in the table's order."""
  return np.argsort(found.labels, kind="stable")


def _given(found: ImageTable) -> _Rows:
  """The rows of each split that the table gives.

  Raises:
    ValueError: there is no training image.
  """
  assert found.splits is not None
  order = _all(found)
  splits = np.array(found.splits.tolist())[order]
  rows = {
    part: order[splits == part]
    for part in ("train", "validation", "test")
    if np.any(splits == part)
  }
  if "train" not in rows:
    raise ValueError(
      f"{found.file}: no row of the split train in column"
      f" {found.columns['split']!r}; expected 1 or more."
      " --config.dataset.split=none holds images out."
    )
  return rows


def _wanted(rows: _Rows, options: SplitOptions) -> dict[str, int]:
  """{split to hold out of training: most images of a class}."""
  wanted: dict[str, int] = {}
  if options.folds:  # `assemble` deals them.
    return wanted
  if "validation" not in rows and options.validation_per_class:
    wanted["validation"] = options.validation_per_class
    if "test" not in rows and options.test_per_class:
      wanted["test"] = options.test_per_class
  return wanted


def _hold_out(
  found: ImageTable,
  pool: np.ndarray,
  wanted: dict[str, int],
  *,
  options: SplitOptions,
) -> tuple[_Rows, list[str]]:
  """(rows of the splits that are held out of a pool and of training, lines)."""
  labels = found.labels[pool]
  if found.groups is None:
    held = hold_out(
      Split(labels, paths=found.relative[pool]),
      found.names,
      folder="",
      wanted=wanted,
      seed=options.split_seed,
    )
    return {part: pool[rows] for part, rows in held.items()}, []
  groups = found.groups[pool]
  try:
    held = hold_out_groups(
      labels, groups, wanted=tuple(wanted), seed=options.split_seed
    )
  except ValueError as error:
    column = found.columns["group"]
    raise ValueError(f"{found.file}: column {column!r}: {error}") from None
  parts = ", ".join(
    f"{counted(len(set(groups[rows])), 'group')} with"
    f" {counted(len(rows), 'image')} for {part.replace('train', 'training')}"
    for part, rows in held.items()
  )
  lines = [f"split by {found.columns['group']!r}: {parts}"]
  alone = int(np.sum(groups == ""))
  if alone:
    lines.append(
      f"{counted(alone, 'image')} without a group: each is a group of its own"
    )
  return {part: pool[rows] for part, rows in held.items()}, lines


def _torn(found: ImageTable, rows: _Rows, columns: Columns) -> list[str]:
  """A line about groups that the table's splits tear apart.

  Raises:
    ValueError: there are some, the column of groups was asked for and that of
      splits was not.
  """
  if found.groups is None:
    return []
  torn = torn_groups({part: found.groups[r] for part, r in rows.items()})
  if not torn:
    return []
  total = len(set(found.groups) - {""})
  line = (
    f"{len(torn)} of {counted(total, 'group')} in more than one split, such"
    f" as {torn[0]!r}: column {found.columns['split']!r} tears the groups of"
    f" {found.columns['group']!r} apart"
  )
  if columns.group and not columns.split:
    raise ValueError(
      f"{found.file}: {line}; expected each group in one split."
      " --config.dataset.split=none splits anew, by groups;"
      f" --config.dataset.split={found.columns['split']} trains on these."
    )
  return [line]


def _without_training(
  found: ImageTable, rows: _Rows
) -> tuple[ImageTable, _Rows, list[str]]:
  """Leaves out classes that have images, but none to train on."""
  counts = np.bincount(found.labels[rows["train"]], minlength=len(found.names))
  known = counts > 0
  if known.all():
    return found, rows, []
  kept = {
    part: chosen[known[found.labels[chosen]]] for part, chosen in rows.items()
  }
  gone = sum(map(len, rows.values())) - sum(map(len, kept.values()))
  names = [
    name
    for name, is_known in zip(found.names, known, strict=True)
    if not is_known
  ]
  line = (
    f"left out: {counted(gone, 'image')} of {len(names)} classes without a"
    f" training image, such as {names[0]!r}"
  )
  left = dataclasses.replace(
    found,
    names=tuple(n for n in found.names if n not in set(names)),
    labels=(np.cumsum(known) - 1)[found.labels],
  )
  return (
    left,
    {part: chosen for part, chosen in kept.items() if len(chosen)},
    [line],
  )
