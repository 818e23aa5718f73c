"""EfficientNet-Lite0 with its real weights, on real photographs."""

import functools
import importlib.util
import pathlib
import tarfile

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from blt_jax import models
from blt_jax.models import torch_weights


def test_lite0_knows_photographs(shared):
  files = shared / "data" / "tf_efficientnet_lite0.safetensors"
  photographs = shared / "data" / "imagenet_samples.tar"
  if not (files.exists() and photographs.exists()):
    pytest.skip("no weights of EfficientNet-Lite0, or no photographs")
  package = importlib.util.find_spec("tensorflow_datasets")
  (folder,) = package.submodule_search_locations
  numbers = pathlib.Path(folder, "datasets/imagenet2012/labels.txt")
  classes = numbers.read_text().split()
  images, labels = [], []
  with tarfile.open(photographs) as archive:
    names = sorted(n for n in archive.getnames() if n.endswith(".JPEG"))
    for name in names[:120]:
      images.append(evaluated(archive.extractfile(name)))
      labels.append(classes.index(pathlib.Path(name).name[:9]))
  name = "tf_efficientnet_lite0"
  variables = torch_weights.backbone_from_safetensors(name, files)
  backbone, head = models.create_backbone(name), load_file(files)
  apply = jax.jit(functools.partial(backbone.apply, train=False))
  features = [apply(variables, part) for part in np.split(np.array(images), 6)]
  logits = np.concatenate(features) @ head["classifier.weight"].T
  right = (logits + head["classifier.bias"]).argmax(axis=1) == labels
  assert right.mean() == pytest.approx(0.9, abs=0.02)


def evaluated(file):
  """A photograph as timm evaluates it: float [224, 224, 3]."""
  with Image.open(file) as image:
    short = min(image.size)
    width, height = (round(256 * side / short) for side in image.size)
    resized = image.convert("RGB").resize((width, height), Image.BICUBIC)
  left, top = (width - 224) // 2, (height - 224) // 2
  crop = resized.crop((left, top, left + 224, top + 224))
  return np.asarray(crop, np.float32) / 127.5 - 1
