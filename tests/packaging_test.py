import ast
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import blt_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
OURS = {"blt_jax", "configs"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Imported by other packages, which do not ask for them: see pyproject.toml.
INDIRECT = {"array-record", "importlib-resources", "tensorboard"}
VERSIONS = ("3.11", "3.12", "3.13")
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


def declared(*extras: str) -> list[Requirement]:
  """What pyproject.toml asks for, with some of its extras."""
  lists = [PROJECT["optional-dependencies"][extra] for extra in extras]
  return [
    Requirement(line) for line in sum(lists, start=PROJECT["dependencies"])
  ]


def locked_packages() -> list[Requirement]:
  """The pins of requirements.lock, without hashes."""
  lines = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
  bare = (re.sub(r"(^|\s)#.*|--hash=\S+", "", x) for x in lines.splitlines())
  return [Requirement(line) for line in map(str.strip, bare) if line]


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
  # HEIC files are read where a user has installed pillow-heif.
  required = {*names(declared("train", "export")), "pillow-heif"}
  missing = {
    module: distributions
    for module, distributions in imported_distributions().items()
    if not distributions & required
  }
  assert not missing


def test_every_requirement_is_imported():
  here = [
    requirement
    for requirement in declared("train")
    if requirement.marker is None or requirement.marker.evaluate()
  ]
  imported = set().union(*imported_distributions().values())
  assert names(here) - INDIRECT <= imported


def test_the_library_asks_for_four_packages():
  assert names(declared()) == {"jax", "flax", "optax", "numpy"}


def test_requirements_are_what_main_needs():
  lines = (ROOT / "requirements.txt").read_text().splitlines()
  assert [x for x in lines if x[0] != "#"] == ["--editable .[train]"]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", VERSIONS)
def test_lock_holds_one_allowed_version_of_each_requirement(platform, python):
  environment = PLATFORMS[platform] | {
    "python_version": python,
    "python_full_version": f"{python}.1",
  }

  def applies(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate(environment)

  locked: dict[str, list[str]] = {}
  for pin in filter(applies, locked_packages()):
    version = str(pin.specifier).removeprefix("==")
    locked.setdefault(canonicalize_name(pin.name), []).append(version)
  for requirement in filter(applies, declared("train", "dev")):
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


def test_package_imports_nothing_but_itself():
  result = run_python(
    "import sys; before = set(sys.modules); import blt_jax; "
    "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
    "print(*sorted(new - sys.stdlib_module_names))"
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout == "blt_jax\n"


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
  citation = (ROOT / "CITATION.cff").read_text()
  assert f"\nversion: {blt_jax.__version__}\n" in citation


def make(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    ["make", *arguments],
    cwd=ROOT,
    env={"PATH": path},
    capture_output=True,
    text=True,
    timeout=60,
  )


@pytest.fixture
def tools(tmp_path):
  """A PATH with what `make` needs to run a shell, and no Python."""
  for name in ("make", "sh"):
    (tmp_path / name).symlink_to(shutil.which(name))
  return tmp_path


def test_tests_run_on_every_python_in_an_environment_of_its_own(tools):
  for version in VERSIONS:
    (tools / f"python{version}").symlink_to("/bin/true")
  plan = make("test-pythons", "--dry-run", "--always-make", path=str(tools))
  assert plan.returncode == 0, plan.stderr
  for version in VERSIONS:
    assert f"python{version} -m venv --clear .venv-{version}\n" in plan.stdout
    assert f"\n.venv-{version}/bin/python -m pytest " in plan.stdout


def test_pythons_that_are_missing_are_named(tools):
  (tools / "python3.12").symlink_to("/bin/true")
  plan = make("test-pythons", path=str(tools))
  assert plan.returncode
  assert plan.stderr.startswith("Not on PATH: python3.11 python3.13; expected")
