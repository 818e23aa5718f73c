"""Whether two runs are the same: their files, bit for bit, and what they said.

Timings may differ, and so may report.html and figures/, which show them: those
only have to be there.
"""

import collections
import csv
import pathlib
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

# Columns of metrics.csv, and TensorBoard's tags, that are not the same twice.
TIMINGS = (
  "seconds",
  "data_wait_share",
  "validation_seconds",
  "images_per_second",
)

_EVENTS = "events.out.tfevents."


def differences(
  reference: pathlib.Path,
  other: pathlib.Path,
  *,
  printed: str,
) -> list[str]:
  """What is different in a run from a reference, in words; empty if nothing.

  Args:
    reference: work directory of a finished run.
    other: work directory of another one.
    printed: all that the other one printed, in all its parts.
  """
  files = _compare_files(reference, other)
  if files:
    return files
  return [
    *_compare_bytes(reference, other),
    *_compare_metrics(reference, other),
    *_compare_checkpoints(reference, other),
    *_compare_events(reference, other),
    *_said_twice(printed),
  ]


def metrics(workdir: pathlib.Path) -> list[dict[str, str]]:
  """The rows of metrics.csv without timings."""
  with (workdir / "metrics.csv").open() as file:
    return [_untimed(row) for row in csv.DictReader(file)]


def last_checkpoint(workdir: pathlib.Path) -> dict[str, Any]:
  """The arrays of the newest checkpoint, and its progress without timings."""
  folder = (workdir / "checkpoints").absolute()
  last = max(int(path.name) for path in folder.iterdir())
  with ocp.CheckpointManager(
    folder, item_names=("state", "progress")
  ) as manager:
    restored = manager.restore(
      last,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(), progress=ocp.args.JsonRestore()
      ),
    )
  progress = dict(restored["progress"])
  progress["rows"] = [_untimed(row) for row in progress["rows"]]
  # Of what was written, timings and all.
  progress.get("digests", {}).pop("progress", None)
  return {**restored["state"], "progress": progress}


def events(workdir: pathlib.Path) -> dict[tuple[int, str], list[float]]:
  """The values of every (step, tag) in all event files of a run."""
  # Imported here: they take long.
  from tensorboard.backend.event_processing import event_file_loader
  from tensorboard.util import tensor_util

  found = collections.defaultdict(list)
  for path in sorted(workdir.glob(_EVENTS + "*")):
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        number = float(tensor_util.make_ndarray(value.tensor))
        found[event.step, value.tag].append(number)
  return dict(found)


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in row.items() if name not in TIMINGS}


def _compare_files(reference: pathlib.Path, other: pathlib.Path) -> list[str]:
  there, here = _files(reference), _files(other)
  return [
    *(f"{name} is missing" for name in sorted(there - here)),
    *(f"{name} is left over" for name in sorted(here - there)),
  ]


def _files(workdir: pathlib.Path) -> set[str]:
  """What a work directory and its folders hold; all event files as one."""
  paths = [*workdir.glob("*"), *workdir.glob("*/*")]
  names = {str(path.relative_to(workdir)) for path in paths}
  return {_EVENTS if name.startswith(_EVENTS) else name for name in names}


def _compare_bytes(reference: pathlib.Path, other: pathlib.Path) -> list[str]:
  paths = [
    *(reference / name for name in ("results.json", "classes.json")),
    reference / "perturbed.npz",
    *sorted((reference / "confusion").iterdir()),
  ]
  names = [path.relative_to(reference) for path in paths]
  return [
    f"{name} differs"
    for name in names
    if (reference / name).read_bytes() != (other / name).read_bytes()
  ]


def _compare_metrics(reference: pathlib.Path, other: pathlib.Path) -> list[str]:
  there, here = metrics(reference), metrics(other)
  if len(there) != len(here):
    return [f"metrics.csv has {len(here)} rows for {len(there)}"]
  return [
    f"metrics.csv differs in row {number}"
    for number, (row, same) in enumerate(zip(there, here, strict=True), 1)
    if row != same
  ]


def _compare_checkpoints(
  reference: pathlib.Path, other: pathlib.Path
) -> list[str]:
  there, here = (
    dict(jax.tree_util.tree_leaves_with_path(last_checkpoint(workdir)))
    for workdir in (reference, other)
  )
  if there.keys() != here.keys():
    return ["the last checkpoint holds other arrays"]
  return [
    f"{jax.tree_util.keystr(key)} of the last checkpoint differs"
    for key, leaf in there.items()
    if not _same(leaf, here[key])
  ]


def _same(one: Any, other: Any) -> bool:
  """Whether two arrays are, or two other things."""
  if not isinstance(one, np.ndarray | jax.Array):
    return one == other
  one, other = np.asarray(one), np.asarray(other)
  kinds = (one.dtype, one.shape), (other.dtype, other.shape)
  return kinds[0] == kinds[1] and one.tobytes() == other.tobytes()


def _compare_events(reference: pathlib.Path, other: pathlib.Path) -> list[str]:
  there, here = events(reference), events(other)
  found = []
  for key in sorted(there.keys() | here.keys()):
    values, expected = here.get(key, []), there.get(key, [])
    name = f"TensorBoard's {key[1]} at step {key[0]}"
    if len(values) != len(expected):
      found.append(f"{name} is there {len(values)} times")
    elif key[1] not in TIMINGS and values != expected:
      found.append(f"{name} differs")
  return found


def _said_twice(printed: str) -> list[str]:
  said = re.findall(r"^stage (\d+) epoch +(\d+)/", printed, flags=re.MULTILINE)
  return [
    f"stage {stage} epoch {epoch} is printed {count} times"
    for (stage, epoch), count in collections.Counter(said).items()
    if count > 1
  ]
