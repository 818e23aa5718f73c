"""Cases of bad_input_test.py: what is predicted with, exported, begun with."""

import functools
import json
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from blt_jax.models import create_model, torch_network
from tests.bad_files import (
  Case,
  changed,
  files,
  image_folders,
  nothing,
  run_folder,
)

_WEIGHTS = "exported/model.safetensors"
_PREDICT = "--mode=predict --model=exported --output=a.csv --input="
_EXPORT = "--mode=export --model=exported --output="
_BEGIN = "--config=configs/digits_lt.py --config.model.pretrained="
ABOUT: dict[str, Any] = {
  "format": 2,
  "backbone": "small_resnet10",
  "classifier": "squashing_cosine",
  "alpha": 20.0,
  "beta": 0.5,
  "hidden": 4,
  "dtype": "float32",
  "image_size": 8,
  "resize_size": 8,
  "interpolation": "bilinear",
  "five_crop": False,
  "mean": [0.5, 0.5, 0.5],
  "std": [0.5, 0.5, 0.5],
  "background": [255, 255, 255],
  "exif_orientation": False,
  "grey_range": [],
  "logit_offset": None,
  "temperature": 1.0,
  "class_names": ["cat", "dog"],
  "class_counts": [9, 3],
  "dataset": "pets",
  "method": "blt",
  "many_above": 100,
  "few_up_to": 20,
  "blt_jax": "0.1",
  "checkpoint": "best",
  "stage": 2,
  "epoch": 1,
  "accuracy": {},
  "config": {},
}


@functools.cache
def _tensors() -> dict[str, np.ndarray]:
  """A network of zeros."""
  network = create_model("small_resnet10", 2, hidden=4)
  images = np.zeros((1, 8, 8, 3), np.float32)
  shapes = jax.eval_shape(
    lambda: network.init(jax.random.key(0), images, train=False)
  )
  zeros = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
  return torch_network.network_to_torchvision("small_resnet10", zeros)


def exported(**changes: Any):
  """exported/model.safetensors with another description, and images."""

  def prepare(folder):
    image_folders()(folder)
    metadata = {"blt_jax": json.dumps(ABOUT | changes)}
    (folder / "exported").mkdir()
    (folder / _WEIGHTS).write_bytes(save(_tensors(), metadata=metadata))

  return prepare


def _damaged(content: bytes):
  """The same with other bytes for the file."""

  def prepare(folder):
    exported()(folder)
    (folder / _WEIGHTS).write_bytes(content)

  return prepare


def _without_description(folder):
  exported()(folder)
  (folder / _WEIGHTS).write_bytes(save(_tensors()))


def _beside(name: str):
  """The same, and another file."""

  def prepare(folder):
    exported()(folder)
    files({name: "mine"})(folder)

  return prepare


_CLASSES = json.dumps({"class_names": ["a", "b"], "class_counts": [2, 1]})

