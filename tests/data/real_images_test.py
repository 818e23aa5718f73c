"""Parity with Pillow on ImageNet's own JPEGs, where they are at hand."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Split
from tests.crop_windows import crop_windows

COUNT, SIZE, RESIZE = 48, 224, 256


@pytest.fixture(scope="module")
def split(shared, tmp_path_factory):
  """Some of the sample images, grey ones among them."""
  archive = shared / "data/imagenet_samples.tar"
  if not archive.exists():
    pytest.skip("no imagenet_samples.tar")
  folder = tmp_path_factory.mktemp("samples")
  with tarfile.open(archive) as tar:
    tar.extractall(folder, filter="data")
  paths = sorted(folder.rglob("*.JPEG"))
  grey = [path for path in paths if _mode(path) == "L"]
  chosen = [*grey[:4], *paths][:COUNT]
  return Split(np.arange(COUNT) % 2, paths=[str(path) for path in chosen])


def _mode(path):
  with Image.open(path) as image:
    return image.mode


def _rgb(path):
  with Image.open(str(path)) as image:
    return image.convert("RGB")


def _difference(image, expected):
  return np.abs(np.asarray(expected).astype(int) - image).max()


def test_random_crops_are_pillows(split, reader):
  plan = sampling.epoch_plan(
    split.labels, seed=0, stage=1, epoch=1, batch_size=COUNT
  )
  (batch,) = input_pipeline.train_batches(split, plan, image_size=SIZE)
  uniforms = plan.crop_uniforms(0)[0]
  for i, path in enumerate(split.paths[plan.indices[0]]):
    image = _rgb(path)
    y, x, h, w = crop_windows(
      image.height,
      image.width,
      uniforms[i],
      scale=(0.08, 1.0),
      ratio=(3 / 4, 4 / 3),
    ).tolist()
    cut = image.crop((x, y, x + w, y + h))
    expected = cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert _difference(batch.image[i], expected) <= 1, path


def test_evaluation_crops_are_pillows(split, reader):
  (batch,) = input_pipeline.eval_batches(
    split, batch_size=COUNT, image_size=SIZE, resize_size=RESIZE
  )
  for image, path in zip(batch.image, split.paths, strict=True):
    whole = _rgb(path)
    short = min(whole.size)
    width, height = (RESIZE * side // short for side in whole.size)
    whole = whole.resize((width, height), Image.Resampling.BILINEAR)
    x, y = round((width - SIZE) / 2), round((height - SIZE) / 2)
    expected = whole.crop((x, y, x + SIZE, y + SIZE))
    assert _difference(image, expected) <= 1, path
