"""Runs main.py again and again without importing everything again.

`CommandLine` starts this file as a program, which imports what main.py imports
and then forks for each command. No JAX backend is started before a fork, so a
child is what a fresh `python main.py` is after its imports.
"""

import contextlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
# PYTHONPATH of processes of their own whose smallest network has one block.
ONE_BLOCK = str(ROOT / "tests/one_block")
_SECONDS = 60


class Finished(NamedTuple):
  """What a command left: exit code (-n after signal n) and its output."""

  code: int
  stdout: str
  stderr: str


class CommandLine:
  """Runs `python main.py ...` in a forked process."""

  def __init__(self, output: pathlib.Path):
    """Starts the program that forks.

    Args:
      output: folder for what the commands print.
    """
    self._output = output
    self._server = subprocess.Popen(
      [sys.executable, __file__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=environment(),
      text=True,
    )

  def run(
    self,
    arguments: Sequence[str],
    folder: pathlib.Path,
    *,
    seconds: int = _SECONDS,
    one_block: bool = False,
  ) -> Finished:
    """Runs a command in a folder.

    Args:
      arguments: of main.py.
      folder: the current one of the command.
      seconds: after which it is ended.
      one_block: whether the smallest network has one block, not four: it
        compiles far sooner.
    """
    request = {
      "seconds": seconds,
      "one_block": one_block,
      "arguments": list(arguments),
      "folder": str(folder),
      "stdout": str(self._output / "stdout"),
      "stderr": str(self._output / "stderr"),
    }
    assert self._server.stdin
    assert self._server.stdout
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    code = int(self._server.stdout.readline())
    texts = ((self._output / name).read_text() for name in ("stdout", "stderr"))
    return Finished(code, *texts)

  def close(self) -> None:
    """Ends the program."""
    self._server.communicate()


def run_afresh(arguments: Sequence[str], folder: pathlib.Path) -> Finished:
  """Runs `python main.py ...` as a program of its own."""
  finished = subprocess.run(
    [sys.executable, str(ROOT / "main.py"), *arguments],
    cwd=folder,
    env=environment(),
    capture_output=True,
    text=True,
    timeout=_SECONDS,
    check=False,
  )
  return Finished(finished.returncode, finished.stdout, finished.stderr)


def environment() -> dict[str, str]:
  """A user's with four devices: what conftest.py silences is not silent."""
  tests = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
  kept = {
    name: value for name, value in os.environ.items() if name not in tests
  }
  # Here, since the program below does not find it.
  from tests import program_cache

  flags = program_cache.FLAGS
  return {**kept, "XLA_FLAGS": flags, "JAX_NUM_CPU_DEVICES": "4"}


def _serve() -> None:
  """Forks for each request on stdin; answers with exit codes."""
  sys.path[0] = str(ROOT)
  # It first: it sets what TensorFlow reads when imported.
  program = importlib.import_module("main").run
  for name in (
    "blt_jax.training.check_data",
    "blt_jax.experiments.run_experiments",
    "blt_jax.report.command",
    "blt_jax.training.train",
  ):
    importlib.import_module(name)
  lazy = importlib.import_module("blt_jax.data.lazy_tensorflow")
  lazy.tensorflow()
  lazy.tensorflow.cache_clear()  # A command begins as in a new process.
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
      _run(request, program)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def _run(request: dict[str, Any], program: Callable[[], None]) -> None:
  """Becomes the command; does not return."""
  signal.alarm(request["seconds"])
  os.chdir(request["folder"])
  for number, name in ((0, None), (1, "stdout"), (2, "stderr")):
    file = os.open(
      request[name] if name else os.devnull,
      os.O_WRONLY | os.O_CREAT | os.O_TRUNC if name else os.O_RDONLY,
    )
    os.dup2(file, number)
    os.close(file)
  if request["one_block"]:
    resnet = importlib.import_module("blt_jax.models.resnet")
    resnet.CONFIGS["small_resnet10"]["stage_sizes"] = (1,)
    # For what it starts itself.
    os.environ["PYTHONPATH"] = ONE_BLOCK
    sys.path.append(ONE_BLOCK)
  code = 0
  sys.argv = [str(ROOT / "main.py"), *request["arguments"]]
  try:
    program()
  except SystemExit as error:
    code = error.code if isinstance(error.code, int) else bool(error.code)
    if isinstance(error.code, str):
      print(error.code, file=sys.stderr)
  except BaseException:
    code = 1
    sys.excepthook(*sys.exc_info())
  finally:
    with contextlib.suppress(BaseException):
      sys.stdout.flush()
      sys.stderr.flush()
      importlib.import_module("blt_jax.system.nameless_lines").stop()
    os._exit(int(code))


if __name__ == "__main__":
  _serve()
