"""Compiled programs on disk, so that the next run need not compile them."""

import contextlib
import os
import pathlib
import stat

import jax

# Bytes that the cache is cut down to when a run starts.
LIMIT = 2 * 2**30


def enable() -> None:
  """Makes JAX keep compiled programs in the user's cache from now on.

  The cache is the folder blt_jax/xla in $XDG_CACHE_HOME or ~/.cache. A program
  is found again by what it computes, the versions of JAX and XLA, and the kind
  of device, including a CPU's instruction set. JAX_COMPILATION_CACHE_DIR names
  another folder, of which nothing is deleted here, and
  JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off. JAX does not write its
  files atomically: a program that a killed process wrote half is compiled anew
  with a warning until its file is deleted.
  """
  if jax.config.values["jax_compilation_cache_dir"]:
    return
  home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  folder = pathlib.Path(home) / "blt_jax" / "xla"
  try:
    folder.mkdir(parents=True, exist_ok=True)
    prune(folder, LIMIT)
  except OSError:  # There is no folder that can be read: every run compiles.
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def prune(folder: pathlib.Path, limit: int) -> None:
  """Deletes the files that were used longest ago, down to `limit` bytes.

  Other processes may use the folder, and delete in it, at the same time. What
  is no file, or may not be deleted, stays.
  """
  found = []
  for path in folder.iterdir():
    try:
      status = path.lstat()
    except OSError:
      continue
    if not stat.S_ISREG(status.st_mode):
      continue
    used = max(status.st_atime, status.st_mtime)
    found.append((used, status.st_size, path))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found, key=lambda entry: entry[0]):
    if total <= limit:
      break
    with contextlib.suppress(OSError):
      path.unlink(missing_ok=True)
      total -= size
