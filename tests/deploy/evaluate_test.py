import csv

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy.evaluate import evaluate
from blt_jax.deploy.export import export
from blt_jax.deploy.load import load


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


def _rows(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def test_accuracies_and_rows_are_those_of_the_network(
  model, digits, folder, tmp_path, capsys
):
  output = tmp_path / "made" / "results.csv"
  tested = evaluate(model, folder, output=output)
  # The run tested on the same images.
  for group, expected in model.description.accuracy["test"].items():
    assert tested.accuracies[group] == pytest.approx(expected, nan_ok=True)
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
  assert said[-4].startswith(f"{folder}: {len(digits)} images of 10 classes;")
  assert said[-3].startswith("top-1  overall ")
  assert said[-2].startswith("top-5  overall ")
  assert said[-1] == f"a row for each image: {output}"


def test_export_is_tested_as_its_run_is(model, folder, tmp_path):
  export(model, tmp_path / "exported", names=["safetensors"])
  found = evaluate(load(tmp_path / "exported"), folder).accuracies
  assert found == evaluate(model, folder).accuracies


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
