import errno
import pathlib
import subprocess
import sys

import pytest

from blt_jax.config import check_config
from blt_jax.workdir import directory, files
from configs import digits_lt

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _config(arg=None):
  return check_config(digits_lt.get_config(arg))


def test_config_round_trips(tmp_path):
  config = _config("confidence=0.2,seed=4")
  directory.claim(tmp_path, config)
  assert directory.read_config(tmp_path) == config


def test_own_directory_is_welcome_again(tmp_path):
  directory.claim(tmp_path, _config())
  directory.claim(tmp_path, _config())
  assert directory.read_results(tmp_path) is None


def test_other_configuration_is_refused_with_the_fields(tmp_path):
  directory.claim(tmp_path, _config())
  message = r"perturb\.p \(0\.25 there, 0\.5 here\), seed \(0 there, 1 here\)"
  with pytest.raises(ValueError, match=message):
    directory.claim(tmp_path, _config("p=0.5,seed=1"))


def test_bad_value_in_a_config_is_named_with_its_file(tmp_path):
  content = digits_lt.get_config().to_dict()
  content["perturb"]["p"] = 2
  files.write_json(tmp_path / "config.json", content)
  message = r"config\.json: config\.perturb\.p is 2; expected a number"
  with pytest.raises(ValueError, match=message):
    directory.read_config(tmp_path)


def test_run_goes_on_with_more_epochs_and_other_free_fields(tmp_path):
  config = digits_lt.get_config()
  directory.claim(tmp_path, check_config(config))
  config.stage2.epochs += 1
  config.num_devices, config.checkpoint.every_minutes = 2, 0.5
  directory.check_config_of(tmp_path, check_config(config))
  config.stage1.epochs -= 1
  with pytest.raises(ValueError, match=r"stage1\.epochs \(35 there, 34 here\)"):
    directory.check_config_of(tmp_path, check_config(config))


def test_write_error_is_explained_for_a_relative_work_directory(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  workdir = pathlib.Path("run")
  with (
    pytest.raises(OSError, match="--workdir=run can't be written: Input/out"),
    directory.explain_write_errors(workdir),
  ):
    raise OSError(errno.EIO, "Input/output error", str(tmp_path / "run" / "x"))


def test_error_of_a_neighbour_of_the_work_directory_is_not_its_own(tmp_path):
  with (
    pytest.raises(OSError, match="^\\[Errno 2\\] No such file"),
    directory.explain_write_errors(tmp_path / "run"),
  ):
    raise OSError(errno.ENOENT, "No such file", str(tmp_path / "run2" / "x"))


def test_directory_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    directory.read_config(tmp_path)


def test_file_in_the_way_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="can't be written"):
    directory.claim(tmp_path / "file" / "run", _config())


def test_damaged_config_is_named(tmp_path):
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json is not JSON"):
    directory.read_config(tmp_path)


def test_reading_a_directory_loads_no_large_library():
  program = (
    "import sys, blt_jax.workdir.directory\n"
    "large = {'orbax', 'PIL', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
    "assert not large, large\n"
  )
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
