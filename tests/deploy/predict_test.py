"""Predictions of image files by a run, and by an export of it alone."""

import csv
import dataclasses
import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from blt_jax.config import with_values
from blt_jax.data.sources import load_digits_lt
from blt_jax.deploy import from_run, predict
from blt_jax.deploy.from_run import from_workdir
from blt_jax.report.record import read_run
from blt_jax.training.evaluate import evaluate_run
from blt_jax.workdir import directory
from tests.small_run import ROOT


def rows_of(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def test_predictions_are_those_of_the_runs_own_test(
  run, model, photos, tmp_path
):
  output = tmp_path / "new" / "predictions.csv"
  assert predict.predict(model, photos, output) == 0
  rows = rows_of(output)
  confusion = np.zeros((10, 10), int)
  for row in rows:
    label = os.path.basename(os.path.dirname(row["path"]))
    confusion[int(label), int(row["class"])] += 1
  expected = read_run(run).entries("test-best").matrix()
  np.testing.assert_array_equal(confusion, expected)
  assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)


def test_columns(model, photos, tmp_path):
  output = tmp_path / "a.csv"
  predict.predict(model, photos / "3", output)
  rows = rows_of(output)
  assert list(rows[0]) == [
    "path",
    "class",
    "probability",
    *(f"{what}_{k}" for k in range(1, 6) for what in ("class", "probability")),
  ]
  for row in rows:
    assert row["class"] == row["class_1"]
    assert row["probability"] == row["probability_1"]
    ranked = [float(row[f"probability_{k}"]) for k in range(1, 6)]
    assert ranked == sorted(ranked, reverse=True)
    assert len({row[f"class_{k}"] for k in range(1, 6)}) == 5


def test_probabilities_are_softmax_of_the_logits(model, photos):
  path = next((photos / "0").iterdir())
  (found,) = predict.predictions_of(model, [str(path)])
  pixels = np.asarray(Image.open(path).convert("RGB"))[None]
  logits = np.asarray(model.logits_of_pixels(pixels), np.float64)[0]
  expected = np.exp(logits - logits.max())
  expected = np.sort(expected / expected.sum())[::-1][:5]
  np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


