"""What every test runs under: four emulated devices, and no leniency.

Implicit rank promotion raises here, and warnings are errors (pyproject.toml).
"""

import gc
import os
import pathlib
import subprocess
from collections.abc import Iterator

from tests import program_cache

# Read when jax and TensorFlow are first imported, so set before either is.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=4",
    program_cache.FLAGS,
  ]
).strip()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

os.environ["JAX_COMPILATION_CACHE_DIR"] = str(program_cache.OWN)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Else the folder's name is a part of what a program is found by.
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"

import jax
import pytest

from tests import command_line

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = pathlib.Path(__file__).resolve().parents[1]


# Files that take minutes, begun first so that no worker ends alone with one.
_LONGEST = (
  "blt_colab.ipynb",
  "processes_test.py",
  "resume_test.py",
  "commands_test.py",
  "run_experiments_test.py",
  "train_test.py",
  "nonfinite_test.py",
  "export_test.py",
  "models_test.py",
  "train_step_test.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
  """Brings the longest files to the front."""
  rank = {name: place for place, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
  """Exchanges compiled programs with the other workers.

  A notebook has one device, as most users have. Its trainings have a smaller
  network.
  """
  program_cache.take()
  with pytest.MonkeyPatch.context() as patch:
    if item.path.suffix == ".ipynb":
      patch.setenv("XLA_FLAGS", program_cache.FLAGS)
      patch.setenv("PYTHONPATH", command_line.ONE_BLOCK)
    result = yield
  program_cache.give()
  return result


@pytest.fixture(autouse=True, scope="module")
def _free_programs():
  """Gives back what a file compiled: XLA crashes when there is too much."""
  yield
  jax.clear_caches()
  gc.collect()


class Disk:
  """A file system of its own."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def mount(self, options: str) -> bool:
    """Mounts it with options of mount(8); False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
    return not subprocess.run(command, capture_output=True).returncode

  def resize(self, size: str) -> None:
    """Gives it another size, such as "1m"."""
    assert self.mount(f"remount,size={size}")

  def protect(self) -> None:
    """Makes it read-only."""
    assert self.mount("remount,ro")


@pytest.fixture
def disk(tmp_path):
  """A disk that a test may fill; skips where nothing can be mounted."""
  disk = Disk(tmp_path / "disk")
  disk.path.mkdir()
  if not disk.mount("size=64m"):
    pytest.skip("mounting a file system is not allowed here")
  yield disk
  subprocess.run(["umount", str(disk.path)], check=True)


@pytest.fixture(scope="session")
def command_lines(tmp_path_factory) -> Iterator[command_line.CommandLine]:
  """Runs main.py, forked from a process that has imported everything."""
  program = command_line.CommandLine(tmp_path_factory.mktemp("output"))
  yield program
  program.close()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
  """The folder of specifications, golden features and data beside the repo."""
  folder = ROOT.parent / "shared"
  if not folder.is_dir():
    pytest.skip("../shared is not on this machine")
  return folder
