"""Rows: what is measured one after the other, and the files that keep them."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from blt_jax.workdir import files

_ROWS, _MACHINE, _BEGUN = "rows", "machine.json", "begun.json"
_LEFT_OUT = "left_out.json"


class LeftOutError(Exception):
  """A part that can't be measured here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Row:
  """A measurement.

  Attributes:
    part: "a" to "h".
    name: different in the part, fit for a file's name.
    settings: what is measured, for JSON; the same row under others is another.
    measure: measures it; gives what is kept, for JSON.
  """

  part: str
  name: str
  settings: dict[str, Any]
  measure: Callable[[], dict[str, Any]]


class Store:
  """The folder of --output.

  Attributes:
    folder: the folder.
  """

  def __init__(self, folder: pathlib.Path):
    """Makes the folder where there is none."""
    self.folder = folder
    (folder / _ROWS).mkdir(parents=True, exist_ok=True)

  def claim(self, machine: dict[str, Any]) -> None:
    """Notes the machine, or compares it with the one that is noted.

    Raises:
      ValueError: the folder has measurements of another machine.
    """
    noted = self.machine()
    if noted is None:
      files.write_json(self.folder / _MACHINE, machine)
      return
    for name, value in machine.items():
      if noted.get(name) != value:
        raise ValueError(
          f"--output={self.folder} holds measurements with {name} "
          f"{noted.get(name)!r}, and here it is {value!r}; expected another "
          "folder."
        )

  def machine(self) -> dict[str, Any] | None:
    """The machine that was noted."""
    return files.read_object(self.folder / _MACHINE)

  def find(self, row: Row) -> dict[str, Any] | None:
    """What is kept of a row, None without it or under other settings."""
    kept = files.read_object(self._path(row.part, row.name))
    if kept is None or kept["settings"] == row.settings:
      return kept
    print(f"({row.part}) {row.name}: kept under other settings, measured again")
    return None

  def keep(self, row: Row, **found: Any) -> None:
    """Keeps `measured`, or the `error` that a row ended with."""
    content = {"name": row.name, "settings": row.settings, **found}
    files.write_json(self._path(row.part, row.name), content)

  @contextlib.contextmanager
  def begun(self, row: Row) -> Iterator[None]:
    """Notes a row that is under way, for `fail_begun`."""
    path = self.folder / _BEGUN
    note = {"part": row.part, "name": row.name, "settings": row.settings}
    files.write_json(path, note)
    yield
    path.unlink()

  def forget_begun(self) -> str:
    """Forgets the row under way, which begins anew; its name, "" for none."""
    note = files.read_object(self.folder / _BEGUN)
    (self.folder / _BEGUN).unlink(missing_ok=True)
    return f"({note['part']}) {note['name']}" if note else ""

  def fail_begun(self, error: str) -> str:
    """Keeps an error for the row under way; returns its name, "" for none."""
    note = files.read_object(self.folder / _BEGUN)
    if note is None:
      return ""
    self.keep(Row(**note, measure=dict), error=error)
    return self.forget_begun()

  def leave_out(self, part: str, reason: str) -> None:
    """Notes why a part can't be measured; "" if it can."""
    reasons = self.left_out()
    reasons[part] = reason
    files.write_json(self.folder / _LEFT_OUT, reasons)

  def left_out(self) -> dict[str, str]:
    """{part: why it can't be measured}; "" for one that can."""
    return files.read_object(self.folder / _LEFT_OUT) or {}

  def kept(self, part: str) -> list[dict[str, Any]]:
    """All rows of a part, in the order in which they were measured."""
    paths = (self.folder / _ROWS).glob(f"{part}-*.json")
    ordered = sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path))
    return [files.read_object(path) or {} for path in ordered]

  def dates(self) -> list[str]:
    """The day of the first and, if it is another, that of the last row."""
    times = sorted(p.stat().st_mtime for p in (self.folder / _ROWS).iterdir())
    days = [
      time.strftime("%Y-%m-%d", time.localtime(each))
      for each in (times[:1] + times[-1:])
    ]
    return list(dict.fromkeys(days))

  def _path(self, part: str, name: str) -> pathlib.Path:
    return self.folder / _ROWS / f"{part}-{name}.json"
