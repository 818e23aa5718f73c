"""The temperature of a run: which is taken, and where it is applied."""

import dataclasses
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from scipy.special import softmax

import blt_jax
from blt_jax.config import with_values
from blt_jax.deploy import command, export, model_card
from blt_jax.deploy.description import Description
from blt_jax.deploy.formats import jax_program, safetensors_file, saved_model
from blt_jax.deploy.from_run import from_workdir
from blt_jax.workdir import directory
from tests.deploy.conftest import set_results

OFFSET = tuple(np.linspace(-2, 3, 10).tolist())


@pytest.fixture(scope="module")
def calibrated(model):
  """The network with an adjustment and a temperature."""
  return dataclasses.replace(
    model,
    description=dataclasses.replace(
      model.description, logit_offset=OFFSET, temperature=1.75
    ),
  )


@pytest.fixture(scope="module")
def images(model):
  return export.sample_images(model.image_size)


@pytest.fixture(scope="module")
def probabilities(calibrated, images):
  """softmax((raw + offset) / T) in float64, and raw from the network alone."""
  raw = calibrated.module().apply(
    calibrated.variables, calibrated.normalize(images), train=False
  )
  return softmax((np.asarray(raw, np.float64) + OFFSET) / 1.75, axis=1)


def test_logits_are_divided_after_the_adjustment(
  calibrated, images, probabilities
):
  for logits in (
    calibrated.logits(images),
    calibrated.logits_of_pixels(images),
    calibrated.calibrated_fn(calibrated.normalize(images)),
  ):
    np.testing.assert_allclose(softmax(logits, axis=1), probabilities, 1e-4)


def test_perturbation_sees_the_logits_of_the_training(calibrated, images):
  normalized = calibrated.normalize(images)
  raw = calibrated.module().apply(calibrated.variables, normalized, train=False)
  np.testing.assert_allclose(
    calibrated.logits_fn(normalized), np.asarray(raw) + OFFSET, 1e-5, 1e-5
  )


@pytest.mark.parametrize("format", [jax_program, safetensors_file, saved_model])
def test_formats_give_calibrated_probabilities(
  calibrated, images, probabilities, tmp_path, format
):
  format.write(calibrated, tmp_path)
  logits = format.load(tmp_path)(images)
  np.testing.assert_allclose(softmax(logits, axis=1), probabilities, 1e-4)
  if format is saved_model:
    file = tmp_path / saved_model.FOLDER / "assets.extra" / "model.json"
    about = Description.from_json(json.loads(file.read_text()), source="file")
    assert about == calibrated.description


@pytest.mark.parametrize("which, temperature", [("best", 2.5), ("last", 0.75)])
def test_each_epoch_has_its_temperature(
  calibrated_run, which, temperature, capsys
):
  network = from_workdir(calibrated_run, checkpoint=which)
  assert network.description.temperature == temperature
  assert capsys.readouterr().out == ""


def test_load_takes_it_and_can_leave_it_out(calibrated_run, images):
  network = blt_jax.load(calibrated_run)
  plain = network.uncalibrated()
  assert plain.description.temperature == 1
  np.testing.assert_allclose(
    2.5 * network.logits(images), plain.logits(images), 1e-5
  )


@pytest.fixture
def changeable(calibrated_run, tmp_path):
  """A copy of the run that a test may change."""
  return shutil.copytree(calibrated_run, tmp_path / "run")


@pytest.mark.parametrize(
  "change, tau, reason",
  [
    (lambda run: None, 1.5, "the run's temperature holds for its own posthoc"),
    (
      lambda run: (run / directory.RESULTS).unlink(),
      None,
      "results.json is not there, which the end of the run writes",
    ),
    (
      lambda run: set_results(run, "best", epoch=99),
      0.0,
      "results.json is of another best epoch",
    ),
    (
      lambda run: set_results(run, "best", temperature=None),
      None,
      "results.json has no best.temperature",
    ),
  ],
)
def test_without_a_temperature_a_line_says_why(
  changeable, capsys, change, tau, reason
):
  change(changeable)
  network = from_workdir(changeable, posthoc_tau=tau)
  assert network.description.temperature == 1
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith("note: probabilities are not calibrated: ")
  assert reason in line


def test_a_run_that_is_made_longer_loses_it(changeable, capsys):
  config = directory.read_config(changeable)
  directory.lengthen(changeable, with_values(config, {"stage1.epochs": 9}))
  assert from_workdir(changeable).description.temperature == 1
  assert "results.json is not there" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0, -1.5, "2", True])
