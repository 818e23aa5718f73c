import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[1]
OURS = {"blt_jax", "configs"}
# Imported by other packages, which do not ask for them: see requirements.txt.
INDIRECT = {"array-record", "importlib-resources", "tensorboard"}
PLATFORMS = {
  "linux-x86_64": {"sys_platform": "linux", "platform_machine": "x86_64"},
  "linux-aarch64": {"sys_platform": "linux", "platform_machine": "aarch64"},
  "macos-arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
}
# Paths of somebody's machine, and package registries in any form.
FOREIGN = re.compile(
  r"(?<![\w.])/(?:root|home|tmp|opt|work|Users)/"
  r"|https?://\S+/simple\b|--(?:extra-)?index-url"
  r"|pythonhosted\.|\bpypi\.org|npmjs\."
)


def requirements(file: str) -> list[Requirement]:
  """The packages that a requirements file names, without hashes."""
  lines = (ROOT / file).read_text().replace("\\\n", " ").splitlines()
  lines = [re.sub(r"(^|\s)#.*|--hash=\S+", "", line).strip() for line in lines]
  return [Requirement(line) for line in lines if line]


def names(found: list[Requirement]) -> set[str]:
  return {canonicalize_name(requirement.name) for requirement in found}


def imported_distributions() -> dict[str, set[str]]:
  """Module -> names of the distributions that may provide it, third party."""
  files = [ROOT / "main.py"]
  for folder in OURS:
    files.extend((ROOT / folder).rglob("*.py"))
  modules = set()
  for file in files:
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.Import):
        modules |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom) and not node.level:
        modules.add(str(node.module).split(".")[0])
  providers = importlib.metadata.packages_distributions()
  return {
    module: {
      canonicalize_name(name) for name in providers.get(module, [module])
    }
    for module in modules - OURS - sys.stdlib_module_names
  }


def run_python(code: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_every_imported_package_is_required():
  files = ("requirements.txt", "requirements-onnx.txt")
  required = set().union(*(names(requirements(file)) for file in files))
  missing = {
    module: distributions
    for module, distributions in imported_distributions().items()
    if not distributions & required
  }
  assert not missing


def test_every_requirement_is_imported():
  here = [
    requirement
    for requirement in requirements("requirements.txt")
    if requirement.marker is None or requirement.marker.evaluate()
  ]
  imported = set().union(*imported_distributions().values())
  assert names(here) - INDIRECT <= imported


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_holds_one_allowed_version_of_each_requirement(platform, python):
  environment = PLATFORMS[platform] | {
    "python_version": python,
    "python_full_version": f"{python}.1",
  }

  def applies(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate(environment)

  locked: dict[str, list[str]] = {}
  for pin in filter(applies, requirements("requirements.lock")):
    version = str(pin.specifier).removeprefix("==")
    locked.setdefault(canonicalize_name(pin.name), []).append(version)
  asked = requirements("requirements.txt") + requirements(
    "requirements-dev.txt"
  )
  for requirement in filter(applies, asked):
    versions = locked.get(canonicalize_name(requirement.name), [])
    assert len(versions) == 1, requirement
    assert requirement.specifier.contains(versions[0]), requirement


def test_lock_has_a_hash_for_every_version():
  lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
  pins = [line for line in lock.splitlines() if "==" in line]
  assert pins
  assert all("--hash=sha256:" in pin for pin in pins)


def test_no_file_names_a_registry_or_a_path_of_one_machine():
  listing = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  if listing.returncode:
    pytest.skip("not a git checkout")
  found = []
  for name in filter(None, listing.stdout.split("\0")):
    content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
    if b"\0" not in content:
      text = content.decode(errors="replace")
      found += [(name, match.group()) for match in FOREIGN.finditer(text)]
  assert not found


@pytest.mark.parametrize(
  "text",
  [
    "see /" + "root/x",
    "--data=/" + "tmp/y",
    "https://host.example/" + "simple",
    "--index" + "-url x",
  ],
)
def test_foreign_text_is_recognised(text):
  assert FOREIGN.search(text)


@pytest.mark.parametrize(
  "text", ["https://example.org/home/page", "#!/usr/bin/env bash", "tests/tmp/"]
)
def test_ordinary_text_is_not_taken_for_foreign(text):
  assert not FOREIGN.search(text)


def test_package_imports_fast_and_without_tensorflow():
  result = run_python(
    "import sys, time; start = time.monotonic(); import blt_jax; "
    "print('tensorflow' in sys.modules, time.monotonic() - start)"
  )
  assert result.returncode == 0, result.stderr
  tensorflow, seconds = result.stdout.split()
  assert tensorflow == "False"
  # About 1 second on an idle machine, where TensorFlow alone takes 5 or more.
  assert float(seconds) < 20


def test_every_module_imports_where_tensorflow_is_not_installed():
  result = run_python(
    "import importlib, pkgutil, sys\n"
    "sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None\n"
    "import blt_jax\n"
    "for module in pkgutil.walk_packages(blt_jax.__path__, 'blt_jax.'):\n"
    "  importlib.import_module(module.name)\n"
  )
  assert result.returncode == 0, result.stderr


def test_citation_and_package_name_the_same_version():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  citation = (ROOT / "CITATION.cff").read_text()
  assert f"\nversion: {project['version']}\n" in citation
