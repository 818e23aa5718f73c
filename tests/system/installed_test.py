import importlib.metadata
import pathlib
import re
import sys
import tomllib

import pytest

from blt_jax.system import installed

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
  """A folder that looks like an installed package; the current one is empty."""
  package = tmp_path / "blt_jax"
  (package / "configs").mkdir(parents=True)
  (package / "configs" / "digits_lt.py").touch()
  (tmp_path / "work").mkdir()
  monkeypatch.chdir(tmp_path / "work")
  monkeypatch.setattr(installed, "_PACKAGE", package)
  return package


def test_checkout_runs_main_py():
  assert installed.program() == ["main.py"]


def test_wheel_runs_the_package(wheel):
  assert installed.program() == ["-m", "blt_jax"]


def test_installed_configuration_stands_in_for_one_that_is_not_here(wheel):
  file = str(wheel / "configs" / "digits_lt.py")
  assert installed.config_file("configs/digits_lt.py") == file


def test_configuration_that_is_here_wins(wheel, tmp_path):
  (tmp_path / "work" / "configs").mkdir()
  (tmp_path / "work" / "configs" / "digits_lt.py").touch()
  assert installed.config_file("configs/digits_lt.py") == "configs/digits_lt.py"


def test_unknown_configuration_keeps_its_name(wheel):
  assert installed.config_file("configs/nope.py") == "configs/nope.py"


def test_checkout_keeps_its_configs():
  import configs

  installed.provide_configs()
  assert sys.modules["configs"] is configs


def test_packages_of_the_extras_are_known_by_their_imports():
  names = importlib.metadata.packages_distributions()
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  for requirement in project["optional-dependencies"]["train"]:
    wanted = re.match(r"[\w-]+", requirement)[0].replace("_", "-").lower()
    imports = {
      name
      for name, distributions in names.items()
      if wanted in (d.replace("_", "-").lower() for d in distributions)
    }
    assert not imports or imports & set(installed._EXTRAS["train"]), wanted


def test_other_import_errors_stay_as_they_are():
  missing = ModuleNotFoundError("No module named 'mine'", name="mine")
  assert installed.import_message(missing) == "No module named 'mine'"
  broken = ImportError("cannot import name 'app' from 'absl'", name="absl")
  assert installed.import_message(broken) == str(broken)


def test_missing_package_of_an_export_is_in_another_extra():
  missing = ModuleNotFoundError("No module named 'jax2onnx'", name="jax2onnx.x")
  assert installed.import_message(missing) == (
    "the package jax2onnx is not installed; expected what "
    '`pip install ".[export]"` installs.'
  )
