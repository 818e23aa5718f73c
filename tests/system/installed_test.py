import sys

import pytest

from blt_jax.system import installed


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