def test_wrong_temperatures_are_refused(changeable, value):
  set_results(changeable, "best", temperature=value)
  with pytest.raises(ValueError, match=r"results.json: best.temperature is "):
    from_workdir(changeable)


def test_description_keeps_it(calibrated):
  about = calibrated.description
  content = json.loads(json.dumps(about.to_json()))
  found = Description.from_json(content, source="model.json")
  assert found.temperature == 1.75
  assert not found.differing(about)


@pytest.mark.parametrize("value", [None, 0, -1, "1", float("inf")])
def test_descriptions_without_a_right_one_are_refused(calibrated, value):
  content = calibrated.description.to_json() | {"temperature": value}
  message = "a file: temperature is .*; expected a number above 0"
  with pytest.raises(ValueError, match=message):
    Description.from_json(content, source="a file")


def test_an_export_is_of_one_temperature(calibrated, tmp_path):
  network = export.as_exported(calibrated)
  content = network.description.to_json()
  (tmp_path / export.FILE).write_text(json.dumps(content))
  export.check_folder(tmp_path, network)
  with pytest.raises(ValueError, match=r"\(not the same: temperature\)"):
    export.check_folder(tmp_path, network.uncalibrated())


ERRORS = {"ece": 0.2345, "calibrated": {"ece": 0.0567}}


def with_errors(network):
  measured = {
    split: {**network.description.accuracy[split], **ERRORS}
    for split in ("validation", "test")
  }
  about = dataclasses.replace(network.description, accuracy=measured)
  return dataclasses.replace(network, description=about)


def test_card_has_the_errors_before_and_after(calibrated, tmp_path):
  (tmp_path / "model.safetensors").touch()
  model_card.write(with_errors(calibrated).description, tmp_path)
  card = (tmp_path / "README.md").read_text()
  assert "gives (network + logit_offset) / 1.75, the temperature" in card
  assert "tensors of model.safetensors are the network's own" in card
  assert "| test | 0.234 | 0.057 |" in card
  model_card.write(calibrated.uncalibrated().description, tmp_path)
  card = (tmp_path / "README.md").read_text()
  assert "their softmax is not calibrated" in card


@pytest.mark.parametrize(
  "errors", [{"ece": "low"}, {"calibrated": 1}, {"calibrated": {"ece": []}}]
)
def test_errors_of_strangers_are_checked(calibrated, errors):
  accuracy = {"test": {**calibrated.description.accuracy["test"], **errors}}
  content = calibrated.description.to_json() | {"accuracy": accuracy}
  with pytest.raises(ValueError, match="accuracy is .*; expected percent"):
    Description.from_json(content, source="a file")


def test_card_of_errors_that_are_unknown_says_nothing_of_them(
  calibrated, tmp_path
):
  accuracy = {"test": {**calibrated.description.accuracy["test"], "ece": None}}
  accuracy["test"].pop("calibrated", None)
  about = dataclasses.replace(calibrated.description, accuracy=accuracy)
  model_card.write(about, tmp_path)
  assert "Calibration error" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("calibrate, temperature", [(True, 2.5), (False, 1)])
def test_the_command_line_leaves_it_out_of_runs_and_exports(
  calibrated_run, tmp_path, calibrate, temperature
):
  safetensors_file.write(from_workdir(calibrated_run), tmp_path)
  for place in ({"workdir": str(calibrated_run)}, {"model": str(tmp_path)}):
    network = command.network(
      "export",
      **{"workdir": None, "model": "", **place},
      checkpoint=None,
      posthoc_taus=[],
      calibrate=calibrate,
    )
    assert network.description.temperature == temperature


@pytest.mark.parametrize("temperature", [0.02, 1.75])
def test_a_small_temperature_does_not_enlarge_what_may_differ(
  calibrated, tmp_path, monkeypatch, temperature
):
  about = dataclasses.replace(calibrated.description, temperature=temperature)
  network = dataclasses.replace(calibrated, description=about)

  def run(command, **_):
    """Another process whose logits differ by 5e-5 before the temperature."""
    place = pathlib.Path(command[-2])
    logits = network.logits_of_pixels(np.load(place / "images.npy"))
    np.save(place / "jax.npy", np.asarray(logits) + 5e-5 / temperature)
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(subprocess, "run", run)
  found = export.compare(network, tmp_path, ["jax"])["jax"]
  assert found == pytest.approx(5e-5, rel=0.3)
