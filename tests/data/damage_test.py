"""Training on image files, some of which are damaged, end to end."""

import csv

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from blt_jax.config import check_config, follow
from blt_jax.data.input_pipeline import Crops
from blt_jax.training import build, devices, train
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import build_stages, plan_epoch
from configs import image_folder
from tests.small_run import one_block


@pytest.fixture(autouse=True, scope="module")
def _one_block():
  with one_block():
    yield


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
  config.stage1.epochs, config.stage2.epochs = 2, 0
  config.stage1.batch_size = config.stage2.batch_size = 80
  return config


def _break_training_images(config, count):
  paths = build.build_dataset(config).train.paths[:count]
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


def test_steps_see_the_same_crops_wherever_they_are_resized(config):
  seen = {}
  config.stage2.epochs = 1
  for where in ("host", "device"):
    config.dataset.resize_on = where
    dataset = build.build_dataset(config)
    stages = build_stages(config, dataset.class_counts, devices=2)
    whole = follow(check_config(config))
    feeder = Feeder(whole, dataset, devices=2)
    labels = dataset.train.labels
    plan = plan_epoch(config, stages[1], 2, labels=labels)
    batch, _ = next(feeder.training(plan))
    for images in (batch.image, batch.sources.image):
      assert isinstance(images, Crops) == (where == "device")
    preprocess_fn = build.build_preprocess(whole)

    def step(_, batch, preprocess_fn=preprocess_fn):
      keys = jax.random.split(jax.random.key(0), len(batch.label))
      slot_keys = jax.random.split(jax.random.key(1), len(batch.sources.label))
      seen = preprocess_fn(keys, batch.image)
      sources = preprocess_fn(slot_keys, batch.sources.image)
      return jax.lax.all_gather((seen, sources, batch.label), devices.AXIS)

    seen[where] = devices.over_devices(step, config)(np.zeros(()), batch)
    assert batch.sources.used.any()
  jax.tree.map(np.testing.assert_array_equal, seen["host"], seen["device"])
