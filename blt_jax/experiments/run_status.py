"""Which planned runs are finished or in training, and where stage 1 is."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from blt_jax.config import Config, as_begun, differing, left_open
from blt_jax.experiments.plan import REUSE, PlannedRun, stage1_fields
from blt_jax.workdir import directory

LOCK, LOG = "experiment.lock", "log.txt"

Sources = Sequence[tuple[dict[str, Any], pathlib.Path]]
"""(what stage 1 depends on, the work directory that has it)"""


def is_finished(run: PlannedRun) -> bool:
  """Whether a run of this configuration has written its results.

  Raises:
    ValueError: when its work directory is of another configuration.
  """
  if not (run.workdir / directory.CONFIG).exists():
    return False
  begun = directory.read_config(run.workdir)
  # What a run leaves open, config.json has as it was chosen.
  different = [
    f"{field} ({theirs!r} there, {ours!r} here)"
    for field, (theirs, ours) in differing(
      begun, as_begun(run.config, begun)
    ).items()
    if field != REUSE and not _is_moved(begun, field, ours)
  ]
  if different:
    raise ValueError(
      f"{run.workdir} is of another configuration: {', '.join(different)}; "
      "expected another --output, or the same fields."
    )
  return directory.read_results(run.workdir) is not None


def _is_moved(begun: Config, field: str, ours: Any) -> bool:
  """Whether a value is another place of the weights that a run began with."""
  if field != "model.pretrained":
    return False
  from blt_jax.models import pretrained  # Few runs need it.

  return pretrained.is_copy(ours, begun.model.pretrained_sha256)


def stage1_sources(
  folder: pathlib.Path,
) -> list[tuple[dict[str, Any], pathlib.Path]]:
  """Finished runs in a folder that trained stage 1 themselves."""
  found = []
  for path in sorted(folder.glob(f"*/{directory.RESULTS}")):
    config = directory.read_config(path.parent)
    fields = stage1_fields(config)
    if fields is not None and not config.stage1.reuse:
      found.append((fields, path.parent))
  return found


def stage1_of(run: PlannedRun, trained: Sources) -> pathlib.Path | None:
  """The work directory that a run takes stage 1 from; None if it trains it.

  Args:
    run: the run; one that has begun goes on with what it began with.
    trained: from `stage1_sources`.
  """
  if (run.workdir / directory.CONFIG).exists():
    reuse = directory.read_config(run.workdir).stage1.reuse
    return pathlib.Path(reuse) if reuse else None
  fields = stage1_fields(run.config)
  if fields is None:
    return None
  for name in left_open(run.config):
    fields.pop(name, None)
  for theirs, workdir in trained:
    if all(theirs[name] == value for name, value in fields.items()):
      return workdir
  return None


def in_order(
  runs: Sequence[PlannedRun],
) -> Iterator[tuple[PlannedRun, bool, pathlib.Path | None]]:
  """Yields (run, whether it is finished, where its stage 1 comes from)."""
  trained = [
    source
    for folder in {run.workdir.parent for run in runs}
    for source in stage1_sources(folder)
  ]
  for run in runs:
    stage1 = stage1_of(run, trained)
    fields = stage1_fields(run.config)
    if stage1 is None and fields is not None:
      trained.append((fields, run.workdir))
    yield run, is_finished(run), stage1


@contextlib.contextmanager
def lock(run: PlannedRun) -> Iterator[int | None]:
  """Keeps other processes from training a run.

  The system gives the lock back when the last process that holds it ends,
  however it ends: this one, or the training that inherits the open file.

  Yields:
    The open file, which the training has to inherit; None when another process
    holds the run.
  """
  run.workdir.mkdir(parents=True, exist_ok=True)
  with (run.workdir / LOCK).open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield None
      return
    yield file.fileno()


def is_locked(run: PlannedRun) -> bool:
  """Whether another process trains a run at the moment."""
  if not (run.workdir / LOCK).exists():
    return False
  with lock(run) as held:
    return held is None
