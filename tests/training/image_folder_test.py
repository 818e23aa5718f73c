"""A run on image folders with a very long tail and everything left open."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import pathlib
import re
import shutil

import ml_collections
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from blt_jax.config import check_config
from blt_jax.data import sources
from blt_jax.deploy import from_run
from blt_jax.deploy.labelled import find_labelled
from blt_jax.report import command
from blt_jax.training import build, train
from blt_jax.training.evaluate import evaluate_run
from configs import image_folder
from tests.small_run import one_block


def _write_digits(root):
  """Digits as PNG files: 40 ... 1 a class, the last two never measured."""
  digits = load_digits()
  for label, count in enumerate((40, 24, 12, 8, 3, 1)):
    folder = root / f"digit {label}"
    folder.mkdir(parents=True)
    grey = digits.images[digits.target == label][:count] * 16 - 1
    for i, pixels in enumerate(np.clip(grey, 0, 255).astype(np.uint8)):
      Image.fromarray(pixels).save(folder / f"{i:02d}.png")


@dataclasses.dataclass(frozen=True)
class _Trained:
  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  said: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run on them, 0 + 2 epochs, with everything left open."""
  folder = tmp_path_factory.mktemp("trained")
  _write_digits(folder / "images")
  config = image_folder.get_config()
  config.dataset.root = str(folder / "images")
  config.num_devices = 1
  config.stage1.epochs, config.stage2.epochs = 0, 2
  with one_block():
    with contextlib.redirect_stdout(io.StringIO()) as said:
      train.train(config, folder / "run")
    yield _Trained(config, folder / "run", said.getvalue())


def test_run_says_what_it_found_and_picked(trained):
  lines = trained.said.splitlines()
  assert lines[0] == (
    "image_folder: 58 training images in 6 classes, 30 ... 1 a class (many 0,"
    " medium 1, few 5); 15 validation and 15 test images"
  )
  assert lines[2].split() == ["digit", "0", "30", "5", "5", "medium"]
  assert lines[7].split() == ["digit", "5", "1", "0", "0", "few"]
  assert lines[8:12] == [
    "picked image size 16: the short sides of the images have a median of 8"
    " pixels (58 looked at)",
    "picked backbone small_resnet10: 58 training images of 16 pixels",
    "picked batch size 8: 7 steps an epoch",
    "learning rates times 0.03125 for batches of 8: they are given for 256",
  ]
  assert lines[12].startswith(
    "note: 2 of 6 classes have no validation and no test image (digit 4, digit"
  )


def test_run_measures_without_the_classes_that_have_no_image(trained):
  stored = json.loads((trained.workdir / "results.json").read_text())
  assert stored["class_counts"] == [30, 14, 6, 4, 3, 1]
  for which in ("best", "last"):
    for split in ("validation", "test"):
      values = stored[which][split]
      assert values["many"] is None  # There are none.
      assert None not in (values["overall"], values["medium"], values["few"])


