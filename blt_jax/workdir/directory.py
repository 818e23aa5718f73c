"""A work directory: its lock, configuration, classes and results."""

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.config import (
  PLACES,
  SCHEMA,
  Config,
  check_config,
  differing,
  flatten,
  with_values,
)
from blt_jax.system import console, processes
from blt_jax.workdir import files

# The errors of a disk that is full or read-only.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

CONFIG, RESULTS = "config.json", "results.json"
CLASSES, LOCK = "classes.json", "train.lock"

# Split -> the field of classes.json with its images of each class.
_COUNTS = {
  "training": "class_counts",
  "validation": "validation_counts",
  "test": "test_counts",
}

# Beginnings of the names of the fields that the end of stage 1 depends on.
STAGE1_FIELDS = ("seed", "dataset.", "model.", "optimizer.", "stage1.")


@contextlib.contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
  """Locks a work directory, so that no other process trains in it.

  The directory is made if need be. The system frees the lock when this process
  ends, however it ends.

  Raises:
    ValueError: when another process holds it, or it can't be written.
  """
  path = workdir / LOCK
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
  except OSError as error:
    raise ValueError(
      f"--workdir={workdir} can't be written: {error.strerror}."
    ) from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().strip() or "another process"
      raise ValueError(
        f"--workdir={workdir} is in use: {holder} trains in it; expected a "
        "free one. Choose another --workdir, or end it first."
      ) from None
    except OSError as error:
      console.say(
        f"{path} can't be locked here ({error.strerror}); nothing keeps a "
        "second process out"
      )
    if not (
      path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
    ):
      raise ValueError(  # Its holder was just about to remove it.
        f"--workdir={workdir} was in use a moment ago; expected a free one. "
        "Try again."
      )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    try:
      yield
    finally:
      path.unlink(missing_ok=True)


def remove_stale_lock(workdir: pathlib.Path) -> None:
  """Removes the lock file that a killed process has left, if there is one."""
  if (workdir / LOCK).exists():
    with contextlib.suppress(ValueError), lock(workdir):  # Held, or read-only.
      pass


def claim(workdir: pathlib.Path, config: Config) -> None:
  """Makes a configuration's work directory, or checks that one belongs to it.

  Raises:
    ValueError: when the directory belongs to another configuration; names the
      fields that differ.
  """
  if (workdir / CONFIG).exists():
    check_config_of(workdir, config)
    return
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / CONFIG, dataclasses.asdict(config))
  except OSError as error:
    raise ValueError(
      f"--workdir={workdir} can't be written: {error.strerror}."
    ) from error


def check_config_of(workdir: pathlib.Path, config: Config) -> None:
  """Checks that a run can go on under a configuration.

  More epochs are allowed, and fields that don't change the result. Where the
  images and weights are may change, too: `check_classes` and
  training/pretrained.py compare these.

  Raises:
    ValueError: names the fields that differ.
  """
  different = [
    f"{field} ({theirs!r} there, {ours!r} here)"
    for field, (theirs, ours) in differing(read_config(workdir), config).items()
    if not _may_become(field, theirs, ours)
  ]
  if different:
    raise ValueError(
      f"work directory {workdir} is of another configuration: "
      f"{', '.join(different)}; expected the same fields. Choose another "
      "--workdir."
    )


def _may_become(field: str, theirs: Any, ours: Any) -> bool:
  """Whether a run may go on with another value of a field."""
  resume = SCHEMA[field].resume
  if resume == "more":
    return bool(theirs and ours >= theirs)
  return resume in ("any", "moved")


def lengthen(workdir: pathlib.Path, config: Config) -> None:
  """Writes a configuration with more epochs into its work directory.

  Results that are there are kept under a name with their last epoch.
  """
  if not processes.is_first() or _epochs(read_config(workdir)) == _epochs(
    config
  ):
    return
  results = read_results(workdir)
  if results:
    last = results["last"]
    aside = f"results-stage{last['stage']}-epoch{last['epoch']:03d}.json"
    os.replace(workdir / RESULTS, workdir / aside)
  files.write_json(workdir / CONFIG, dataclasses.asdict(config))


def _epochs(config: Config) -> list[int]:
  return [config.stage1.epochs, config.stage2.epochs]


def record_places(
  workdir: pathlib.Path, config: Config, *, names: Sequence[str] = PLACES
) -> None:
  """Writes into config.json where a run's images and weights are now.

  Args:
    workdir: of the run.
    config: with the places.
    names: those of PLACES that were compared with the run's.
  """
  before = read_config(workdir)
  ours = flatten(config)
  moved = with_values(before, {name: ours[name] for name in names})
  if moved == before:
    return
  if processes.is_first():
    files.write_json(workdir / CONFIG, dataclasses.asdict(moved))
    for name, (old, new) in differing(before, moved).items():
      console.say(f"config.{name} is now {new!r}, before {old!r}")


def check_classes(
  workdir: pathlib.Path,
  counts: Mapping[str, np.ndarray],
  class_names: Sequence[str],
) -> None:
  """Writes classes.json, or checks that a run goes on with the same images.

  Args:
    workdir: of the run.
    counts: images of each class, int [C], in "training", "validation" and
      "test".
    class_names: [C].

  Raises:
    ValueError: as in `compare_classes`.
  """
  if (workdir / CLASSES).exists():
    remedy = "Choose another --workdir, or bring the images back."
    compare_classes(workdir, counts, class_names, remedy=remedy)
  elif processes.is_first():
    files.write_json(workdir / CLASSES, _content(counts, class_names))


