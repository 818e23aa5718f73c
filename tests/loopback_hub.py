"""A hub of models on this machine, as huggingface_hub knows one."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import pathlib
import re
import threading
from collections.abc import Iterator, Mapping

import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save

TOKEN = "hf_loopback"
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclasses.dataclass
class Repository:
  """What a repository holds.

  Attributes:
    commits: {commit: {name of a file: content}}.
    revisions: {branch or tag: commit}.
    gated: whether it needs `TOKEN`.
    broken: whether the hub fails.
  """

  commits: dict[str, dict[str, bytes]]
  revisions: dict[str, str]
  gated: bool = False
  broken: bool = False


class Hub:
  """Repositories by OWNER/NAME, and the requests that were made.

  Attributes:
    url: of the hub, for HF_ENDPOINT.
  """

  def __init__(self) -> None:
    self.repositories: dict[str, Repository] = {}
    self.requests: list[str] = []
    self.url = ""

  def add(self, name: str, files: Mapping[str, bytes], **options: bool) -> str:
    """Adds a commit to the main branch of a repository; returns it."""
    text = "".join(sorted(files)) + str(len(self.requests))
    content = text.encode() + b"".join(files[each] for each in sorted(files))
    commit = hashlib.sha1(content).hexdigest()
    found = self.repositories.setdefault(name, Repository({}, {}, **options))
    found.commits[commit] = dict(files)
    found.revisions["main"] = commit
    return commit


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
  """Serves a hub on loopback."""
  hub = Hub()

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
      self._answer()

    def do_GET(self) -> None:
      self.wfile.write(self._answer())

    def log_message(self, format: str, *args: object) -> None:
      pass

    def _answer(self) -> bytes:
      hub.requests.append(f"{self.command} {self.path}")
      token = self.headers.get("Authorization", "")
      status, headers, content = _response(hub, self.path, token=token)
      self.send_response(status)
      for name, value in headers.items():
        self.send_header(name, value)
      self.send_header("Content-Length", str(len(content)))
      self.end_headers()
      return content

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=server.serve_forever, args=[0.01])
  thread.start()
  hub.url = f"http://127.0.0.1:{server.server_port}"
  try:
    yield hub
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def _response(
  hub: Hub, path: str, *, token: str
) -> tuple[int, dict[str, str], bytes]:
  """(status, headers, content) of an answer."""
  found = _FILE.fullmatch(path)
  repository = hub.repositories.get(found[1]) if found else None
  if not found or repository is None:
    return 401, {"X-Error-Code": "RepoNotFound"}, b""
  if repository.gated and token != f"Bearer {TOKEN}":
    return 401, {"X-Error-Code": "GatedRepo"}, b""
  if repository.broken:
    return 500, {}, b""
  commit = repository.revisions.get(found[2], found[2])
  if commit not in repository.commits:
    return 404, {"X-Error-Code": "RevisionNotFound"}, b""
  headers = {"X-Repo-Commit": commit}
  content = repository.commits[commit].get(found[3])
  if content is None:
    return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b""
  etag = hashlib.sha256(content).hexdigest()
  return 200, {**headers, "ETag": f'"{etag}"'}, content


def timm_config(architecture: str, **values: object) -> bytes:
  """A config.json as timm writes it."""
  cfg = {
    "tag": "in1k",
    "custom_load": False,
    "input_size": [3, 224, 224],
    "fixed_input_size": False,
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "num_classes": 1000,
    "pool_size": [7, 7],
    "first_conv": "conv1",
    "classifier": "fc",
  }
  content = {
    "architecture": architecture,
    "num_classes": 1000,
    "num_features": 512,
    "global_pool": "avg",
    "pretrained_cfg": cfg | values,
  }
  return json.dumps(content, indent=2).encode()


def weights(shapes: Mapping[str, tuple[int, ...]], *, classes: int) -> bytes:
  """A safetensors file of a network of these shapes, and of a classifier."""
  rng = np.random.default_rng(0)
  tensors = {
    name: rng.uniform(0.5, 1.0, shape).astype(np.float32)
    for name, shape in shapes.items()
  }
  if classes:
    tensors["fc.weight"] = np.ones((classes, 3), np.float32)
    tensors["fc.bias"] = np.ones(classes, np.float32)
  return save(tensors, {"format": "pt"})


def use(
  patch: pytest.MonkeyPatch, url: str, home: pathlib.Path, *, offline=False
) -> None:
  """Lets huggingface_hub use a hub and a cache, as its variables would.

  It reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE once, when it is imported.
  """
  constants = huggingface_hub.constants
  patch.setattr(constants, "ENDPOINT", url)
  template = url + "/{repo_id}/resolve/{revision}/{filename}"
  patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
  patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
  patch.setattr(constants, "HF_HUB_OFFLINE", offline)
  patch.setenv("HF_HOME", str(home))
