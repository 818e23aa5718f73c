"""Writes a trained network for other programs: --mode=export."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from blt_jax.data.reading import crops
from blt_jax.deploy import formats, model_card
from blt_jax.deploy.description import Description
from blt_jax.deploy.model import TrainedModel
from blt_jax.system import console
from blt_jax.workdir import files

DEFAULT_FORMATS = ("safetensors", "jax")
FILE = "model.json"

# Largest difference between the logits of an export and those of the network,
# both before the temperature: a small one would enlarge errors of rounding.
TOLERANCE = 1e-4


def export(
  model: TrainedModel,
  folder: pathlib.Path,
  *,
  names: Sequence[str] = DEFAULT_FORMATS,
  workdir: pathlib.Path | None = None,
) -> None:
  """Writes a network in some formats, with a model card.

  The exported network computes in float32, whatever it was trained in. Formats
  are kept only after another process has loaded each of them and computed the
  same logits of real images (views of the two photographs in scikit-learn).

  Raises:
    ValueError: for an unknown format, a folder with other files, or a format
      whose logits differ by more than TOLERANCE.
    ImportError: a package of a format is missing.
  """
  _check_names(names)
  modules = {name: formats.module(name) for name in names}
  model = as_exported(model)
  check_folder(folder, model)
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
    made = pathlib.Path(temporary)
    for module in modules.values():
      module.write(model, made)
    for name, difference in compare(model, made, names).items():
      console.say(f"{name}: logits differ by {difference:.1e} at most")
      if not difference <= TOLERANCE:
        raise ValueError(
          f"--format={name}: logits of the exported network differ by "
          f"{difference:.1e}; expected at most {TOLERANCE:.0e}. Nothing was "
          "written."
        )
    files.write_json(made / FILE, model.description.to_json())
    # The description first: `check_folder` refuses a folder that has files but
    # no description, such as an export that was interrupted here.
    for path in sorted(made.iterdir(), key=lambda path: path.name != FILE):
      _replace(path, folder / path.name)
  model_card.write(model.description, folder, workdir=workdir)
  console.say(f"probabilities: {model.description.calibration}")
  console.say(f"exported: {folder}")


def as_exported(model: TrainedModel) -> TrainedModel:
  """The network as exports compute it, in float32, with its fingerprint."""
  description = dataclasses.replace(
    model.description, dtype="float32", weights=_digest(model.variables)
  )
  return dataclasses.replace(model, description=description)


def _digest(tree: Any) -> str:
  """SHA-256 of a tree of arrays: names, types, shapes and values."""
  digest = hashlib.sha256()
  for key, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.ascontiguousarray(leaf)
    title = f"{jax.tree_util.keystr(key)} {array.dtype} {np.shape(leaf)}"
    digest.update(title.encode())
    digest.update(array.view(np.uint8).data)
  return digest.hexdigest()


def compare(
  model: TrainedModel, folder: pathlib.Path, names: Sequence[str]
) -> dict[str, float]:
  """Loads formats in another process and compares them with the network.

  Returns:
    The largest difference of a logit by format, over several sizes of batches,
    times the temperature; NaN when a logit is NaN.

  Raises:
    ValueError: a format can't be loaded.
  """
  images = sample_images(model.input_size)
  temperature = model.description.temperature
  with jax.default_device(jax.devices("cpu")[0]):
    expected = np.asarray(jax.jit(model.logits_of_pixels)(images))
  with tempfile.TemporaryDirectory() as temporary:
    place = pathlib.Path(temporary)
    np.save(place / "images.npy", images)
    program = "blt_jax.deploy.formats.run"
    finished = subprocess.run(
      [sys.executable, "-m", program, str(folder.absolute()), place, *names],
      env={
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
      },
      capture_output=True,
      text=True,
      errors="replace",
      check=False,
    )
    if finished.returncode:
      lines = finished.stderr.strip().splitlines() or ["no message"]
      raise ValueError(lines[-1])
    return {
      name: float(np.max(np.abs(_logits(place, name) - expected))) * temperature
      for name in names
    }


def _logits(folder: pathlib.Path, name: str) -> np.ndarray:
  return np.load(folder / f"{name}.npy", allow_pickle=False)


def sample_images(size: int) -> np.ndarray:
  """Views of two photographs: uint8 [16, size, size, 3]."""
  from sklearn.datasets import load_sample_images

  views = []
  for photo in load_sample_images().images:
    height, width = photo.shape[:2]
    side = height // 2
    for number in range(8):
      y, x = number % 2 * side, number // 2 * (width - side) // 3
      view = photo[y : y + side, x : x + side]
      views.append(crops.resize(view, size, size))
  return np.stack(views)


def check_folder(folder: pathlib.Path, model: TrainedModel) -> None:
  """Refuses a folder that can't take the export of a network.

  Raises:
    ValueError: it is a file, or holds something else.
  """
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"--output={folder} is a file; expected a folder.")
  # Hidden files are left by an interrupted export or by a file manager.
  if not folder.exists() or all(p.name[0] == "." for p in folder.iterdir()):
    return
  there = files.read_object(folder / FILE)
  if there is None:
    raise ValueError(
      f"--output={folder} holds other files; expected a new folder, or one "
      "that --mode=export wrote."
    )
  exported = Description.from_json(there, source=str(folder / FILE))
  different = exported.differing(model.description)
  if different:
    raise ValueError(
      f"--output={folder} holds the export of another network (not the same: "
      f"{', '.join(different)}); expected a new folder, or one with an export "
      "of this network."
    )


def _check_names(names: Sequence[str]) -> None:
  for name in names:
    if name not in formats.FORMATS:
      raise ValueError(
        f"--format={name}: expected one or more of {','.join(formats.FORMATS)}."
      )
  if not names:
    raise ValueError(
      f"--format is empty; expected one or more of {','.join(formats.FORMATS)}."
    )


def _replace(source: pathlib.Path, target: pathlib.Path) -> None:
  """Moves a file or folder, in place of one that may be there."""
  if target.is_dir():
    shutil.rmtree(target)
  os.replace(source, target)
