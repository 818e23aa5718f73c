import pathlib

import pytest
from absl import flags

import blt_jax.cli  # noqa: F401, it defines the flags
from tests.command_line import run_afresh


@pytest.fixture
def parsed(monkeypatch):
  """Parses arguments; gives the values of all flags."""
  monkeypatch.setenv("HOME", "/people")

  def parse(*arguments):
    values = flags.FlagValues()
    for name in ("workdir", "workdirs", "output", "input", "model"):
      flag = flags.FLAGS[name]
      flags.DEFINE(flag.parser, name, flag.default, "", values, flag.serializer)
    values(["main.py", *arguments])
    return values

  return parse


@pytest.mark.parametrize("flag", ["workdir", "output", "input", "model"])
def test_tilde_is_the_home_folder(parsed, flag):
  assert parsed(f"--{flag}=~/a b")[flag].value == "/people/a b"
  assert parsed(f"--{flag}=~")[flag].value == "/people"
  assert parsed(f"--{flag}=~root/a")[flag].value.endswith("root/a")
  assert parsed(f"--{flag}=./~/a~")[flag].value == "./~/a~"


def test_tilde_of_a_user_that_is_not_there_is_refused(parsed):
  with pytest.raises(flags.Error, match="no home folder ~no.body; expected ./"):
    parsed("--output=~no.body/a")


@pytest.mark.parametrize("path", ["gs://bucket/run", "file:///data/run"])
def test_address_is_refused(parsed, path):
  with pytest.raises(flags.Error, match="an address; expected a path of this"):
    parsed(f"--workdir={path}")


def test_several_paths_may_have_commas_in_their_names(
  parsed, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for name in ("digits", "digits,seed=1", "a,b,c"):
    pathlib.Path(name).mkdir()
  given = "digits,digits,seed=1,~/x,a,b,c,a,none,digits"
  assert parsed(f"--workdirs={given}").workdirs == [
    *("digits", "digits,seed=1", "/people/x", "a,b,c", "a", "none", "digits"),
  ]
  assert parsed("--workdirs=").workdirs == []


def test_config_in_the_home_folder_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  finished = run_afresh(["--config=~/mine.py"], tmp_path)
  assert f"--config={tmp_path}/mine.py: there is no such" in finished.stderr


def test_name_that_is_not_utf8_is_refused_where_it_is_written(parsed):
  with pytest.raises(
    flags.Error, match="the name is not UTF-8; expected a nam"
  ):
    parsed("--workdir=a\udcff")
  assert parsed("--input=a\udcff").input == "a\udcff"


def test_name_that_utf8_would_change_is_refused(parsed, monkeypatch):
  # As in a locale of ISO 8859-1: the bytes are those of "é" in UTF-8.
  monkeypatch.setattr("os.fsencode", lambda name: name.encode("latin-1"))
  with pytest.raises(flags.Error, match="and PYTHONUTF8=1 in an environment"):
    parsed("--output=Ã©")
  assert parsed("--output=e").output == "e"
