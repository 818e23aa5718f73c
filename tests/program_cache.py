"""Compiled programs that test processes keep on disk and exchange.

Most of the time goes to compiling. Each test process has a folder of its own,
where the programs that its tests start find what it compiled, too. jax does not
write into it atomically, so no two that run at the same time share one.
"""

import atexit
import contextlib
import importlib.metadata
import os
import pathlib
import shutil
import tempfile

# Flags of XLA under which programs compile in less time than by default, and
# run nearly as fast.
FLAGS = "--xla_backend_optimization_level=1"
_VERSION = importlib.metadata.version("jaxlib").split(".")
if tuple(map(int, _VERSION[:2])) < (0, 11):  # Later ones refuse the flag.
  FLAGS += " --xla_cpu_use_fusion_emitters=false"

_VARIABLE = "BLT_TEST_PROGRAMS"
if _VARIABLE not in os.environ:  # The process that starts the others.
  os.environ[_VARIABLE] = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)

EVERYBODYS = pathlib.Path(os.environ[_VARIABLE])
OWN = pathlib.Path(tempfile.mkdtemp(dir=EVERYBODYS))


def take() -> None:
  """Finds what others gave."""
  _link(EVERYBODYS, OWN)


def give() -> None:
  """Lets others find what is in the own folder, where nothing writes now."""
  _link(OWN, EVERYBODYS)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
  there = {path.name for path in target.iterdir()}
  for path in source.glob("*-cache"):
    if path.name not in there:
      with contextlib.suppress(FileExistsError):
        os.link(path, target / path.name)
