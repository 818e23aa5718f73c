"""No file makes us run a program, leave its folder or fill the memory."""

import ast
import json
import pathlib
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from blt_jax.data.sources import SplitOptions, image_lists, inaturalist
from blt_jax.models import torch_names, torch_weights
from tests.bad_files import files, links, run_folder
from tests.bad_files import image_lists as lists

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = sorted(
  [ROOT / "main.py", *ROOT.glob("blt_jax/**/*.py"), *ROOT.glob("configs/*.py")]
)

# Modules that turn data into programs, and calls by their last two names.
FORBIDDEN_MODULES = {
  "cloudpickle",
  "dill",
  "joblib",
  "marshal",
  "pickle",
  "shelve",
  "torch",
  "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system"}


def findings(program: str) -> list[str]:
  """What a program does that can run what a file says."""
  found = []
  for node in ast.walk(ast.parse(program)):
    if isinstance(node, ast.Import):
      modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      modules = [node.module or ""]
    else:
      modules = []
    found += [m for m in modules if m.split(".")[0] in FORBIDDEN_MODULES]
    if isinstance(node, ast.Call):
      name = ast.unparse(node.func)
      options = {
        keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords
      }
      if name in FORBIDDEN_CALLS:
        found.append(name)
      if options.get("allow_pickle", "False") != "False":
        found.append("allow_pickle")
      if options.get("shell", "False") != "False":
        found.append("shell")
      if name in ("np.load", "numpy.load") and "allow_pickle" not in options:
        found.append("np.load that does not say allow_pickle=False")
  return found


