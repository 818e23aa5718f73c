import os
import pathlib
import subprocess
import sys

import jax
import pytest

from blt_jax.system import compile_cache

_OPTIONS = (
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def home(tmp_path, monkeypatch):
  """The home of caches of a process that has none yet."""
  before = {name: jax.config.values[name] for name in _OPTIONS}
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  yield tmp_path
  for name, value in before.items():
    jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache(home):
  compile_cache.enable()
  folder = home / "blt_jax" / "xla"
  assert folder.is_dir()
  assert jax.config.jax_compilation_cache_dir == str(folder)


def test_a_folder_of_the_user_is_left_alone(home):
  jax.config.update("jax_compilation_cache_dir", "elsewhere")
  compile_cache.enable()
  assert jax.config.jax_compilation_cache_dir == "elsewhere"
  assert not list(home.iterdir())


def test_without_a_place_nothing_is_kept(home, monkeypatch):
  (home / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
  compile_cache.enable()
  assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
  "limit, left", [(30, "abc"), (29, "ac"), (19, "c"), (0, "")]
)
def test_what_was_used_longest_ago_goes_first(tmp_path, limit, left):
  for name, used in (("a", 200), ("b", 100), ("c", 300)):
    path = tmp_path / name
    path.write_bytes(bytes(10))
    os.utime(path, (used, 50))
  compile_cache.prune(tmp_path, limit)
  assert "".join(sorted(p.name for p in tmp_path.iterdir())) == left


def test_what_is_no_file_stays(tmp_path):
  (tmp_path / "folder").mkdir()
  (tmp_path / "link").symlink_to(tmp_path / "nowhere")
  (tmp_path / "file").write_bytes(bytes(10))
  compile_cache.prune(tmp_path, 0)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "link"]


def test_second_process_finds_the_program_of_the_first(tmp_path):
  program = (
    "from blt_jax.system import compile_cache; compile_cache.enable()\n"
    "import jax, jax.numpy as jnp\n"
    "name = 'jax_persistent_cache_min_compile_time_secs'\n"
    "jax.config.update(name, 0.0)\n"
    "from jax import monitoring\n"
    "seen = []\n"
    "monitoring.register_event_listener(lambda name, **_: seen.append(name))\n"
    "jax.jit(lambda x: jnp.linalg.svd(x @ x)[1])(jnp.eye(9))\n"
    "print(sum(name.endswith('/cache_hits') for name in seen))\n"
  )
  environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  hits = [
    int(
      subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
      ).stdout
    )
    for _ in range(2)
  ]
  assert hits[0] == 0
  assert hits[1] > 0
