"""The paper's data sets through their configs, in the layouts on disk."""

import importlib
import json
import pathlib
import re

import jax
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.training import build
from blt_jax.training.run import Run
from tests.small_run import make_config


def _config(name, **fields):
  config = importlib.import_module(f"configs.{name}").get_config()
  config.dataset.update(fields)
  return config


def _touch(root, paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()


def _lists(root, prefix, **lists):
  for part, lines in lists.items():
    (root / f"{prefix}_{part}.txt").write_text("\n".join(lines) + "\n")


IMAGENET = {
  "train": ["train/n01/n01_1.JPEG 0", "train/n02/n02_1.JPEG 1"],
  "val": ["train/n01/n01_2.JPEG 0"],
  "test": ["val/n02/ILSVRC2012_val_00000001.JPEG 1"],
}


def _train_images(root):
  _touch(root, [f"train/n0{c}/n0{c}_{i}.JPEG" for c in (1, 2) for i in (1, 2)])


@pytest.mark.parametrize("folder", ["val", "val/n02"])
def test_imagenet_lt_from_folders(tmp_path, folder):
  _lists(tmp_path, "ImageNet_LT", **IMAGENET)
  _train_images(tmp_path)
  _touch(tmp_path, [f"{folder}/ILSVRC2012_val_00000001.JPEG"])
  dataset = build.build_dataset(_config("imagenet_lt", root=str(tmp_path)))
  assert dataset.class_names == ("n01", "n02")
  np.testing.assert_array_equal(dataset.class_counts, [1, 1])
  assert dataset.validation.paths[0] == str(tmp_path / "train/n01/n01_2.JPEG")
  assert dataset.test.paths[0] == str(
    tmp_path / folder / "ILSVRC2012_val_00000001.JPEG"
  )


def test_imagenet_lt_with_a_file_of_names(tmp_path):
  _lists(tmp_path, "ImageNet_LT", **IMAGENET)
  _train_images(tmp_path)
  _touch(tmp_path, ["val/ILSVRC2012_val_00000001.JPEG"])
  (tmp_path / "names.txt").write_text("tench\ngoldfish\n")
  config = _config("imagenet_lt", root=str(tmp_path), class_names="names.txt")
  assert build.build_dataset(config).class_names == ("tench", "goldfish")


@pytest.mark.parametrize("names", ["", "categories_places365.txt"])
@pytest.mark.parametrize("folder", ["val/desert-sand", "val_256", "val_large"])
def test_places_lt_from_folders(tmp_path, folder, names):
  _lists(
    tmp_path,
    "Places_LT",
    train=["train/desert_road/1.jpg 0", "train/desert-sand/1.jpg 1"],
    val=["train/desert_road/2.jpg 0"],
    test=["val/desert-sand/Places365_val_1.jpg 1"],
  )
  (tmp_path / "categories_places365.txt").write_text(
    "/d/desert/sand 0\n/d/desert_road 1\n"
  )
  _touch(tmp_path, ["train/desert-sand/1.jpg"])
  _touch(tmp_path, [f"train/desert_road/{i}.jpg" for i in (1, 2)])
  _touch(tmp_path, [f"{folder}/Places365_val_1.jpg"])
  config = _config("places_lt", root=str(tmp_path), class_names=names)
  dataset = build.build_dataset(config)
  order = ("desert_road", "desert-sand")
  assert dataset.class_names == (order[::-1] if names else order)
  assert dataset.class_names[dataset.test.labels[0]] == "desert-sand"
  assert dataset.class_names[dataset.validation.labels[0]] == "desert_road"


def test_places_lists_that_contradict_are_refused(tmp_path):
  _lists(
    tmp_path,
    "Places_LT",
    train=["train/airfield/1.jpg 0", "train/zoo/1.jpg 1"],
    val=["train/airfield/2.jpg 1"],
    test=["val/zoo/1.jpg 1"],
  )
  with pytest.raises(ValueError, match=r"val\.txt:1: folder 'airfield'"):
    build.build_dataset(_config("places_lt", root=str(tmp_path)))


def _inaturalist(root):
  for file, prefix, count in (("train2018", "t", 8), ("val2018", "v", 3)):
    images = [
      {"id": 2 * i + c, "file_name": f"train_val2018/Aves/{c}/{prefix}{i}.jpg"}
      for i in range(count)
      for c in (0, 1)
      if (i, c) != (7, 1) or prefix == "v"
    ]
    _touch(root, [image["file_name"] for image in images])
    content = {
      "images": images,
      "annotations": [
        {"image_id": image["id"], "category_id": image["id"] % 2}
        for image in images
      ],
      "categories": [{"id": c, "name": f"species {c}"} for c in (0, 1)],
    }
    (root / f"{file}.json").write_text(json.dumps(content))


def test_inaturalist_from_its_json(tmp_path):
  _inaturalist(tmp_path)
  dataset = build.build_dataset(_config("inaturalist2018", root=str(tmp_path)))
  assert dataset.class_names == ("species 0", "species 1")
  np.testing.assert_array_equal(dataset.class_counts, [3, 2])
  np.testing.assert_array_equal(np.bincount(dataset.validation.labels), [5, 5])
  np.testing.assert_array_equal(np.bincount(dataset.test.labels), [3, 3])


def test_settings_of_the_authors_protocol_are_read(tmp_path):
  _inaturalist(tmp_path)
  config = _config("inaturalist2018", root=str(tmp_path), drop_below=3)
  assert build.build_dataset(config).class_names == ("species 0",)


@pytest.mark.parametrize("field", ["root", "train_list"])
def test_inaturalist_says_what_it_needs(field):
  config = _config("inaturalist2018", **{field: ""})
  with pytest.raises(
    ValueError, match=f"config.dataset.{field} is ''.*inaturalist needs it"
  ):
    build.build_dataset(config)


ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMANDS = [
  command
  for name in ("data.md", "datasets.md")
  for command in re.findall(
    r"python main\.py ((?:.*\\\n)*.*)",
    (ROOT / "docs" / name).read_text(encoding="utf-8"),
  )
  if "--config=" in command
]


def test_every_data_set_has_a_command():
  named = set(re.findall(r"configs/(\w+)\.py", " ".join(COMMANDS)))
  files = {path.stem for path in (ROOT / "configs").glob("*.py")}
  of_no_data_set = {"__init__", "common", "digits_lt", "finetune", "lift"}
  assert files - named == of_no_data_set


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_document_are_valid(command):
  flags = re.findall(r"--(\S+?)=(\S+)", command)
  named = re.fullmatch(r"configs/(\w+)\.py(?::(.+))?", dict(flags)["config"])
  config = importlib.import_module(f"configs.{named[1]}").get_config(named[2])
  for flag, value in flags:
    if flag.startswith("config."):
      _, section, field = flag.split(".")
      config[section][field] = type(config[section][field])(value)
  check_config(config)


def test_arrays_go_by_the_folders_config(tmp_path):
  file = tmp_path / "x.npz"
  images = np.zeros((12, 8, 8, 3), np.uint8)
  np.savez(file, train_images=images, train_labels=np.repeat([0, 1], 6))
  config = _config("image_folder", source="npz", root=str(file))
  np.testing.assert_array_equal(
    build.build_dataset(config).class_counts, [3, 3]
  )


def test_learning_rates_are_in_proportion_to_the_batch():
  """Rates for 256 images: a batch of 64 has a quarter of them."""
  steps = {}
  for size, made_for in ((64, 0), (64, 256), (64, 64)):
    config = make_config()
    config.optimizer.update(rate_batch_size=made_for, weight_decay=0.0)
    config.stage1.update(batch_size=size, backbone_rate=0.1)
    config.stage1.classifier_rate = 0.2
    run = Run(config)
    stage = run.stages[0]
    state = build.init_state(config, run.model, 10)
    tx = build.build_optimizer(config, stage)
    ones = jax.tree.map(np.ones_like, state.params)
    updates, _ = tx.update(ones, state.opt_state, state.params)
    backbone = np.unique(updates["backbone"]["conv1"]["kernel"])
    steps[made_for] = (*backbone, *np.unique(updates["classifier"]["kernel"]))
  np.testing.assert_allclose(steps[0], (-0.1, -0.2), rtol=1e-6)
  np.testing.assert_allclose(steps[256], (-0.025, -0.05), rtol=1e-6)
  assert steps[64] == steps[0]