@pytest.mark.parametrize(
  "path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_program_runs_nothing_that_a_file_says(path):
  assert findings(path.read_text()) == []


@pytest.mark.parametrize(
  "program",
  [
    "import pickle",
    "from torch import load",
    "import yaml.loader",
    "eval(text)",
    "exec(text)",
    "os.system(text)",
    "np.load(path)",
    "np.load(path, allow_pickle=True)",
    "np.load(path, allow_pickle=pickled)",
    "subprocess.run(text, shell=True)",
  ],
)
def test_what_is_forbidden_is_found(program):
  assert findings(program)


def header(**tensors) -> bytes:
  """A safetensors file of no data with a header of our own."""
  text = json.dumps(tensors).encode()
  return len(text).to_bytes(8, "little") + text


def entry(shape, *offsets, dtype="F32"):
  return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def whole(change=lambda tensors: None) -> bytes:
  """The weights of small_resnet10, all zeros; `change` is given the tensors."""
  tensors = {
    name: np.zeros(shape, np.float32)
    for name, shape in torch_names.torch_shapes("small_resnet10").items()
  }
  tensors["fc.weight"] = np.zeros((3, 4), np.float32)
  tensors["bn1.num_batches_tracked"] = np.zeros((), np.int64)
  change(tensors)
  entries, data = {}, b""
  for name, array in tensors.items():
    dtype = {"f": "F", "i": "I"}[array.dtype.kind] + str(8 * array.itemsize)
    stop = len(data) + array.nbytes
    entries[name] = entry(array.shape, len(data), stop, dtype=dtype)
    data += array.tobytes()
  return header(**entries, __metadata__={"format": "pt"}) + data


def dropped(tensors):
  del tensors["bn1.weight"]


def added(tensors):
  tensors["extra.weight"] = np.ones(3, np.float32)


def reshaped(tensors):
  tensors["bn1.weight"] = np.ones(3, np.float32)


def whole_numbers(tensors):
  tensors["bn1.weight"] = np.ones(tensors["bn1.weight"].shape, np.int32)


HUGE = 2**60


@pytest.mark.parametrize(
  "data, parts",
  [
    (b"", ("header too small",)),
    (b"\x10\0\0", ("header too small",)),
    (HUGE.to_bytes(8, "little"), ("header too large",)),
    (header()[:-1], ("invalid header length",)),
    (b"\4\0\0\0\0\0\0\0text", ("invalid JSON",)),
    (b"\2\0\0\0\0\0\0\0[]", ("invalid JSON",)),
    (len(t := 99_999 * b"[").to_bytes(8, "little") + t, ("invalid JSON",)),
    (header(a=3), ("invalid JSON",)),
    (header(a=entry([1], 0, 4, dtype="PY")), ("unknown variant `PY`",)),
    (header(a=entry([-1], 0, 4)), ("integer `-1`",)),
    (header(a=entry([1.5], 0, 6)), ("floating point `1.5`",)),
    (header(a=entry([HUGE // 4], 0, HUGE)), ("file not fully covered",)),
    (header(a=entry([HUGE], 0, 4)) + bytes(4), ("overflow",)),
    (header(a=entry([1], 4, 0)), ("invalid offset for tensor `a`",)),
    (header(a=entry([1], 0, 4)) + bytes(8), ("file not fully covered",)),
    (
      header(a=entry([1], 0, 4), b=entry([1], 0, 4)) + bytes(4),
      ("invalid offset for tensor",),
    ),
    (whole()[:-1], ("file not fully covered",)),
    (whole(dropped), ("'bn1.weight' is missing; expected shape",)),
    (whole(added), ("'extra.weight' is unexpected; expected",)),
    (whole(reshaped), ("'bn1.weight' has shape (3,); expected (16,)",)),
    (whole(whole_numbers), ("has type I32; expected one of F64",)),
    (pickle.dumps({"a": 1}), ("PyTorch", "safetensors.torch.save_file")),
    (b"PK\x03\x04 an archive", ("PyTorch", "safetensors.torch.save_file")),
  ],
)
def test_bad_weights_are_refused_in_one_line(tmp_path, data, parts):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(data)
  with pytest.raises(ValueError) as caught:
    torch_weights.backbone_from_safetensors("small_resnet10", path)
  message = str(caught.value)
  assert message.startswith(str(path))
  assert "expected" in message
  assert "\n" not in message
  for part in parts:
    assert part in message


def test_a_header_that_begins_as_a_pickle_does_is_read(tmp_path):
  """Its length ends with the byte that a pickle begins with, 0x80."""
  path = tmp_path / "weights.safetensors"
  content = whole()
  length = int.from_bytes(content[:8], "little")
  padding = (0x80 - length) % 0x100
  path.write_bytes(
    (length + padding).to_bytes(8, "little")
    + content[8 : 8 + length]
    + padding * b" "
    + content[8 + length :]
  )
  assert path.read_bytes().startswith(b"\x80")
  torch_weights.backbone_from_safetensors("small_resnet10", path)


def test_missing_weights_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"none\.safetensors: No such file"):
    torch_weights.backbone_from_safetensors(
      "resnet10", tmp_path / "none.safetensors"
    )


def test_good_weights_are_read(tmp_path):
  path = tmp_path / "weights.safetensors"

  def ramp(tensors):
    tensors["conv1.weight"] += np.arange(3, dtype=np.float32)[:, None, None]

  path.write_bytes(whole(ramp))
  variables = torch_weights.backbone_from_safetensors("small_resnet10", path)
  kernel = variables["params"]["conv1"]["kernel"]
  np.testing.assert_array_equal(kernel[1, 2, :, 3], [0, 1, 2])


def test_what_weights_claim_takes_no_memory(tmp_path):
  """Measured in a process of its own, up to 64 MB."""
  path = tmp_path / "file"
  path.write_bytes(header(a=entry([HUGE // 4], 0, HUGE)))
  program = f"""
import resource
from blt_jax.models import torch_names, torch_weights
torch_names.paths("resnet10")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
  torch_weights.backbone_from_safetensors("resnet10", {str(path)!r})
except ValueError as error:
  print(error)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert after - before < 64 * 1024, (before, after)
"""
  finished = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.startswith(str(path))
  assert "not fully covered" in finished.stdout.removeprefix(str(path))


@pytest.mark.parametrize(
  "path", ["../a.png", "x/../../a.png", "/a.png", "x/..", ".."]
)
def test_paths_of_lists_do_not_leave_the_root(tmp_path, path):
  (tmp_path / "list.txt").write_text(f"{path} 0\n")
  with pytest.raises(ValueError, match=r"list\.txt:1: path .* leaves the root"):
    image_lists.read_list(str(tmp_path / "list.txt"), 0)
  content = {
    "images": [{"id": 1, "file_name": path}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [{"image_id": 1, "category_id": 1}],
  }
  (tmp_path / "train.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match=r"train\.json: .* leaves the root"):
    inaturalist.load_inaturalist(str(tmp_path), str(tmp_path / "train.json"))


@pytest.mark.parametrize(
  "target, inside",
  [
    ("13.png", True),
    ("../dog/13.png", True),
    ("../../images/dog/13.png", True),
    ("../../far.png", False),
    ("../../images-far/a.png", False),
    ("/etc/hosts", False),
  ],
)
def test_links_of_images_stay_in_the_root(tmp_path, target, inside):
  links(
    {"images/cat/00.png": target},
    first=lists({"far.png": "", "images-far/a.png": ""}),
  )(tmp_path)
  root = tmp_path / "images"

  def load():
    return image_lists.load_image_lists(
      str(root),
      str(root / "train.txt"),
      options=SplitOptions(validation_per_class=1),
    )

  if inside:
    assert len(load().train) == 18
  else:
    with pytest.raises(ValueError, match=r"train\.txt:1: .* link out of the"):
      load()


@pytest.mark.parametrize(
  "text", ["import os; os.mkdir('made')", '{"seed": os.mkdir("made")}']
)
def test_config_of_a_run_is_data(tmp_path, monkeypatch, text):
  from blt_jax.workdir import directory

  files({"run/config.json": text})(tmp_path)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match="is not JSON"):
    directory.read_config(pathlib.Path("run"))
  assert not (tmp_path / "made").exists()


def test_text_in_the_config_of_a_run_stays_text(tmp_path, monkeypatch):
  from blt_jax.workdir import directory

  monkeypatch.chdir(tmp_path)
  run_folder(lambda content: {**content, "method": "os.mkdir('made')"})(
    tmp_path
  )
  config = directory.read_config(pathlib.Path("run"))
  assert config.method == "os.mkdir('made')"
  assert not (tmp_path / "made").exists()


def test_every_pin_of_the_lock_has_a_hash_and_no_source_of_its_own():
  lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
  pins = [line for line in lock.splitlines() if re.match(r"\w", line)]
  assert len(pins) > 50
  for pin in pins:
    assert re.match(r"[\w.-]+==\S+ ", pin), pin
    assert re.search(r" --hash=sha256:[0-9a-f]{64}", pin), pin
  assert not re.search(r"://|--(index|find|trusted|extra)", lock)


def test_readme_warns_of_configurations():
  text = " ".join((ROOT / "README.md").read_text().split())
  assert "A `--config` file is a Python program: run only those you" in text
