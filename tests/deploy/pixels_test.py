"""Runs whose images are bicubic or cropped five times, to their exports."""

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from blt_jax.config import with_values
from blt_jax.data import input_pipeline, sampling
from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy import evaluate, model_card
from blt_jax.deploy.formats import jax_program, safetensors_file
from blt_jax.deploy.from_run import from_workdir
from blt_jax.deploy.load import load
from blt_jax.training import build
from blt_jax.training.evaluate import evaluate_run
from blt_jax.training.feeder import Feeder
from blt_jax.training.run import Run
from blt_jax.workdir import directory
from blt_jax.workdir.checkpoint import read_epoch
from tests.marks import long_test

FIELDS = {
  "dataset.interpolation": "bicubic",
  "dataset.resize_size": 11,
}


def _as_if(run, folder, **fields):
  """A copy of the run as if it had been made with other fields."""
  shutil.copytree(run, folder)
  fields = {f"dataset.{name}": value for name, value in fields.items()}
  config = with_values(directory.read_config(run), {**FIELDS, **fields})
  text = json.dumps(dataclasses.asdict(config))
  (folder / directory.CONFIG).write_text(text)
  return folder


@pytest.fixture(scope="module")
def bicubic_run(run, tmp_path_factory):
  return _as_if(run, tmp_path_factory.mktemp("bicubic") / "run")


@pytest.fixture(scope="module")
def five_crop_run(calibrated_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("five") / "run"
  return _as_if(calibrated_run, folder, five_crop=True)


def _square(image):
  """The 11 x 11 pixels that crops of 8 x 8 are cut from, by Pillow."""
  weights = Image.Resampling.BICUBIC
  rows = Image.fromarray(image).resize((11, image.shape[0]), weights)
  return np.asarray(rows.resize((11, 11), weights))


def _views(image):
  """Corners and centre, uint8 [5, 8, 8, 3]."""
  square = _square(image)
  places = ((0, 0), (0, 3), (3, 0), (3, 3), (2, 2))
  return np.stack([square[y : y + 8, x : x + 8] for y, x in places])


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("bicubic_run", marks=long_test("another run")),
    "five_crop_run",
  ],
)
def test_evaluation_prediction_and_export_see_the_same_pixels(
  name, request, photos, tmp_path, capsys
):
  workdir = request.getfixturevalue(name)
  network = from_workdir(workdir)
  preprocessing = network.preprocessing
  assert preprocessing.interpolation == "bicubic"
  assert preprocessing.five_crop == (name == "five_crop_run")
  safetensors_file.write(network, tmp_path)
  exported = load(tmp_path)
  (expected,) = evaluate_run(workdir)
  for number, each in enumerate((network, exported)):
    output = tmp_path / f"{number}.csv"
    tested = evaluate.evaluate(each, photos, output=output)
    for measure in ("overall", "accuracy", "nll"):
      found = tested.measures[measure]
      assert found == pytest.approx(expected[measure], rel=1e-4), measure
  said = capsys.readouterr().out
  crops_said = said.count("logits are means over five crops of an image")
  assert crops_said == 3 * (name == "five_crop_run")
  with output.open(newline="") as file:
    (first, *_) = csv.DictReader(file)
  image = np.asarray(Image.open(first["path"]))
  prepared = exported.prepare([image])[0]
  if name == "bicubic_run":
    np.testing.assert_array_equal(prepared, _square(image)[2:10, 2:10])
  else:
    np.testing.assert_array_equal(prepared, _square(image))


def test_network_averages_the_logits_of_five_crops(
  five_crop_run, calibrated_run, tmp_path
):
  network = from_workdir(five_crop_run)
  single = from_workdir(calibrated_run)
  images = load_digits_lt().test.images[:3]
  found = network.logits(images)
  # At 8 pixels nothing is resized or cropped.
  expected = [single.logits(_views(image)).mean(axis=0) for image in images]
  np.testing.assert_allclose(found, expected, atol=1e-4)
  jax_program.write(network, tmp_path)
  program = jax_program.load(tmp_path)
  squares = np.stack([_square(image) for image in images])
  np.testing.assert_allclose(program(squares), expected, atol=1e-4)
  assert network.description.calibration == (
    "calibrated, softmax of the mean of the network's logits over five crops "
    "/ 2.5, the temperature fitted on validation"
  )


def test_card_of_five_crops_prepares_what_the_files_take(
  five_crop_run, photos, tmp_path
):
  network = from_workdir(five_crop_run)
  model_card.write(network.description, tmp_path)
  card = (tmp_path / model_card.FILE).read_text()
  assert "the mean over five crops of 8 x 8" in card
  assert "Layout: [n, 11, 11, 3]" in card
  (code,) = re.findall(r"```python\n(import pathlib.*?)```", card, re.DOTALL)
  photo = next((photos / "4").iterdir())
  place = {}
  exec(code.replace('"photo.jpg"', repr(str(photo))), place)
  np.testing.assert_array_equal(place["images"][0], network.read(photo))


def test_evaluation_takes_five_crops_of_a_run_without(
  bicubic_run, five_crop_run, capsys
):
  (expected,) = evaluate_run(five_crop_run)
  capsys.readouterr()
  (found,) = evaluate_run(bicubic_run, places={"dataset.five_crop": True})
  said = capsys.readouterr().out
  assert "logits are means over five crops of an image" in said
  assert "under config.dataset.five_crop False and is not used" in said
  for measure in ("overall", "nll", "ece"):
    assert found[measure] == pytest.approx(expected[measure])


def test_epochs_are_validated_by_the_centre_crop_alone(
  bicubic_run, five_crop_run
):
  """So `five_crop` changes nothing in the training."""
  found = []
  for workdir in (bicubic_run, five_crop_run):
    run = Run(directory.read_config(workdir))
    template = run.state_shapes()
    arrays, _ = read_epoch(workdir, template.arrays(), checkpoint="best")
    state = build.restored(run.config, template, arrays)
    confusion = run.evaluate(state, "validation", stage=1).confusion
    _, kept = run.predict(state, "validation", stage=1, keep=10**6)
    found.append((confusion, kept.logits))
  (one, centre), (two, mean) = found
  np.testing.assert_array_equal(one, two)
  network = from_workdir(bicubic_run).uncalibrated()
  views = np.concatenate(
    [_views(image) for image in run.dataset.validation.images]
  )
  each = np.asarray(network.logits_of_pixels(views)).reshape(-1, 5, 10)
  np.testing.assert_allclose(centre, each[:, 4], atol=1e-4)
  np.testing.assert_allclose(mean, each.mean(axis=1), atol=1e-4)


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
