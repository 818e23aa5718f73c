"""Which column of a table holds what."""

from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.data.sources import Columns
from blt_jax.data.text import counted

# Most columns that a line names as not used.
_MOST_UNUSED = 6
_ZERO_OR_ONE = ("0", "1", "0.0", "1.0")

# Content -> usual names of its column, without case, spaces and signs. The
# first one that a table has is taken. Names of classes go before numbers.
_USUAL: dict[str, tuple[str, ...]] = {
  "path": (
    "filename",
    "filepath",
    "path",
    "imagepath",
    "imgpath",
    "relativepath",
    "imagefile",
    "imagefilename",
    "imagename",
    "image",
    "img",
    "file",
    "imageid",
  ),
  "label": (
    "classname",
    "labelname",
    "categoryname",
    "label",
    "class",
    "category",
    "species",
    "target",
    "diagnosis",
    "classid",
    "labelid",
    "categoryid",
  ),
  "split": ("split", "subset", "partition", "isvalid"),
  "group": (
    "group",
    "groupid",
    "patient",
    "patientid",
    "subject",
    "subjectid",
    "specimen",
    "specimenid",
    "individual",
    "individualid",
    "location",
    "locationid",
    "camera",
    "cameraid",
    "lesionid",
    "seqid",
    "sequenceid",
  ),
}
_CONTENT = {
  "path": "the images' paths",
  "label": "their classes",
  "split": "their splits",
  "group": "their groups",
}

NUMBER = "class_number"
"""The column that orders classes; only splits.csv of a run may need it."""

IS_VALID = "isvalid"
"""The column of splits, as `plain` gives it, that says yes or no (fastai's)."""

UNUSED = "none"
"""Takes the place of the name of a column that is not to be used."""


def plain(name: object) -> str:
  """A column's name without case, spaces and signs."""
  return "".join(c for c in str(name).casefold() if c.isalnum())


def is_usual(name: str) -> bool:
  """Whether a column of this name may be chosen without being asked for."""
  return any(plain(name) in usual for usual in _USUAL.values())


def choose_columns(
  file: str,
  header: Sequence[str],
  columns: Columns,
  *,
  example: Mapping[str, Any] | None = None,
) -> dict[str, str]:
  """The columns of a table by their content.

  Args:
    file: the table, for a message.
    header: the names of its columns.
    columns: those that are asked for.
    example: column -> cell of a row, for a message.

  Returns:
    {"path", "label" and, if there are any, "split", "group" and "number": name
    of the column}.

  Raises:
    ValueError: there is no column of paths or of classes, or not the one that
      is asked for, or it is there twice.
  """
  chosen = {}
  for content in _USUAL:
    asked = getattr(columns, content)
    if asked == UNUSED and content in ("split", "group"):
      continue
    if asked:
      name: str | None = _asked(file, header, content, asked)
    else:
      name = _usual(header, content)
    if name is not None:
      chosen[content] = name
    elif content in ("path", "label"):
      hint = _of_zeros_and_ones(example or {}) if content == "label" else ""
      raise ValueError(_not_found(file, header, content) + hint)
  if NUMBER in header and chosen["label"] != NUMBER:
    chosen["number"] = NUMBER
  for content, name in chosen.items():
    if list(header).count(name) > 1:
      raise ValueError(
        f"{file}: column {name!r} is there twice; expected once the column of"
        f" {_CONTENT.get(content, 'the order of classes')}."
      )
  return chosen


def describe_columns(chosen: Mapping[str, str], unused: Sequence[str]) -> str:
  """The columns that are used in words, and the others by name."""
  words = {"path": "paths", "label": "classes", "split": "splits"}
  words |= {"group": "groups", "number": "order of classes"}
  used = ", ".join(f"{words[c]} from {name!r}" for c, name in chosen.items())
  if not unused:
    return used
  names = [repr(name[:40]) for name in unused[:_MOST_UNUSED]]
  names += ["..."] * (len(unused) > _MOST_UNUSED)
  return (
    f"{used}; {counted(len(unused), 'column')} not used: {', '.join(names)}"
  )


def unused_columns(
  header: Sequence[str], chosen: Mapping[str, str]
) -> tuple[str, ...]:
  """The columns with a name that are not chosen, each once."""
  used = {*chosen.values(), ""}
  return tuple(dict.fromkeys(name for name in header if name not in used))


def _asked(file: str, header: Sequence[str], content: str, asked: str) -> str:
  """The column that is asked for."""
  if asked in header:
    return asked
  alike = [name for name in header if plain(name) == plain(asked)]
  if len(alike) != 1 or not plain(asked):
    raise ValueError(
      f"config.dataset.{content} is {asked!r}; expected a column of {file},"
      f" which has {_listed(header)}."
    )
  return alike[0]


def _usual(header: Sequence[str], content: str) -> str | None:
  """The first column with one of the usual names, None without any."""
  names: dict[str, str] = {}
  for name in header:
    names.setdefault(plain(name), name)
  return next((names[u] for u in _USUAL[content] if u in names), None)


def _not_found(file: str, header: Sequence[str], content: str) -> str:
  examples = {"path": "file_name, path or image", "label": "label or class"}
  return (
    f"{file}: none of the columns {_listed(header)} is known to hold"
    f" {_CONTENT[content]}; expected a column called {examples[content]}, or"
    f" its name in --config.dataset.{content}=NAME. The first line of a CSV"
    " file names the columns."
  )


def _of_zeros_and_ones(example: Mapping[str, Any]) -> str:
  """The sentence about a table with a column for each class."""
  names = [
    name for name, cell in example.items() if str(cell).strip() in _ZERO_OR_ONE
  ]
  if len(names) < 2:
    return ""
  return (
    " A table with a column of 0 and 1 for each class, as"
    f" {_listed(names, 3)} may be, is not read; expected one column with the"
    " class's name."
  )


def _listed(header: Sequence[str], most: int = 12) -> str:
  """Names of columns in a message."""
  names = [repr(name[:40]) for name in header[:most]]
  more = len(header) - len(names)
  return ", ".join(names) + (f" and {more} more" if more else "")
