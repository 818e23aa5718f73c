"""A run whose images are resized bicubically, to the end of its export."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from blt_jax.config import with_values
from blt_jax.data import input_pipeline, sampling
from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy import evaluate
from blt_jax.deploy.formats import safetensors_file
from blt_jax.deploy.from_run import from_workdir
from blt_jax.deploy.load import load
from blt_jax.training.evaluate import evaluate_run
from blt_jax.training.feeder import Feeder
from blt_jax.workdir import directory

FIELDS = {
  "dataset.interpolation": "bicubic",
  "dataset.resize_size": 11,
}


@pytest.fixture(scope="module")
def bicubic_run(run, tmp_path_factory):
  """The run as if its images had been resized so."""
  folder = tmp_path_factory.mktemp("bicubic") / "run"
  shutil.copytree(run, folder)
  config = with_values(directory.read_config(run), FIELDS)
  text = json.dumps(dataclasses.asdict(config))
  (folder / directory.CONFIG).write_text(text)
  return folder


def _prepared(image):
  """The pixels that the network sees, by Pillow."""
  weights = Image.Resampling.BICUBIC
  rows = Image.fromarray(image).resize((11, image.shape[0]), weights)
  return np.asarray(rows.resize((11, 11), weights))[2:10, 2:10]


def test_evaluation_prediction_and_export_see_the_same_pixels(
  bicubic_run, photos, tmp_path
):
  network = from_workdir(bicubic_run)
  assert network.preprocessing.interpolation == "bicubic"
  safetensors_file.write(network, tmp_path)
  exported = load(tmp_path)
  (expected,) = evaluate_run(bicubic_run)
  for number, each in enumerate((network, exported)):
    output = tmp_path / f"{number}.csv"
    tested = evaluate.evaluate(each, photos, output=output)
    for name in ("overall", "accuracy", "nll"):
      found = tested.measures[name]
      assert found == pytest.approx(expected[name], rel=1e-4), name
  with output.open(newline="") as file:
    (first, *_) = csv.DictReader(file)
  image = np.asarray(Image.open(first["path"]))
  np.testing.assert_array_equal(exported.prepare([image])[0], _prepared(image))


def test_training_crops_are_bicubic(bicubic_run):
  config = directory.read_config(bicubic_run)
  dataset = load_digits_lt()
  feeder = Feeder(config, dataset, devices=1)
  rows = np.arange(20)
  ((_, sources),) = feeder.sources(rows, batch_size=20)
  plan = sampling.EpochPlan.of_images(
    rows[None], seed=config.seed, stage=2, epoch=0
  )
  (batch,) = input_pipeline.train_batches(
    dataset.train,
    plan,
    image_size=8,
    crop_scale=config.perturb.crop_scale,
    interpolation="bicubic",
  )
  np.testing.assert_array_equal(sources.image[0], batch.image)