PREDICTING = [
  Case(
    "predict: no input",
    exported(),
    _PREDICT.removesuffix(" --input="),
    ("needs --input=FILE_OR_FOLDER",),
  ),
  Case(
    "predict: no output",
    exported(),
    "--mode=predict --model=exported --input=images",
    ("needs --output=FILE.csv",),
  ),
  Case(
    "predict: no network",
    exported(),
    "--mode=predict --input=images --output=a.csv",
    ("needs one of --workdir=DIR of a run and --model=DIR",),
  ),
  Case(
    "predict: two networks",
    exported(),
    _PREDICT + "images --workdir=run",
    ("needs one of --workdir=DIR of a run and --model=DIR",),
  ),
  *(
    Case(f"predict: {name}", prepare, f"{_PREDICT}{path}", parts)
    for name, prepare, path, parts in (
      (
        "no such input",
        exported(),
        "photos",
        ("--input=photos", "no such file or folder", "expected images"),
      ),
      (
        "no image",
        _beside("photos/a.txt"),
        "photos",
        ("--input=photos: no image", "(.txt: 1)", "expected images"),
      ),
      ("no model", image_folders(), "images", ("exported", "safetensors")),
      (
        "pickle",
        _damaged(b"PK\x03\x04"),
        "images",
        (_WEIGHTS, "can run programs", "safetensors.torch.save_file"),
      ),
      (
        "cut off",
        _damaged(save({"a": np.zeros(9)})[:-1]),
        "images",
        (_WEIGHTS, "not a whole safetensors file"),
      ),
      (
        "no description",
        _without_description,
        "images",
        (_WEIGHTS, "does not say what network", "--mode=export"),
      ),
      (
        "other backbone",
        exported(backbone="resnet9"),
        "images",
        (_WEIGHTS, "backbone is 'resnet9'; expected one of resnet10"),
      ),
      (
        "other classes",
        exported(class_names=["cat"], class_counts=[9]),
        "images",
        (_WEIGHTS, "'fc.2.weight' has shape (2, 4); expected (1, 4)"),
      ),
      (
        "no temperature",
        exported(temperature=None),
        "images",
        (_WEIGHTS, "temperature is None; expected a number above 0"),
      ),
      (
        "newer version",
        exported(format=3),
        "images",
        (_WEIGHTS, "has format 3; expected 2, which this version"),
      ),
    )
  ),
  Case(
    "predict: output a folder",
    _beside("out/a.txt"),
    _PREDICT.replace("a.csv", "out") + "images",
    ("--output=out is a folder; expected a file",),
  ),
  Case(
    "predict: no classes",
    run_folder(),
    "--mode=predict --workdir=run --input=. --output=a.csv",
    ("--workdir=run has no classes.json",),
  ),
  Case(
    "predict: no checkpoint",
    run_folder(contents={"run/classes.json": _CLASSES}),
    "--mode=predict --workdir=run --input=. --output=a.csv",
    ("--workdir=run holds no checkpoint yet",),
  ),
  Case(
    "predict: two taus",
    run_folder(),
    "--mode=predict --workdir=run --input=. --output=a.csv --posthoc_tau=1,2",
    ("--posthoc_tau=1,2", "expected one value for --mode=predict"),
  ),
  Case(
    "export: a tau for an export",
    exported(),
    f"{_EXPORT}b --posthoc_tau=1",
    ("--posthoc_tau=1", "the --workdir of a run"),
  ),
  Case(
    "evaluate: a column that the table of --input does not have",
    _beside("labels.csv"),
    "--mode=evaluate --model=exported --input=labels.csv"
    " --config.dataset.path=mine --config.dataset.label kind",
    ("config.dataset.label is 'kind'; expected a column of labels.csv", "mine"),
  ),
  Case(
    "evaluate: a tau that is no number",
    run_folder(),
    "--mode=evaluate --workdir=run --posthoc_tau=1,auto",
    ("--posthoc_tau=1,auto: expected numbers",),
  ),
  Case(
    "evaluate: a tau and another correction",
    changed("model", loss="balanced_softmax"),
    "--mode=evaluate --workdir=run --posthoc_tau=1",
    ("config.model.posthoc_tau is 1.0", "expected 0 with", "balanced_softmax"),
  ),
  *(
    Case(
      f"predict: min_confidence={value}",
      exported(),
      f"{_PREDICT}images --min_confidence={value}",
      (f"--min_confidence={value}: expected a number from 0 to 1.",),
    )
    for value in ("1.5", "-0.1", "nan", "90%", "")
  ),
  Case(
    "predict: no such checkpoint",
    run_folder(),
    "--mode=predict --workdir=run --input=. --output=a.csv --checkpoint=first",
    ("checkpoint=first", "best|last"),
  ),
]
EXPORTING = [
  Case(
    "export: no output",
    exported(),
    "--mode=export --model=exported",
    ("needs --output=DIR",),
  ),
  Case(
    "export: unknown format",
    exported(),
    _EXPORT + "out --format=pickle",
    ("--format=pickle: expected one or more of safetensors,jax",),
  ),
  Case(
    "export: other files",
    _beside("out/thesis.tex"),
    _EXPORT + "out",
    ("--output=out holds other files; expected a new folder",),
  ),
  Case(
    "export: a file",
    _beside("out"),
    _EXPORT + "out",
    ("--output=out is a file; expected a folder",),
  ),
  Case(
    "export: another network",
    _beside("out/model.json"),
    _EXPORT + "out",
    ("out/model.json is not JSON",),
  ),
  Case(
    "pretrained: missing",
    nothing,
    _BEGIN + "a.safetensors",
    ("config.model.pretrained: /", "/a.safetensors: No such file"),
  ),
  Case(
    "pretrained: of another backbone",
    exported(),
    f"{_BEGIN}{_WEIGHTS} --config.model.backbone=resnet10",
    ("config.model.backbone is resnet10", "expected small_resnet10, the netw"),
  ),
]
