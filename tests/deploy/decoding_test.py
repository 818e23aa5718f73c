"""A trained network reads files as its training did, also after an export."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from blt_jax.config import with_values
from blt_jax.data import input_pipeline
from blt_jax.data.dataset import Split
from blt_jax.data.reading import decode
from blt_jax.deploy import from_run, load, model_card, predict
from blt_jax.deploy.formats import safetensors_file
from blt_jax.deploy.model import TrainedModel
from blt_jax.training import build
from blt_jax.workdir import directory

FIELDS = {
  "dataset.background": (10, 20, 200),
  "dataset.exif_orientation": True,
  "dataset.grey_range": (-100.0, 4000.0),
  "dataset.image_size": 8,
  "dataset.resize_size": 9,
  "dataset.interpolation": "bicubic",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Turned, transparent and deep images."""
  folder = tmp_path_factory.mktemp("files")
  ramp = np.add.outer(np.arange(20), np.arange(30) * 4).astype(np.uint8)
  exif = Image.Exif()
  exif[0x0112] = 6
  images = {
    "turned.jpg": Image.fromarray(np.dstack([ramp] * 3)),
    "transparent.png": Image.fromarray(np.dstack([ramp] * 4)),
    "deep.png": Image.fromarray(ramp.astype(np.uint16) * 29),
    "signed.tiff": Image.fromarray(ramp.astype(np.int32) * 29 - 100),
  }
  for name, image in images.items():
    image.save(folder / name, exif=exif)
  return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def config(run):
  return with_values(directory.read_config(run), FIELDS)


@pytest.fixture(scope="module")
def decoding_model(model, config):
  """The run's network, as if its images had been such files."""
  names = ("background", "exif_orientation", "grey_range")
  names += ("image_size", "resize_size", "interpolation")
  values = {name: getattr(config.dataset, name) for name in names}
  about = dataclasses.replace(model.description, **values)
  return TrainedModel(about, model.variables)


def test_pixels_are_those_of_the_evaluation(config, decoding_model, files):
  split = Split(np.zeros(len(files), int), paths=[str(f) for f in files])
  (batch,) = input_pipeline.eval_batches(
    split,
    batch_size=len(files),
    image_size=config.dataset.image_size,
    resize_size=config.dataset.resize_size,
    decoding=build.decoding(config),
    interpolation="bicubic",
  )
  for path, image in zip(files, batch.image, strict=True):
    np.testing.assert_array_equal(decoding_model.read(path), image, str(path))


def test_a_run_tells_its_network_how_to_read(config, model):
  kept = {
    field.name: getattr(model.description, field.name)
    for field in dataclasses.fields(model.description)
  }
  described = from_run._describe(
    config,
    **{
      name: kept[name]
      for name in (
        "class_names",
        "class_counts",
        "logit_offset",
        "temperature",
        "checkpoint",
        "stage",
        "epoch",
        "accuracy",
      )
    },
  )
  assert described.decoding == build.decoding(config)
  assert described.decoding.grey_range == (-100, 4000)


def test_an_export_reads_as_the_run_does(decoding_model, files, tmp_path):
  safetensors_file.write(decoding_model, tmp_path)
  exported = load.load(tmp_path)
  assert not exported.description.differing(decoding_model.description)
  for path in files:
    np.testing.assert_array_equal(
      exported.read(path), decoding_model.read(path), str(path)
    )
  names = [str(path) for path in files]
  for one, two in zip(
    predict.predictions_of(exported, names),
    predict.predictions_of(decoding_model, names),
    strict=True,
  ):
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_networks_that_read_otherwise_are_other_networks(decoding_model):
  about = decoding_model.description
  for values in (
    {"background": (0, 0, 0)},
    {"exif_orientation": False},
    {"grey_range": ()},
    {"interpolation": "bilinear"},
  ):
    other = dataclasses.replace(about, **values)
    assert about.differing(other) == tuple(values)


def test_deep_images_are_refused_where_there_were_none(model, files):
  (deep,) = [path for path in files if path.name == "deep.png"]
  with pytest.raises(decode.ImageError, match="none of the training images"):
    model.read(deep)


def test_the_cards_code_prepares_as_the_network_does(
  decoding_model, files, tmp_path, monkeypatch
):
  model_card.write(decoding_model.description, tmp_path)
  card = (tmp_path / model_card.FILE).read_text()
  assert "-100 is black and 4000 white" in card
  (code,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    if "Image.open" in block
  ]
  values, scaled = re.findall(r"`((?:values|image) = [^`]*)`", card)
  for path in files:
    program = code.replace('"photo.jpg"', repr(str(path)))
    if path.name in ("deep.png", "signed.tiff"):
      program = program.replace("rgba =", f"{values}\n{scaled}\nrgba =")
    place = {}
    exec(program, place)
    np.testing.assert_array_equal(
      place["images"][0], decoding_model.read(path), str(path)
    )
