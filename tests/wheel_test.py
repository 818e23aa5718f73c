"""The wheel works where the repository is not: builds, unpacks and runs it."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests import command_line
from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The digits at 8 pixels, 1 + 1 epochs of 6 steps.
SMALL = (
  "--config.stage1.epochs=1",
  "--config.stage2.epochs=1",
  "--config.stage1.batch_size=64",
  "--config.stage2.batch_size=64",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.num_devices=1",
)


def _pip(*arguments):
  finished = subprocess.run(
    [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index"],
    env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The wheel of a copy of the repository: building writes beside it."""
  folder = tmp_path_factory.mktemp("wheel")
  unwanted = shutil.ignore_patterns(".*", "__pycache__", "runs", "build")
  shutil.copytree(ROOT, folder / "repository", ignore=unwanted)
  _pip(
    "wheel",
    "--no-build-isolation",
    f"--wheel-dir={folder}",
    str(folder / "repository"),
  )
  shutil.rmtree(folder / "repository")
  (file,) = folder.glob("*.whl")
  return file


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
  """Runs a command in an empty folder with the wheel and not the repository."""
  installed = tmp_path_factory.mktemp("installed")
  empty = tmp_path_factory.mktemp("empty")
  _pip("install", f"--target={installed}", str(wheel))
  environment = {
    **command_line.environment(),
    "PYTHONPATH": os.pathsep.join([str(installed), command_line.ONE_BLOCK]),
  }

  def call(*command, code=0):
    finished = subprocess.run(
      [sys.executable, *command],
      cwd=empty,
      env=environment,
      capture_output=True,
      text=True,
      timeout=600,
      check=False,
    )
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout

  call.program = str(installed / "bin" / "blt-jax")
  call.folder = empty
  return call


def test_wheel_holds_every_file_of_the_package_and_of_configs(wheel):
  ours = [
    path.relative_to(ROOT).as_posix()
    for folder in ("blt_jax", "configs")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  ]
  expected = {path.replace("configs/", "blt_jax/configs/") for path in ours}
  names = zipfile.ZipFile(wheel).namelist()
  assert {name for name in names if ".dist-info/" not in name} == expected


def test_wheel_has_the_license_and_what_it_says_of_patents(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  files = {pathlib.PurePath(name).name for name in names}
  assert {"LICENSE", "NOTICE"} <= files


def test_what_runs_is_the_wheel(run):
  folder = pathlib.Path(run.program).parents[1]
  code = "import blt_jax; print(blt_jax.__file__)"
  assert run("-c", code).strip() == str(folder / "blt_jax" / "__init__.py")


def test_library_needs_jax_flax_optax_and_numpy_alone(run):
  program = (ROOT / "tests" / "library_alone.py").read_text()
  assert run("-c", program) == "everything works\n"


@pytest.mark.parametrize("module", [True, False], ids=["module", "script"])
def test_help_tells_the_flags_by_the_installed_name(run, module):
  program = ("-m", "blt_jax") if module else (run.program,)
  text = run(*program, "--help", code=1)  # As absl's --help ends.
  assert "blt-jax --mode=evaluate --workdir=runs/digits_lt" in text
  assert "main.py" not in text
  for flag in ("--config:", "--workdir:", "--mode:", "--[no]dry_run:"):
    assert flag in text


def test_training_finds_the_installed_configuration(run):
  config = "--config=configs/digits_lt.py:seed=3"
  only_stage_1 = "--config.stage2.epochs=0"
  assert "report: runs/digits_lt,seed=3/" in run(
    run.program, config, *SMALL, only_stage_1
  )
  workdir = run.folder / "runs" / "digits_lt,seed=3"
  assert (workdir / "results.json").is_file()


@long_test("two more runs")
def test_experiment_trains_with_the_same_program(run):
  flags = (
    "--mode=experiment",
    "--experiment=table5",
    "--settings=neither",
    "--output=paper",
    *SMALL,
  )
  plan = run(run.program, *flags, "--dry_run")
  assert "\npython -m blt_jax --config=configs/digits_lt.py:" in plan
  assert "paper/digits_lt/table5" in run(run.program, *flags)
