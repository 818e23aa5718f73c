"""Files of a work directory: config.json, metrics.csv and results.json."""

import csv
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from blt_jax import processes

# Fields that older versions did not have, with what they did.
_ADDED = {"perturb": {"every": 1}}

CONFIG, METRICS, RESULTS = "config.json", "metrics.csv", "results.json"


def claim(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Makes a work directory for a configuration, or checks that it is its own.

  Args:
    workdir: made when it does not exist.
    config: written to config.json in a new work directory.

  Raises:
    ValueError: when the directory belongs to another configuration; names the
      fields that differ.
  """
  ours = flatten(config)
  if (workdir / CONFIG).exists():
    theirs = flatten(read_config(workdir))
    different = [
      f"{field} ({theirs.get(field)!r} there, {ours.get(field)!r} here)"
      for field in sorted(ours | theirs)
      if theirs.get(field) != ours.get(field)
    ]
    if different:
      raise ValueError(
        f"work directory {workdir} is of another configuration: "
        f"{', '.join(different)}. Choose another --workdir."
      )
    return
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / CONFIG, config.to_dict())
  except OSError as error:
    raise ValueError(
      f"--workdir={workdir} can't be written: {error.strerror}."
    ) from error


def own_results(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> dict[str, Any] | None:
  """Results of a finished run of this configuration, None without one.

  Raises:
    ValueError: when the directory belongs to another configuration.
  """
  if not (workdir / CONFIG).exists():
    return None
  claim(workdir, config)
  return read_results(workdir)


def read_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The configuration of a work directory, of an older version's, too.

  Raises:
    ValueError: when there is no readable config.json.
  """
  path = workdir / CONFIG
  try:
    content = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    raise ValueError(
      f"--workdir={workdir} holds no {CONFIG}; expected a directory that a "
      "training run made."
    ) from None
  except json.JSONDecodeError as error:
    raise ValueError(f"{path} is not JSON: {error}.") from None
  return ml_collections.ConfigDict(
    {
      name: {**_ADDED.get(name, {}), **_tuples(value)}
      if isinstance(value, dict)
      else value
      for name, value in content.items()
    }
  )


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{"section.field": value} of every field, sequences as lists."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      inner = flatten(value)
      flat.update({f"{name}.{field}": v for field, v in inner.items()})
    else:
      flat[name] = list(value) if isinstance(value, tuple | list) else value
  return flat


def read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
  """results.json of a finished run, None before it is written."""
  path = workdir / RESULTS
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{path} is not JSON: {error}.") from None


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes JSON so that a reader sees the old file or the new one, whole.

  NaN becomes null, which is what JSON knows. The first process writes for all.
  """
  if not processes.is_first():
    return
  text = json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"
  _replace(path, text)


def write_metrics(workdir: pathlib.Path, rows: Sequence[Mapping]) -> None:
  """Writes metrics.csv, a row for each finished epoch.

  Rows of an older version may lack a column; their fields stay empty. The first
  process writes for all.
  """
  if not processes.is_first():
    return
  path = workdir / METRICS
  temporary = path.with_name(path.name + ".tmp")
  with temporary.open("w", newline="") as file:
    columns = list(rows[-1]) + [n for n in rows[0] if n not in rows[-1]]
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
  os.replace(temporary, path)


def _replace(path: pathlib.Path, text: str) -> None:
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text)
  os.replace(temporary, path)


def _tuples(section: dict[str, Any]) -> dict[str, Any]:
  """JSON's lists as the tuples that they were."""
  return {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in section.items()
  }


def _plain(content: Any) -> Any:
  """Content with NaN and infinities as None."""
  if isinstance(content, Mapping):
    return {key: _plain(value) for key, value in content.items()}
  if isinstance(content, tuple | list):
    return [_plain(value) for value in content]
  if isinstance(content, float) and not math.isfinite(content):
    return None
  return content
