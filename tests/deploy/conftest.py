"""One small run for all tests of what is done with a trained network."""

import json
import shutil

import pytest
from PIL import Image

from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy.from_run import from_workdir
from blt_jax.workdir import directory
from tests.small_run import trained_run


@pytest.fixture(scope="session")
def run():
  return trained_run()


@pytest.fixture(scope="session")
def model(run):
  return from_workdir(run)


@pytest.fixture(scope="session")
def calibrated_run(run, tmp_path_factory):
  """The run with temperatures that are easily told apart; none may change it.

  Those of an own training depend on the machine in their last digits.
  """
  copy = tmp_path_factory.mktemp("calibrated") / "run"
  shutil.copytree(run, copy)
  set_results(copy, "best", temperature=2.5)
  set_results(copy, "last", temperature=0.75)
  return copy


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
  """The digits' test images as files, in folders called as their classes."""
  folder = tmp_path_factory.mktemp("photos")
  test = load_digits_lt().test
  for number, (label, image) in enumerate(
    zip(test.labels, test.images, strict=True)
  ):
    path = folder / str(label) / f"{number:03d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
  return folder


def set_results(run, which, **fields):
  """Sets fields of an epoch in a run's results.json; None removes one."""
  path = run / directory.RESULTS
  results = json.loads(path.read_text())
  for name, value in fields.items():
    results[which].pop(name, None)
    if value is not None:
      results[which][name] = value
  path.write_text(json.dumps(results))
