"""Reads the columns of tables: CSV, TSV, JSON lines and arrays, COCO's JSON."""

import codecs
import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blt_jax.data.sources import Columns
from blt_jax.data.sources.table_columns import choose_columns, unused_columns
from blt_jax.data.text import reason

_DELIMITERS = (",", ";", "\t", "|")


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
  """The cells of a table that say something about images, row by row.

  Attributes:
    file: the table.
    chosen: content ("path", "label", ...) -> name of its column.
    columns: content -> [n], the cells: texts of a CSV file, values of JSON.
    rows: [n], the line, entry or image id of each row.
    unit: "line", "entry" or "image".
    typed: whether cells are values of JSON, where "3" is not 3.
    order: classes in their order, if the file has one.
    left_out: lines about what was left out.
    unused: names of the other columns.
  """

  file: str
  chosen: Mapping[str, str]
  columns: Mapping[str, Sequence[Any]]
  rows: Sequence[Any]
  unit: str = "line"
  typed: bool = False
  order: tuple[str, ...] | None = None
  left_out: tuple[str, ...] = ()
  unused: tuple[str, ...] = ()

  def place(self, i: int) -> str:
    """Where the i-th row stands, for a message."""
    if self.unit == "line":
      return f"{self.file}:{self.rows[i]}"
    return f"{self.file}: {self.unit} {self.rows[i]}"


def read_cells(file: str, columns: Columns) -> Cells:
  """Reads a table.

  Its content decides what it is: JSON begins with { or [; everything else is
  CSV, with commas, semicolons, tabs or bars between the cells.

  Args:
    file: the table, in UTF-8, or in UTF-16 with a byte order mark.
    columns: names of the columns.

  Raises:
    ValueError: names the file and the line or column that is wrong.
  """
  text = read_text(file)
  begin = text[:1000].lstrip()[:1]
  if begin == "{":
    if _is_coco(text):
      return _read_coco(file, text, columns)
    return _read_json_lines(file, text, columns)
  if begin == "[":
    entries = _parse(file, text)
    return _from_objects(file, enumerate(entries, 1), columns, unit="entry")
  return _read_csv(file, text, columns)


def read_text(file: str) -> str:
  """The text of a file; a byte that is not UTF-8 becomes a surrogate.

  File names are read in the same way, so the names of splits.csv come back.
  """
  try:
    with open(file, "rb") as stream:
      data = stream.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
      return data.decode("utf-16")
    if b"\0" in data[:4096]:
      raise ValueError("it is not text")
    return data.decode("utf-8-sig", "surrogateescape")
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{file}: can't be read as a table ({reason(error)}); expected a CSV,"
      " TSV, JSON lines or COCO file in UTF-8; save a spreadsheet as CSV."
    ) from error


def _is_coco(text: str) -> bool:
  """Whether JSON is one object, as COCO's, and not an object a line."""
  line = text.lstrip().partition("\n")[0]
  # All of a large file may stand in its first line.
  if all(f'"{name}"' in line for name in ("images", "annotations")):
    return True
  try:
    return not isinstance(json.loads(line), dict)
  except (ValueError, RecursionError):
    return True


def _parse(file: str, text: str, **options: Any) -> Any:
  """The content of a JSON file."""
  try:
    return json.loads(text, **options)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{file}: can't be read as JSON ({reason(error)}); expected an object a"
      " line, an array of objects, or COCO's images, annotations and"
      " categories."
    ) from None


def _read_coco(file: str, text: str, columns: Columns) -> Cells:
  from blt_jax.data.sources import table_coco  # Few tables need it.

  content = _parse(file, text, object_hook=table_coco.slimmer(columns))
  return Cells(file, **table_coco.rows(file, content, columns))


def _read_json_lines(file: str, text: str, columns: Columns) -> Cells:
  def entries() -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
      if line and not line.isspace():
        try:
          yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
          raise ValueError(
            f"{file}:{number}: is not JSON ({reason(error)}); expected an"
            " object a line."
          ) from None

  return _from_objects(file, entries(), columns, unit="line")


def _from_objects(
  file: str,
  entries: Iterable[tuple[int, Any]],
  columns: Columns,
  *,
  unit: str,
) -> Cells:
  """The cells of JSON objects, one a row."""
  rows, objects = [], []
  for row, entry in entries:
    if not isinstance(entry, dict):
      raise ValueError(
        f"{file}: {unit} {row} is {str(entry)[:40]!r}; expected an object with"
        " a key for each column."
      )
    rows.append(row)
    objects.append(entry)
  header = list(dict.fromkeys(key for entry in objects for key in entry))
  example = objects[0] if objects else {}
  chosen = choose_columns(file, header, columns, example=example)
  cells = {
    content: [entry.get(name) for entry in objects]
    for content, name in chosen.items()
  }
  unused = unused_columns(header, chosen)
  return Cells(file, chosen, cells, rows, unit, typed=True, unused=unused)


def _read_csv(file: str, text: str, columns: Columns) -> Cells:
  """The cells of a CSV file."""
  first = 0
  separator = text[:10].partition("\n")[0].strip().lower()
  if separator.startswith("sep=") and len(separator) == 5:  # Excel writes it.
    first, text = 1, text.partition("\n")[2]
  begin = len(text) - len(text.lstrip("\r\n"))
  first, text = first + text[:begin].count("\n"), text[begin:]
  delimiter = find_delimiter(text)
  reader = csv.reader(
    io.StringIO(text, newline=""), delimiter=delimiter, strict=True
  )
  rows: list[int] = []
  try:
    header = [name.strip() for name in next(reader, [])]
    example = dict(zip(header, _first_row(text, delimiter), strict=False))
    chosen = choose_columns(file, header, columns, example=example)
    cells: dict[str, list[str]] = {content: [] for content in chosen}
    places = [(header.index(n), cells[c].append) for c, n in chosen.items()]
    width, last = len(header), reader.line_num
    for row in reader:
      line, last = last + 1, reader.line_num
      if len(row) != width:
        row = _fitted(file, line + first, row, width)
      if row:
        rows.append(line + first)
        for place, append in places:
          append(row[place])
  except csv.Error as error:
    raise ValueError(
      f"{file}:{reader.line_num + first}: is not CSV ({reason(error)});"
      " expected cells whose quotes are closed."
    ) from None
  unused = unused_columns(header, chosen)
  return Cells(file, chosen, cells, rows, unused=unused)


def _first_row(text: str, delimiter: str) -> list[str]:
  """The cells of the first row below the header, if they can be read."""
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
  try:
    next(reader, [])
    return next(filter(None, reader), [])
  except csv.Error:
    return []


def find_delimiter(text: str) -> str:
  """The sign between cells: the one that gives the first line most of them."""

  def cells(delimiter: str) -> int:
    try:
      return len(
        next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
      )
    except csv.Error:
      return 0

  return max(_DELIMITERS, key=cells)


def _fitted(file: str, line: int, row: list[str], width: int) -> list[str]:
  """A row that has as many cells as the header, none if it is empty."""
  if any(cell.strip() for cell in row[width:]):
    raise ValueError(
      f"{file}:{line}: the row has {len(row)} cells; expected {width}, as the"
      " first line has. A cell with the separator in it needs quotes."
    )
  if not any(cell.strip() for cell in row):
    return []
  return (row + [""] * width)[:width]
