"""Who may import whom in blt_jax (docs/architecture.md draws it)."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "blt_jax"

ENTRIES = {
  "cli",
  "config",
  "data",
  "deploy",
  "experiments",
  "library",
  "method",
  "models",
  "report",
  "system",
  "training",
  "workdir",
}

# Layer -> what it may import of the package, beside itself. A name with a dot
# allows that module alone.
ALLOWED: dict[str, set[str]] = {
  "__init__": {"system.installed"},  # The rest on first use, by name.
  "__main__": {"cli"},
  "data": set(),
  "models": set(),
  "method": {"data.longtail"},
  "config": {
    "data.longtail",
    "data.reading.crops",
    "data.reading.decode",
    "data.reading.substitutes",
    "data.sources",
    "models",
  },
  "system": {"config", "data.lazy_tensorflow", "data.text"},
  "workdir": {"config", "system.console", "system.processes"},
  "training": {"config", "data", "method", "models", "system", "workdir"},
  "report": {
    "config",
    "data.longtail",
    "data.text",
    "method.metrics",
    "system.console",
    "workdir",
  },
  "deploy": {
    "config",
    "data",
    "method.metrics",
    "models",
    "report.figures",
    "system.console",
    "training.build",
    "training.calibration",
    "training.lines",
    "training.measures",
    "training.objective",
    "training.prior",
    "training.stages",
    "workdir",
  },
  "experiments": {
    "config",
    "data.text",
    "method.metrics",
    "models",
    "report",
    "system.console",
    "system.installed",
    "training.epoch_seconds",
    "workdir",
  },
  "library": {
    "config",
    "data.dataset",
    "report.command",
    "system.compile_cache",
    "system.console",
    "system.processes",
    "training.train",
    "workdir",
  },
  "cli": ENTRIES,
}


def modules() -> dict[str, pathlib.Path]:
  """Name without the package -> file, of every module."""
  found = {}
  for path in sorted(PACKAGE.rglob("*.py")):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
      parts = parts[:-1]
    found[".".join(parts)] = path
  return found


def imports(path: pathlib.Path, names: set[str]) -> set[str]:
  """Modules of the package that a file imports, wherever in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}: a relative import"
      targets = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
      continue
    for target in targets:
      if target == "blt_jax" or target.startswith("blt_jax."):
        inner = target.removeprefix("blt_jax").removeprefix(".")
        while inner and inner not in names:
          inner = inner.rpartition(".")[0]
        found.add(inner or "__init__")
  return found


EDGES = {
  name: imports(path, set(modules())) for name, path in modules().items()
}


def test_top_of_the_package_has_twelve_entries():
  there = {
    path.stem
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
  }
  assert there - {"__init__", "__main__"} == ENTRIES
  assert len(ENTRIES) == 12


@pytest.mark.parametrize("name", sorted(EDGES))
def test_module_imports_only_what_its_layer_may(name):
  layer = name.partition(".")[0]
  for target in EDGES[name]:
    if target == "__init__" or target.partition(".")[0] == layer:
      continue  # The version; a neighbour.
    prefixes = {
      ".".join(target.split(".")[:length])
      for length in range(1, target.count(".") + 2)
    }
    assert prefixes & ALLOWED[layer], f"{name} imports {target}"


@pytest.mark.parametrize("layer", sorted(ALLOWED.keys() - {"cli"}))
def test_layer_needs_everything_that_it_may_import(layer):
  targets = {
    target
    for name in EDGES
    if name.partition(".")[0] == layer
    for target in EDGES[name]
  }
  for allowed in ALLOWED[layer]:
    assert any(f"{t}.".startswith(f"{allowed}.") for t in targets), allowed


def test_no_circle():
  edges = {name: EDGES[name] - {"__init__"} for name in EDGES}
  del edges["__init__"]  # It imports on first use only.
  # A package's __init__ runs before each of its modules.
  # A circle raises CycleError, which names its modules.
  order = list(graphlib.TopologicalSorter(edges).static_order())
  assert order.index("method.perturb") < order.index("training.train")


def test_training_needs_sixty_modules_at_most():
  program = (
    "import sys, blt_jax.training.train\n"
    "print(*(name for name in sys.modules if name.startswith('blt_jax')))"
  )
  finished = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert finished.returncode == 0, finished.stderr
  assert len(finished.stdout.split()) <= 60, finished.stdout


def test_a_forbidden_import_is_found(tmp_path):
  path = tmp_path / "inner.py"
  path.write_text(
    "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n  from blt_jax.training.run import Run\n"
    "def f():\n  import blt_jax.report.record\n"
  )
  found = imports(path, set(modules()))
  assert found == {"training.run", "report.record"}
