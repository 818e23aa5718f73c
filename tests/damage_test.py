"""Training on image files, some of which are damaged, end to end."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from blt_jax import train
from configs import image_folder


@pytest.fixture
def config(tmp_path):
  """Digits as PNG files in folders, one a broken one of training."""
  digits = load_digits()
  root = tmp_path / "images"
  for label in range(4):
    folder = root / str(label)
    folder.mkdir(parents=True)
    grey = digits.images[digits.target == label][:30] * 16 - 1
    for i, pixels in enumerate(np.clip(grey, 0, 255).astype(np.uint8)):
      Image.fromarray(pixels).save(folder / f"{i:02d}.png")
  config = image_folder.get_config()
  config.dataset.root = str(root)
  config.dataset.validation_per_class = 5
  config.dataset.image_size = config.dataset.resize_size = 8
  config.model.backbone = "small_resnet10"
  config.num_devices = 2
  config.stage1.epochs, config.stage2.epochs = 2, 1
  config.stage1.batch_size = config.stage2.batch_size = 80
  return config


def _break_training_images(config, count):
  from blt_jax.build import build_dataset

  paths = build_dataset(config).train.paths[:count]
  for path in paths.tolist():
    with open(path, "wb") as file:
      file.write(b"no image")
  return paths


def test_run_goes_on_and_counts_what_it_replaced(config, tmp_path):
  _break_training_images(config, 1)
  train.train(config, tmp_path / "run")
  with (tmp_path / "run" / "metrics.csv").open() as file:
    rows = list(csv.DictReader(file))
  # Stage 1 sees each of the 80 images once an epoch.
  assert [float(row["replaced"]) for row in rows[:2]] == [1, 1]


def test_run_stops_where_that_is_asked_for(config, tmp_path):
  (path,) = _break_training_images(config, 1)
  config.dataset.on_error = "stop"
  with pytest.raises(ValueError, match=rf"{path}: can't be read"):
    train.train(config, tmp_path / "run")


def test_crops_resized_on_the_device_make_the_same_run(config, tmp_path):
  config.stage1.epochs, config.stage2.epochs = 1, 2
  config.perturb.static = True
  losses, pools, examples = {}, {}, {}
  for where in ("host", "device"):
    config.dataset.resize_on = where
    train.train(config, tmp_path / where)
    with (tmp_path / where / "metrics.csv").open() as file:
      rows = list(csv.DictReader(file))
    assert float(rows[-1]["hallucinated_share"]) > 0
    losses[where] = [float(row["loss"]) for row in rows]
    with np.load(tmp_path / where / "static_images.npz") as pool:
      pools[where] = pool["images"]
    with np.load(tmp_path / where / "perturbed.npz") as perturbed:
      examples[where] = perturbed["original"]
  np.testing.assert_allclose(losses["host"], losses["device"], rtol=1e-4)
  np.testing.assert_allclose(pools["host"], pools["device"], atol=1e-3)
  assert len(examples["host"])
  np.testing.assert_allclose(examples["host"], examples["device"], atol=1e-3)
