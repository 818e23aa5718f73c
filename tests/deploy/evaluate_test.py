import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy.evaluate import evaluate
from blt_jax.deploy.export import export
from blt_jax.deploy.from_run import from_workdir
from blt_jax.deploy.load import load
from blt_jax.method import metrics
from blt_jax.training import prior


@pytest.fixture(scope="module")
def digits():
  """The test images of the run."""
  return load_digits_lt().test


@pytest.fixture
def folder(tmp_path, digits):
  """The test images in class folders."""
  for number, (label, image) in enumerate(
    zip(digits.labels, digits.images, strict=True)
  ):
    path = tmp_path / "images" / str(label) / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  return tmp_path / "images"


def _flat(values, name=""):
  """Numbers of dictionaries and lists in each other, by their paths."""
  if isinstance(values, dict | list):
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return {
      path: number
      for key, value in items
      for path, number in _flat(value, f"{name}/{key}").items()
    }
  return {name: values}


def with_prior(model, prior, shares):
  """The network of a run with a `dataset.prior`."""
  about = dataclasses.replace(
    model.description,
    config={"dataset": {"prior": prior}},
    shares=None if shares is None else tuple(shares.tolist()),
  )
  return dataclasses.replace(model, description=about)


def _rows(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def test_accuracies_and_rows_are_those_of_the_network(
  model, digits, folder, tmp_path, capsys
):
  output = tmp_path / "made" / "results.csv"
  tested = evaluate(model, folder, output=output)
  # The run tested on the same images.
  expected = _flat(model.description.accuracy["test"])
  assert _flat(tested.measures) == pytest.approx(expected, rel=1e-4)
  assert tested.problems == 0
  assert tested.images.tolist() == np.bincount(digits.labels).tolist()
  rows = _rows(output)
  assert list(rows[0])[:6] == [
    *("path", "label", "class", "probability", "correct", "class_1"),
  ]
  assert len(rows) == len(digits)
  predicted = model.predict(digits.images)
  for row in rows:
    number = int(row["path"].rsplit("/", 1)[1].removesuffix(".png"))
    assert row["label"] == str(digits.labels[number])
    assert row["class"] == row["class_1"] == str(predicted[number])
    assert row["correct"] == str(int(row["label"] == row["class"]))
  said = capsys.readouterr().out.splitlines()
  assert said[-8].startswith(f"{folder}: {len(digits)} images of 10 classes;")
  assert said[-7].startswith("top-1  overall ")
  assert said[-6].startswith("95 %   overall ")
  assert said[-5].startswith("top-5  overall ")
  assert said[-4].startswith("macro F1 ")
  assert said[-3].startswith("calibration: ECE 0.")
  assert said[-2].startswith("test set: balanced, 340 images: overall is about")
  assert said[-1] == (
    f"a row for each image: {output}; probability: "
    f"{model.description.calibration}"
  )


def test_probabilities_of_the_rows_are_calibrated(
  model, folder, tmp_path, capsys
):
  about = dataclasses.replace(model.description, temperature=3.0)
  calibrated = dataclasses.replace(model, description=about)
  output = tmp_path / "results.csv"
  tested = evaluate(calibrated, folder, output=output).measures
  plain = evaluate(model.uncalibrated(), folder).measures
  confidence, right = np.array(
    [(row["probability"], row["correct"]) for row in _rows(output)], float
  ).T
  # Rows round to six places.
  assert tested["calibrated"]["ece"] == pytest.approx(
    metrics.calibration_error(confidence, right), abs=1e-5
  )
  del tested["calibrated"]["groups"], plain["calibrated"]["groups"]
  for name in tested.keys() - {"calibrated"}:
    assert _flat(tested[name]) == pytest.approx(_flat(plain[name]), rel=1e-4)
  assert plain["calibrated"]["nll"] == plain["nll"]
  assert tested["calibrated"]["nll"] != pytest.approx(plain["nll"])
  said = capsys.readouterr().out
  assert "with temperature 3 (from validation) 0." in said
  assert "no temperature; negative log-likelihood" in said


def test_prior_of_the_training_weighs_the_measures(model, folder, capsys):
  shares = np.arange(1.0, 11) / 55
  found = {
    prior: evaluate(with_prior(model, prior, given), folder).measures
    for prior, given in (("", None), ("shares.csv", shares), ("gone.csv", None))
  }
  assert found[""] == found["gone.csv"]
  assert found[""]["overall"] == found["shares.csv"]["overall"]
  assert found[""]["accuracy"] != pytest.approx(found["shares.csv"]["accuracy"])
  # Balanced classes of few images: their recalls, by the shares.
  labels = load_digits_lt().test.labels
  right = model.predict(load_digits_lt().test.images) == labels
  recalls = [100 * right[labels == c].mean() for c in range(10)]
  assert found["shares.csv"]["accuracy"] == pytest.approx(
    np.average(recalls, weights=shares)
  )
  said = capsys.readouterr().out
  assert "prior shares.csv: F1, accuracy over images, log-likelihood" in said
  assert "note: the training's dataset.prior, gone.csv, plays no part" in said
  assert "of the prior's shares" not in said


def test_shares_of_classes_without_images_are_dealt_to_the_others(
  model, folder, digits, capsys
):
  shutil.rmtree(folder / "9")
  shares = np.arange(1.0, 11) / 55
  found = evaluate(with_prior(model, "shares.csv", shares), folder).measures
  right = model.predict(digits.images) == digits.labels
  recalls = [100 * right[digits.labels == c].mean() for c in range(9)]
  assert found["accuracy"] == pytest.approx(
    np.average(recalls, weights=shares[:9])
  )
  assert (
    "note: of the prior's shares 81.8 % are of classes with images here: these "
    "count as 100 %"
  ) in capsys.readouterr().out


def test_shares_of_a_run_are_those_that_it_began_with(run, tmp_path, model):
  copy = tmp_path / "run"
  shutil.copytree(run, copy)
  assert model.description.shares is None
  content = json.loads((copy / "config.json").read_text())
  counts = np.asarray(model.description.class_counts)
  rows = "".join(f"{c},{c + 1}\n" for c in range(10))
  (copy / prior.FILE).write_text(f"class,share\n{rows}")
  for given, expected in (
    ("natural", counts / counts.sum()),
    ("balanced", np.full(10, 0.1)),
    ("gone.csv", np.arange(1, 11) / 55),
  ):
    content["dataset"]["prior"] = given
    (copy / "config.json").write_text(json.dumps(content))
    about = from_workdir(copy).description
    assert about.prior == given
    np.testing.assert_allclose(about.shares, expected, rtol=1e-12)
  (copy / prior.FILE).unlink()
  assert from_workdir(copy).description.shares is None


def test_export_is_tested_as_its_run_is(model, folder, tmp_path):
  export(model, tmp_path / "exported", names=["safetensors"])
  found = evaluate(load(tmp_path / "exported"), folder).measures
  assert found == evaluate(model, folder).measures


def test_unreadable_files_are_left_out_counted_and_named(
  model, tmp_path, digits, capsys
):
  good = tmp_path / "images" / "3" / "good.png"
  good.parent.mkdir(parents=True)
  Image.fromarray(digits.images[0]).save(good)
  (good.parent / "bad.png").write_bytes(b"no image")
  tested = evaluate(model, tmp_path / "images", output=tmp_path / "out.csv")
  assert tested.problems == 1
  assert tested.images.sum() == 1
  (row,) = _rows(tmp_path / "out.csv")
  assert row["path"] == str(good)
  out, err = capsys.readouterr()
  assert err.startswith(f"left out: {good.parent / 'bad.png'}: ")
  assert "1 image of 1 classes, 1 left out; mean" in out
  assert "note: no image of 9 of the network's 10 classes" in out
  good.unlink()
  with pytest.raises(ValueError, match="none of its 1 images can be read"):
    evaluate(model, tmp_path / "images", output=tmp_path / "none.csv")
  assert not (tmp_path / "none.csv").exists()
