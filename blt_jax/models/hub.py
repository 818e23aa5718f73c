"""Files of repositories on a hub, through huggingface_hub and its cache."""

import contextlib
import pathlib
from typing import Any

from blt_jax.models import is_commit


class NotThereError(ValueError):
  """A repository that could be asked has no such file."""


def fetch(
  name: str, file: str, *, revision: str = "", offline: bool = False
) -> pathlib.Path:
  """A file of a repository, which is fetched if the cache has none.

  Args:
    name: OWNER/NAME of the repository.
    file: its name there.
    revision: branch, tag or commit; "" for the main branch.
    offline: whether to look into the cache alone.

  Returns:
    Its path in the cache; the name of its folder is the commit.

  Raises:
    ValueError: says what is wrong and what to do; a NotThereError where the
      repository has no such file.
    ImportError: huggingface_hub is not installed.
  """
  errors, kind = _library().errors, ValueError
  try:
    return _path(name, file, revision, offline)
  except errors.GatedRepoError:
    wrong = "is gated: its owner says who may have it"
    expected = (
      f"access: ask for it on the page of {name}, then `hf auth login`, or set "
      "HF_TOKEN"
    )
  except errors.RepositoryNotFoundError:
    wrong = "is not on the hub, or it is private"
    expected = (
      "OWNER/NAME of a repository, and for a private one `hf auth login` or "
      "HF_TOKEN"
    )
  except errors.RevisionNotFoundError:
    wrong = f"is not there: {name} has no such revision"
    expected = "a branch, a tag or a whole commit, or none for the main branch"
  except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
    wrong = f"has no {file} in the cache, and HF_HUB_OFFLINE is set"
    expected = _elsewhere(name)
  except errors.EntryNotFoundError:
    kind, wrong = NotThereError, f"has no {file}"
    expected = "a repository with one; pickles (.bin, .pth) are not read"
  except errors.HFValidationError as error:
    wrong = f"is no name of a repository ({_line(error)})"
    expected = "hf:OWNER/NAME"
  except OSError as error:  # Another answer of the hub, a full disk, ...
    wrong = f"can't be fetched ({_line(error)})"
    expected = f"what `hf download {name} {file}` can fetch"
  except Exception as error:  # The exceptions of the library's HTTP client.
    wrong = f"can't be reached ({type(error).__name__}: {_line(error)})"
    expected = _elsewhere(name)
  where = f"hf:{name}" + (f"@{revision}" if revision else "")
  raise kind(f"{where} {wrong}; expected {expected}.")


def fetch_if_there(
  name: str, file: str, *, revision: str
) -> pathlib.Path | None:
  """`fetch`; None where the repository has no such file.

  Args:
    name: as for `fetch`.
    file: as for `fetch`.
    revision: a commit, of which the cache remembers what it lacks.

  Raises:
    ValueError: it can't be told, or not be fetched.
  """
  hub = _library()
  where = {"repo_id": name, "filename": file, "revision": revision}
  if hub.try_to_load_from_cache(**where) is hub._CACHED_NO_EXIST:
    return None
  try:
    return fetch(name, file, revision=revision)
  except NotThereError:
    with contextlib.suppress(Exception):
      hub.hf_hub_download(**where)  # Notes it in the cache, and fails.
    return None


def _path(name: str, file: str, revision: str, offline: bool) -> pathlib.Path:
  """A file in the cache, which the hub is asked about first.

  hf_hub_download alone would ask an unreachable hub for half a minute.
  """
  hub = _library()
  where: dict[str, Any] = {"repo_id": name, "filename": file}
  where["revision"] = revision or None
  if offline:
    return pathlib.Path(hub.hf_hub_download(**where, local_files_only=True))
  cached = hub.try_to_load_from_cache(**where)
  if not (is_commit(revision) and isinstance(cached, str)):
    try:
      hub.get_hf_file_metadata(hub.hf_hub_url(**where))
    except Exception:
      if isinstance(cached, str):
        return pathlib.Path(cached)
      raise
  return pathlib.Path(hub.hf_hub_download(**where))


def _library() -> Any:
  try:
    import huggingface_hub
    import huggingface_hub.constants
    import huggingface_hub.errors
  except ImportError as error:
    raise ImportError(
      "huggingface_hub is not installed; expected "
      '`pip install "blt_jax[train]"`.'
    ) from error
  return huggingface_hub


def _elsewhere(name: str) -> str:
  """What helps where there is no network."""
  folder = _library().constants.HF_HUB_CACHE
  return (
    f"a cache that was filled with a network: `hf download {name} "
    f"model.safetensors config.json` there, then its cache copied to {folder} "
    "here and HF_HUB_OFFLINE=1"
  )


def _line(error: BaseException) -> str:
  """The beginning of an error's message, as far as it says something."""
  return " ".join(str(error).split())[:200].strip(" .")
