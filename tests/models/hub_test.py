"""Files of a hub's repositories: what is fetched, and what can't be."""

import os
import subprocess
import sys

import pytest

from blt_jax.models import hub
from tests import loopback_hub
from tests.command_line import ROOT

NAME = "ann/net"


@pytest.fixture
def served(monkeypatch, tmp_path):
  with loopback_hub.serve() as found:
    loopback_hub.use(monkeypatch, found.url, tmp_path / "home")
    yield found


def test_file_is_fetched_once(served):
  commit = served.add(NAME, {"model.safetensors": b"abc"})
  path = hub.fetch(NAME, "model.safetensors")
  assert path.read_bytes() == b"abc"
  assert path.parent.name == commit
  assert hub.fetch(NAME, "model.safetensors") == path
  whole = f"GET /{NAME}/resolve/main/model.safetensors"
  assert served.requests.count(whole) == 1


def test_commit_that_is_there_needs_no_hub(served):
  commit = served.add(NAME, {"model.safetensors": b"abc"})
  path = hub.fetch(NAME, "model.safetensors")
  del served.requests[:]
  assert hub.fetch(NAME, "model.safetensors", revision=commit) == path
  assert served.requests == []


def test_main_branch_moves_on_and_a_commit_does_not(served):
  first = served.add(NAME, {"model.safetensors": b"abc"})
  second = served.add(NAME, {"model.safetensors": b"def"})
  for revision, content in ((first, b"abc"), ("", b"def"), (second, b"def")):
    path = hub.fetch(NAME, "model.safetensors", revision=revision)
    assert path.read_bytes() == content


def test_cache_is_enough_where_the_hub_is_gone(served, monkeypatch, tmp_path):
  served.add(NAME, {"model.safetensors": b"abc"})
  path = hub.fetch(NAME, "model.safetensors")
  loopback_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
  assert hub.fetch(NAME, "model.safetensors") == path


def printed_by(program, variables):
  """Lines of another process, which reads the variables as it begins."""
  finished = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert finished.returncode == 0, finished.stderr
  return finished.stdout.splitlines()


def test_token_and_mirror_of_the_environment_are_used(served, tmp_path):
  """In another process, with the variables of huggingface_hub."""
  served.add(NAME, {"model.safetensors": b"abc"}, gated=True)
  with pytest.raises(ValueError, match="is gated"):
    hub.fetch(NAME, "model.safetensors")
  program = (
    "from blt_jax.models import hub\n"
    f"print(hub.fetch('{NAME}', 'model.safetensors').read_text())\n"
  )
  variables = {
    "HF_ENDPOINT": served.url,
    "HF_TOKEN": loopback_hub.TOKEN,
    "HF_HOME": str(tmp_path / "another"),
  }
  printed = printed_by(program, variables)
  assert printed == ["abc"]


def test_filled_cache_is_enough_offline(served, tmp_path):
  """In another process, with the variables of huggingface_hub."""
  commit = served.add(NAME, {"model.safetensors": b"abc"})
  hub.fetch(NAME, "model.safetensors")
  assert hub.fetch_if_there(NAME, "config.json", revision=commit) is None
  program = (
    "from blt_jax.models import hub\n"
    f"print(hub.fetch('{NAME}', 'model.safetensors').read_text())\n"
    f"print(hub.fetch_if_there('{NAME}', 'config.json', revision='{commit}'))\n"
    "try:\n"
    "  hub.fetch('ann/other', 'model.safetensors')\n"
    "except ValueError as error:\n"
    "  print(error)\n"
  )
  cache = str(tmp_path / "home" / "hub")
  variables = {"HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "1"}
  printed = printed_by(program, variables)
  assert printed == [
    "abc",
    "None",
    "hf:ann/other has no model.safetensors in the cache, and HF_HUB_OFFLINE is "
    "set; expected a cache that was filled with a network: `hf download "
    "ann/other model.safetensors config.json` there, then its cache copied to "
    f"{cache} here and HF_HUB_OFFLINE=1.",
  ]


def test_hub_that_is_not_there_is_one_line(monkeypatch, tmp_path):
  loopback_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path)
  with pytest.raises(
    ValueError,
    match=r"^hf:ann/net can't be reached \(ConnectError: .*refused\); expected "
    r"a cache .*`hf download ann/net model.safetensors config.json` there, .*"
    r"HF_HUB_OFFLINE=1\.$",
  ):
    hub.fetch(NAME, "model.safetensors")


@pytest.mark.parametrize(
  "name, revision, message",
  [
    ("ann/gone", "", "hf:ann/gone is not on the hub, or it is private; exp"),
    (NAME, "v9", "hf:ann/net@v9 is not there: ann/net has no such revision; "),
    ("ann/secret", "", "hf:ann/secret is gated: its owner says who may have "),
    ("ann/old", "", "hf:ann/old has no model.safetensors; expected a repo.* p"),
    ("ann/a--b", "", "hf:ann/a--b is no name of a repository "),
    ("ann/broken", "", "hf:ann/broken can't be fetched .*500"),
  ],
)
def test_what_can_not_be_fetched_is_said(served, name, revision, message):
  served.add(NAME, {"model.safetensors": b"abc"})
  served.add("ann/secret", {"model.safetensors": b"abc"}, gated=True)
  served.add("ann/old", {"pytorch_model.bin": b"abc"})
  served.add("ann/broken", {}, broken=True)
  with pytest.raises(ValueError, match=f"^{message}"):
    hub.fetch(name, "model.safetensors", revision=revision)


def test_file_that_may_be_absent_is(served):
  commit = served.add(NAME, {"model.safetensors": b"abc"})
  assert hub.fetch_if_there(NAME, "config.json", revision=commit) is None
  commit = served.add(NAME, {"config.json": b"{}"})
  assert hub.fetch_if_there(NAME, "config.json", revision=commit) is not None


def test_file_that_can_not_be_asked_for_is_not_taken_for_absent(
  served, monkeypatch, tmp_path
):
  commit = served.add(NAME, {"model.safetensors": b"abc"})
  served.repositories[NAME].broken = True
  with pytest.raises(ValueError, match="^hf:ann/net@.* can't be fetched .*500"):
    hub.fetch_if_there(NAME, "config.json", revision=commit)
  served.repositories[NAME].gated = True
  with pytest.raises(ValueError, match="is gated"):
    hub.fetch_if_there(NAME, "config.json", revision=commit)
  loopback_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
  with pytest.raises(ValueError, match="can't be reached .*refused"):
    hub.fetch_if_there(NAME, "config.json", revision=commit)
  loopback_hub.use(monkeypatch, served.url, tmp_path / "home", offline=True)
  with pytest.raises(ValueError, match="has no config.json in the cache"):
    hub.fetch_if_there(NAME, "config.json", revision=commit)


def test_missing_library_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(
    ImportError, match="huggingface_hub is not installed; exp"
  ):
    hub.fetch(NAME, "model.safetensors")