def compare_classes(
  workdir: pathlib.Path,
  counts: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  *,
  remedy: str,
) -> None:
  """Compares the classes of some images, and their numbers, with a run's.

  Args:
    workdir: of the run.
    counts: as for `check_classes`.
    class_names: [C].
    remedy: a sentence for the message that says what to do.

  Raises:
    ValueError: when the classes or their numbers of images, in any of the three
      splits, are not those in classes.json.
  """
  theirs = files.read_object(workdir / CLASSES)
  ours = _content(counts, class_names)
  if theirs is None or theirs.keys() != ours.keys():
    raise ValueError(
      f"{workdir / CLASSES} {'is missing' if theirs is None else 'is damaged'};"
      f" expected {', '.join(ours)}, as a training run writes them. {remedy}"
    )
  if theirs != ours:
    raise ValueError(
      f"the images are not those that {workdir} began with: "
      f"{_difference(theirs, ours)}; expected the same. {remedy}"
    )


def _content(
  counts: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, list]:
  """What classes.json holds."""
  return {
    "class_names": list(class_names),
    **{
      _COUNTS[split]: [int(count) for count in numbers]
      for split, numbers in counts.items()
    },
  }


def _difference(theirs: Mapping[str, list], ours: Mapping[str, list]) -> str:
  """What is different between two contents of classes.json."""
  there, here = theirs["class_names"], ours["class_names"]
  gone = [name for name in there if name not in set(here)]
  new = [name for name in here if name not in set(there)]
  if gone or new:
    lacking = f"{_some(gone)} missing here" if gone else ""
    added = f"{_some(new)} new" if new else ""
    return f"{len(there)} classes there, {len(here)} here, " + ", ".join(
      filter(None, (lacking, added))
    )
  if there != here:
    return f"the order of the {len(here)} classes"
  different = [
    (name, split, before, now)
    for split, field in _COUNTS.items()
    for name, before, now in zip(here, theirs[field], ours[field], strict=True)
    if before != now
  ]
  name, split, before, now = different[0]
  others = len({each[0] for each in different}) - 1
  more = f" (and {others} more of {len(here)} classes)" if others else ""
  return f"class {name} has {before} {split} images there, {now} here{more}"


def _some(names: Sequence[str]) -> str:
  """Up to three names, and how many more there are."""
  shown = ", ".join(repr(name) for name in names[:3])
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return f"{shown}{more} {'are' if len(names) > 1 else 'is'}"


@contextlib.contextmanager
def explain_write_errors(workdir: pathlib.Path) -> Iterator[None]:
  """Says what to do when a file of a work directory can't be written.

  Raises:
    OSError: with that message, in place of one about a full or read-only disk
      or about a file in the directory.
  """
  try:
    yield
  except OSError as error:
    if error.errno not in _NO_ROOM and not _is_in(workdir, error.filename):
      raise
    raise OSError(
      f"--workdir={workdir} can't be written: {error.strerror} "
      f"{error.filename or ''}. Its checkpoints are intact: with the trouble "
      "mended, the same command goes on from the last one."
    ) from error


def _is_in(folder: pathlib.Path, filename: Any) -> bool:
  """Whether the filename of an OSError is of a file in a folder."""
  if not isinstance(filename, str | bytes | os.PathLike):
    return False
  path = pathlib.Path(os.path.abspath(os.fsdecode(filename)))
  return path.is_relative_to(os.path.abspath(folder))


def finished_results(
  workdir: pathlib.Path, config: Config
) -> dict[str, Any] | None:
  """Results of a finished run of this configuration, None if not finished.

  Raises:
    ValueError: when the directory belongs to another configuration, or its
      results.json is not what a finished run writes.
  """
  if not (workdir / CONFIG).exists():
    return None
  check_config_of(workdir, config)
  if _epochs(read_config(workdir)) != _epochs(config):
    return None
  results = read_results(workdir)
  lacking = [] if results is None else _lacking(results)
  if lacking:
    raise ValueError(
      f"{workdir / RESULTS} lacks {lacking[0]}; expected what a finished run "
      "writes. Without the file the run goes on."
    )
  return results


def _lacking(results: Mapping[str, Any]) -> list[str]:
  """Fields that the final table shows and that results.json lacks."""
  needed = ["method", "dataset", "seed", "class_counts", "test_set.kind"]
  needed += ["prior"]
  for which in ("best", "last"):
    needed += [f"{which}.epoch", f"{which}.temperature"]
    for split in ("validation", "test"):
      fields = ("overall", "accuracy", "macro_f1", "interval", "calibrated.ece")
      needed += [f"{which}.{split}.{field}" for field in fields]

  def is_there(path: str) -> bool:
    content: Any = results
    for name in path.split("."):
      if not isinstance(content, dict) or name not in content:
        return False
      content = content[name]
    return True

  return [path for path in needed if not is_there(path)]


def read_config(workdir: pathlib.Path) -> Config:
  """The configuration of a work directory.

  Raises:
    ValueError: when there is no config.json, or it holds no configuration.
  """
  try:
    content = files.read_object(workdir / CONFIG)
  except NotADirectoryError:
    content = None
  if content is None:
    raise ValueError(
      f"--workdir={workdir} holds no {CONFIG}; expected a directory that a "
      "training run made."
    )
  try:
    return check_config(content)
  except ValueError as error:
    raise ValueError(f"{workdir / CONFIG}: {error}") from None


def read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
  """results.json of a finished run, None before it is written."""
  return files.read_object(workdir / RESULTS)
