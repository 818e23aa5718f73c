"""Which planned runs are finished or in training, and where stage 1 is."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from blt_jax.config import differing
from blt_jax.experiments.plan import REUSE, PlannedRun, stage1_key
from blt_jax.workdir import directory

LOCK, LOG = "experiment.lock", "log.txt"


def is_finished(run: PlannedRun) -> bool:
  """Whether a run of this configuration has written its results.

  Raises:
    ValueError: when its work directory is of another configuration.
  """
  if not (run.workdir / directory.CONFIG).exists():
    return False
  begun = directory.read_config(run.workdir)
  different = [
    f"{field} ({theirs!r} there, {ours!r} here)"
    for field, (theirs, ours) in differing(begun, run.config).items()
    if field != REUSE
  ]
  if different:
    raise ValueError(
      f"{run.workdir} is of another configuration: {', '.join(different)}; "
      "expected another --output, or the same fields."
    )
  return directory.read_results(run.workdir) is not None


def stage1_sources(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Finished runs in a folder that trained stage 1 themselves, by its key."""
  found: dict[str, pathlib.Path] = {}
  for path in sorted(folder.glob(f"*/{directory.RESULTS}")):
    config = directory.read_config(path.parent)
    key = stage1_key(config)
    if key is not None and not config.stage1.reuse:
      found.setdefault(key, path.parent)
  return found


def stage1_of(
  run: PlannedRun, trained: Mapping[str, pathlib.Path]
) -> pathlib.Path | None:
  """The work directory that a run takes stage 1 from; None if it trains it.

  Args:
    run: the run; one that has begun goes on with what it began with.
    trained: from `stage1_sources`.
  """
  if (run.workdir / directory.CONFIG).exists():
    reuse = directory.read_config(run.workdir).stage1.reuse
    return pathlib.Path(reuse) if reuse else None
  key = run.stage1_key()
  return trained.get(key) if key is not None else None


def in_order(
  runs: Sequence[PlannedRun],
) -> Iterator[tuple[PlannedRun, bool, pathlib.Path | None]]:
  """Yields (run, whether it is finished, where its stage 1 comes from)."""
  trained: dict[str, pathlib.Path] = {}
  for folder in {run.workdir.parent for run in runs}:
    trained.update(stage1_sources(folder))
  for run in runs:
    stage1 = stage1_of(run, trained)
    key = run.stage1_key()
    if stage1 is None and key is not None:
      trained.setdefault(key, run.workdir)
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