def test_metrics_have_no_number_only_for_groups_without_classes(trained):
  with (trained.workdir / "metrics.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 2
  for row in rows:
    values = {name: float(value) for name, value in row.items()}
    bad = {name for name, value in values.items() if not math.isfinite(value)}
    assert bad == {"val_many", "val_top5_many"}


def test_run_leaves_its_splits_as_a_table_for_the_next_run(trained):
  root = trained.config.dataset.root
  again = sources.load_image_table(root, str(trained.workdir / "splits.csv"))
  first = build.build_dataset(check_config(trained.config))
  assert again.class_names == first.class_names
  for part, split in first.splits.items():
    assert again.splits[part].paths.tolist() == split.paths.tolist()
  assert len(again.train) == 58


def test_splits_of_a_run_lead_to_its_images(trained):
  workdir = trained.workdir
  first = build.build_dataset(check_config(trained.config))
  found = find_labelled(
    str(workdir / "splits.csv"),
    first.class_names,
    run_root=from_run.images_folder(workdir),
  )
  assert found.paths == first.test.paths.tolist()
  assert found.labels.tolist() == first.test.labels.tolist()


def test_report_shows_the_class_of_one_image(trained):
  path = command.write_report([trained.workdir], trained.workdir)
  report = path.read_text()
  assert "digit 5" in report
  assert not re.findall(r"\bnan\b", report)
  assert "left out" not in trained.said


def test_config_of_a_run_has_what_was_picked(trained):
  stored = json.loads((trained.workdir / "config.json").read_text())
  assert stored["dataset"]["image_size"] == 16
  assert stored["dataset"]["resize_size"] == 18
  assert stored["model"]["backbone"] == "small_resnet10"
  assert stored["stage1"]["batch_size"] == stored["stage2"]["batch_size"] == 8
  assert trained.config.dataset.image_size == 0


def test_same_command_again_finds_the_run_finished(trained, capsys):
  train.train(trained.config, trained.workdir)
  assert f"{trained.workdir} is finished" in capsys.readouterr().out


def test_moved_images_are_tested_and_others_refused(trained, tmp_path, capsys):
  images = pathlib.Path(trained.config.dataset.root)
  moved = shutil.copytree(images, tmp_path / "moved")
  before = (trained.workdir / "config.json").read_bytes()
  places = {**_root(moved), "dataset.prior": "natural"}
  (tested,) = evaluate_run(trained.workdir, places=places)
  results = json.loads((trained.workdir / "results.json").read_text())
  assert tested["overall"] == results["best"]["test"]["overall"]
  with (trained.workdir / "classes.csv").open() as file:
    classes = [row for row in csv.DictReader(file) if int(row["test"])]
  found = sum(int(row["train"]) * float(row["recall"]) for row in classes)
  images = sum(int(row["train"]) for row in classes)
  np.testing.assert_allclose(tested["accuracy"], found / images, atol=0.1)
  assert (trained.workdir / "config.json").read_bytes() == before
  assert "splits.csv" not in capsys.readouterr().out
  (moved / "digit 0" / "00.png").unlink()
  with pytest.raises(
    ValueError,
    match=r"class digit 0 has .* there, .* here; .* add --input=FOLDER\.",
  ):
    evaluate_run(trained.workdir, places=_root(moved))
  (moved / "digit 1").rename(moved / "digit one")
  with pytest.raises(
    ValueError, match="'digit 1' is missing here, 'digit one' is new"
  ):
    evaluate_run(trained.workdir, places=_root(moved))


def test_images_that_took_the_place_of_others_are_said(
  trained, tmp_path, capsys
):
  images = pathlib.Path(trained.config.dataset.root)
  moved = shutil.copytree(images, tmp_path / "moved")
  # The only image of its class: no other one changes its split.
  (moved / "digit 5" / "00.png").rename(moved / "digit 5" / "new.png")
  evaluate_run(trained.workdir, places=_root(moved))
  assert (
    f"note: {trained.workdir / 'splits.csv'} lacks 1 of 88 images, such as"
    " 'digit 5/new.png,digit 5,train,': since the run began they were renamed"
  ) in capsys.readouterr().out


def test_missing_images_are_said_with_the_flag_for_their_place(
  trained, tmp_path
):
  with pytest.raises(
    ValueError,
    match=r"root is .*gone.*does not exist.*add --config\.dataset\.root=NEW",
  ):
    evaluate_run(trained.workdir, places=_root(tmp_path / "gone"))


def test_place_that_the_source_does_not_use_is_refused(trained):
  with pytest.raises(ValueError, match=r"dataset\.table is 'a'; expected ''"):
    evaluate_run(trained.workdir, places={"dataset.table": "a"})


def test_finished_run_says_what_it_did_not_look_at(trained, tmp_path, capsys):
  config = trained.config.copy_and_resolve_references()
  config.dataset.root = str(tmp_path / "new")
  train.train(config, trained.workdir)
  said = capsys.readouterr().out.splitlines()
  assert said[0] == (
    f"{trained.workdir} is finished; its images were not looked at again "
    "(images added since are not part of it)."
  )
  assert said[1].endswith(
    f"--mode=evaluate --workdir={trained.workdir} "
    f"--config.dataset.root={tmp_path / 'new'}"
  )


def _root(folder):
  return {"dataset.root": str(folder)}


def test_other_size_than_what_was_picked_is_another_run(trained):
  config = trained.config.copy_and_resolve_references()
  config.dataset.image_size = 8
  with pytest.raises(ValueError, match=r"dataset.image_size \(16 there, 8 her"):
    train.train(config, trained.workdir)