def test_probability_is_calibrated_and_unsure_classes_are_left_out(
  calibrated_run, photos, tmp_path, capsys
):
  network, output = from_workdir(calibrated_run), tmp_path / "a.csv"
  predict.predict(network, photos / "3", output)
  said = capsys.readouterr().out.splitlines()
  assert said[1].startswith(
    "probability: calibrated, softmax of the network's logits / 2.5, "
  )
  without = rows_of(output)
  pixels = [
    np.asarray(Image.open(row["path"]).convert("RGB")) for row in without
  ]
  raw = 2.5 * network.logits(pixels).astype(np.float64)
  expected = softmax(raw / 2.5, axis=1).max(axis=1)
  found = np.array([float(row["probability"]) for row in without])
  np.testing.assert_allclose(found, expected, atol=2e-6)
  # One of the probabilities as the file has it: it is not below itself.
  threshold = float(np.sort(found)[len(found) // 2])
  predict.predict(network, photos / "3", output, min_confidence=threshold)
  rows = rows_of(output)
  assert list(rows[0])[:5] == [
    *("path", "class", "probability", "decision", "class_1"),
  ]
  for row, other, probability in zip(rows, without, found, strict=True):
    kept = probability >= threshold
    assert row.pop("decision") == ("kept" if kept else "below min_confidence")
    assert row.pop("class") == (other.pop("class") if kept else "")
    other.pop("class", None)
    assert row == other
  below = int(np.sum(found < threshold))
  assert 0 < below < len(rows)
  said = capsys.readouterr().out.splitlines()
  assert said[2].endswith(f"  below {threshold:g}")
  assert said[-1].split()[-3:] == [
    *(f"{len(rows)}", f"{found.mean():.3f}", f"{below}"),
  ]


def test_without_a_temperature_the_console_says_so(
  model, photos, tmp_path, capsys
):
  predict.predict(model.uncalibrated(), photos / "3", tmp_path / "a.csv")
  said = capsys.readouterr().out.splitlines()
  assert said[1].endswith("logits, not calibrated")


def test_more_images_than_a_batch_holds_keep_their_order(model, photos):
  (path,) = predict.find_images(next((photos / "7").iterdir()))
  others = predict.find_images(photos / "1")
  paths = [*others, path] * 12
  found = list(predict.predictions_of(model, paths))
  assert [prediction.path for prediction in found] == paths
  alone = next(iter(predict.predictions_of(model, [path])))
  np.testing.assert_allclose(
    found[-1].probabilities, alone.probabilities, atol=1e-6
  )


def test_any_real_image_format(model, tmp_path):
  photo = Image.fromarray(
    np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
  )
  folder = tmp_path / "photos"
  folder.mkdir()
  photo.save(folder / "a.JPG", format="jpeg")
  photo.convert("L").save(folder / "b.png")
  photo.convert("CMYK").save(folder / "c.tiff")
  photo.convert("P").save(folder / "d.gif")
  photo.save(folder / "e.webp")
  (folder / "notes.txt").write_text("no image")
  (folder / ".hidden.png").write_bytes(b"")
  output = tmp_path / "a.csv"
  assert predict.predict(model, folder, output) == 0
  names = [os.path.basename(row["path"]) for row in rows_of(output)]
  assert names == ["a.JPG", "b.png", "c.tiff", "d.gif", "e.webp"]


def test_unreadable_files_are_named_and_left_out(
  model, photos, tmp_path, capsys
):
  folder = tmp_path / "photos"
  folder.mkdir()
  pixels = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
  Image.fromarray(pixels).save(folder / "good.png")
  whole = (folder / "good.png").read_bytes()
  (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
  (folder / "text.jpg").write_text("no image")
  (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
  output = tmp_path / "a.csv"
  assert predict.predict(model, folder, output) == 3
  (row,) = rows_of(output)
  assert row["path"] == str(folder / "good.png")
  (cut,) = predict.predictions_of(model, [str(folder / "cut.png")])
  assert cut.problem.startswith("damaged")
  assert len(cut.classes) == len(cut.probabilities) == 0
  captured = capsys.readouterr()
  assert f"left out: {folder / 'cut.png'}: damaged" in captured.err
  assert f"left out: {folder / 'text.jpg'}: not an image" in captured.err
  assert f"left out: {folder / 'gone.jpg'}: No such file" in captured.err
  assert f"1 of 4 images classified: {output}" in captured.out


def test_folders_are_searched_as_in_training(tmp_path):
  for place in ("a", "a/b", ".thumbnails", "elsewhere/c"):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "1.png").touch()
  (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "a" / "circle").symlink_to(tmp_path / "a")
  found = predict.find_images(tmp_path / "a")
  assert [path[len(str(tmp_path)) + 1 :] for path in found] == [
    "a/1.png",
    "a/b/1.png",
    "a/link/c/1.png",
  ]


def test_names_that_are_not_utf_8_keep_their_bytes(model, photos, tmp_path):
  folder = tmp_path / "images"
  folder.mkdir()
  photo = next((photos / "7").iterdir())
  (folder / "caf\udce9.png").write_bytes(photo.read_bytes())
  output = tmp_path / "out.csv"
  assert predict.predict(model, folder, output) == 0
  assert os.fsencode(folder) + b"/caf\xe9.png," in output.read_bytes()


@pytest.mark.parametrize("name", ["a\rb", 'a\nb, "c"'])
def test_names_with_ends_of_lines_stay_one_row(model, photos, tmp_path, name):
  folder = tmp_path / "images"
  folder.mkdir()
  photo = next((photos / "7").iterdir())
  (folder / f"{name}.png").write_bytes(photo.read_bytes())
  output = tmp_path / "out.csv"
  predict.predict(model, folder, output)
  (row,) = rows_of(output)
  assert row["path"] == str(folder / f"{name}.png")


def test_images_of_any_size_are_prepared_as_files_are(model, photos):
  paths = predict.find_images(photos / "3")[:70]
  images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
  images[0] = np.asarray(Image.open(paths[0]).convert("RGB").resize((30, 20)))
  found = model.predict(images)
  wanted = [p.classes[0] for p in predict.predictions_of(model, paths)]
  np.testing.assert_array_equal(found[1:], wanted[1:])
  logits = model.logits(images)
  assert logits.shape == (len(images), 10)
  np.testing.assert_allclose(logits[:1], model.logits(images[:1]), atol=1e-4)
  assert model.predict([]).shape == (0,)
  with pytest.raises(ValueError, match=r"image 0 is float64 of shape \(8, 8\)"):
    model.predict(np.zeros((1, 8, 8)))


def test_an_image_is_not_overwritten(model, photos, tmp_path):
  photo = tmp_path / "7.png"
  content = next((photos / "7").iterdir()).read_bytes()
  photo.write_bytes(content)
  for source in (photo, tmp_path):
    with pytest.raises(ValueError, match="is one of the images"):
      predict.predict(model, source, photo)
  assert photo.read_bytes() == content


@pytest.mark.parametrize("place", ["/dev/null", "."])
def test_output_has_to_be_a_file(model, photos, place):
  with pytest.raises(ValueError, match="expected a file"):
    predict.predict(model, photos, pathlib.Path(place))


def test_an_interrupted_prediction_leaves_the_old_file(
  model, photos, tmp_path, monkeypatch
):
  output = tmp_path / "a.csv"
  output.write_text("old")
  predictions_of = predict.predictions_of

  def interrupted(model, paths):
    yield from itertools.islice(predictions_of(model, paths), 3)
    raise KeyboardInterrupt

  monkeypatch.setattr(predict, "predictions_of", interrupted)
  with pytest.raises(KeyboardInterrupt):
    predict.predict(model, photos, output)
  assert output.read_text() == "old"
  assert list(tmp_path.iterdir()) == [output]


def test_posthoc_adjustment_is_part_of_the_logits(run, model):
  config = with_values(directory.read_config(run), {"model.posthoc_tau": 1.5})
  counts = (100, *[10] * 9)
  names = [*"0123456789"]
  offset = from_run._logit_offset(config, names, counts, stage=1)
  expected = -1.5 * np.log(np.array(counts) / 190)
  np.testing.assert_allclose(offset, expected, rtol=1e-5)
  assert model.description.logit_offset is None
  adjusted = dataclasses.replace(
    model,
    description=dataclasses.replace(model.description, logit_offset=offset),
  )
  images = np.ones((2, 8, 8, 3), np.float32)
  np.testing.assert_allclose(
    adjusted.logits_fn(images),
    np.asarray(model.logits_fn(images)) + expected,
    rtol=1e-5,
  )


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_evaluate_tries_posthoc_taus_without_training(
  run, model, checkpoint, capsys
):
  taus = (0.0, 1.0)
  found = evaluate_run(run, checkpoint=checkpoint, posthoc_taus=taus)
  lines = capsys.readouterr().out.splitlines()
  own = from_workdir(run, checkpoint=checkpoint)
  dataset, counts = load_digits_lt(), np.array(own.description.class_counts)
  for tau, tested in zip(taus, found, strict=True):
    # The digits of 8 pixels are neither resized nor cropped.
    images = dataset.test.images
    logits = np.asarray(own.logits_fn(own.normalize(images)))
    predicted = np.argmax(logits - tau * np.log(counts / counts.sum()), axis=1)
    right = predicted == dataset.test.labels
    each = [right[dataset.test.labels == c].mean() for c in range(10)]
    assert tested["overall"] == pytest.approx(100 * np.mean(each), abs=1e-4)
    model = from_workdir(run, checkpoint=checkpoint, posthoc_tau=tau)
    assert bool(model.description.accuracy) == (tau == 0.0)
    ours = np.argmax(model.logits_of_pixels(images), axis=1)
    np.testing.assert_array_equal(ours, predicted)
  assert found[0] != found[1]
  assert f"the {checkpoint} so far" in lines[0]
  assert lines[1].startswith("tau 0    validation  overall ")
  assert lines[4].startswith("         test        overall ")
  assert len(lines) == 5


def test_best_and_last_are_other_weights(run):
  best, last = (
    from_workdir(run, checkpoint=which) for which in ("best", "last")
  )
  assert best.description.epoch != last.description.epoch
  assert best.description.accuracy["test"] != last.description.accuracy["test"]


def test_command_line(run, photos, tmp_path):
  (photos / "0" / "broken.png").write_bytes(b"no image")
  try:
    finished = subprocess.run(
      [
        sys.executable,
        "main.py",
        "--mode=predict",
        f"--workdir={run}",
        f"--input={photos / '0'}",
        f"--output={tmp_path / 'a.csv'}",
      ],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
  finally:
    (photos / "0" / "broken.png").unlink()
  assert finished.returncode == 1
  assert "broken.png: not an image" in finished.stderr
  assert len(rows_of(tmp_path / "a.csv")) == 34
