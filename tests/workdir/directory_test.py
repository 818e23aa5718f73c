import json

import pytest

from blt_jax.workdir import directory
from configs import digits_lt


def test_config_round_trips(tmp_path):
  config = digits_lt.get_config("confidence=0.2,seed=4")
  directory.claim(tmp_path, config)
  assert directory.read_config(tmp_path).to_dict() == config.to_dict()


def test_own_directory_is_welcome_again(tmp_path):
  directory.claim(tmp_path, digits_lt.get_config())
  directory.claim(tmp_path, digits_lt.get_config())
  assert directory.read_results(tmp_path) is None


def test_other_configuration_is_refused_with_the_fields(tmp_path):
  directory.claim(tmp_path, digits_lt.get_config())
  message = r"perturb\.p \(0\.25 there, 0\.5 here\), seed \(0 there, 1 here\)"
  with pytest.raises(ValueError, match=message):
    directory.claim(tmp_path, digits_lt.get_config("p=0.5,seed=1"))


def test_config_of_a_version_without_losses_has_cross_entropy(tmp_path):
  config = digits_lt.get_config()
  content = config.to_dict()
  for field in ("loss", "focal_gamma", "ldam_scale", "posthoc_tau"):
    del content["model"][field]
  directory.write_json(tmp_path / "config.json", content)
  assert directory.read_config(tmp_path).to_dict() == config.to_dict()


def test_directory_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    directory.read_config(tmp_path)


def test_file_in_the_way_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="can't be written"):
    directory.claim(tmp_path / "file" / "run", digits_lt.get_config())


def test_damaged_config_is_named(tmp_path):
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json is not JSON"):
    directory.read_config(tmp_path)


def test_nan_becomes_null_and_no_temporary_stays(tmp_path):
  directory.write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5]})
  assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.5]}
  assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_rows_of_an_older_version_leave_new_columns_empty(tmp_path):
  rows = [{"epoch": 1, "old": 2}, {"epoch": 2, "new": 3}]
  directory.write_metrics(tmp_path, rows)
  assert (tmp_path / "metrics.csv").read_text() == (
    "epoch,new,old\n1,,2\n2,3,\n"
  )
