"""What is said about fields that belong together and don't fit."""

import importlib
import pathlib

import numpy as np
import pytest

from blt_jax.config import check_config, follow, with_values
from blt_jax.training import choose, feeder, together
from blt_jax.training.stages import build_stages, rate_scale
from configs import cifar10_lt

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNTS = np.array([500, 120, 40, 12, 9, 8, 7, 6])
SEEN = choose.Sample(int(COUNTS.sum()), np.array([(100, 130)]))

# What the configurations train with: sides of the image and of its evaluation,
# and the learning rates of both stages, which small batches scale.
DEFAULTS = {
  "cifar100_lt": (32, 36, 128, 0.1, 0.1, 0.01, 0.1),
  "cifar10_lt": (32, 36, 128, 0.1, 0.1, 0.01, 0.1),
  "finetune": (96, 109, 64, 0.003, 0.001, 0.0003, 0.0001),
  "lift": (224, 248, 128, 0.01, 0.01, 0.001, 0.01),
  "digits_lt": (16, 16, 32, 0.1, 0.1, 0.01, 0.1),
  "image_folder": (96, 109, 64, 0.025, 0.025, 0.0025, 0.025),
  "image_list": (96, 109, 64, 0.025, 0.025, 0.0025, 0.025),
  "image_table": (96, 109, 64, 0.025, 0.025, 0.0025, 0.025),
  "imagenet_lt": (224, 256, 256, 0.1, 0.1, 0.01, 0.1),
  "inaturalist2018": (224, 256, 256, 0.1, 0.1, 0.01, 0.1),
  "places_lt": (224, 256, 256, 0.1, 0.1, 0.01, 0.1),
}


def _stages(config, counts=COUNTS):
  return build_stages(config, counts, devices=1)


def _remarks(values, *, num_classes=8):
  config = with_values(check_config(cifar10_lt.get_config()), values)
  config, _ = choose.choose(config, SEEN, num_devices=1)
  stages = _stages(config)
  return together.remarks(config, stages=stages, num_classes=num_classes)


def test_every_configuration_is_among_the_defaults():
  names = {path.stem for path in (ROOT / "configs").glob("*.py")}
  assert names - {"__init__", "common"} == set(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_train_with_these_values_and_without_a_remark(name):
  config = check_config(importlib.import_module(f"configs.{name}").get_config())
  config, _ = choose.choose(config, SEEN, num_devices=1)
  sections = config.stage1, config.stage2
  rates = [
    rate_scale(config, section) * rate
    for section in sections
    for rate in (section.backbone_rate, section.classifier_rate)
  ]
  found = (config.dataset.image_size, config.dataset.resize_size)
  assert config.stage1.batch_size == config.stage2.batch_size
  assert (*found, config.stage1.batch_size, *rates) == DEFAULTS[name]
  stages = _stages(config)
  remarks = together.remarks(config, stages=stages, num_classes=8)
  assert len(remarks) == config.dataset.five_crop  # What it costs.
  is_scaled = config.stage1.batch_size != config.optimizer.rate_batch_size
  assert len(together.rate_lines(config, stages)) == is_scaled


@pytest.mark.parametrize(
  "size, short", [(8, 9), (16, 18), (28, 32), (32, 36), (64, 73), (224, 256)]
)
def test_evaluation_size_follows_the_image_size(size, short):
  config = check_config(cifar10_lt.get_config())
  for source in ("digits", "tfds", "image_list"):
    config = with_values(config, {"dataset.source": source})
    picked, _ = choose.choose(
      with_values(config, {"dataset.image_size": size}), SEEN, num_devices=1
    )
    assert picked.dataset.resize_size == short


@pytest.mark.parametrize(
  "values, line",
  [
    (
      {"dataset.resize_size": 256},
      "config.dataset.resize_size is 256, 8 times config.dataset.image_size, "
      "32: evaluation sees 12 % of the short side of an image; 0 lets it "
      "follow (36)",
    ),
    (
      {"dataset.image_size": 224},
      "config.model.backbone small_resnet10 is for images up to 48 pixels: "
      "with config.dataset.image_size 224 it takes a multiple of the time and "
      "memory of resnet10",
    ),
    (
      {"model.backbone": "resnet10"},
      "config.model.backbone resnet10 makes one pixel of 32 x 32: of "
      "config.dataset.image_size 32 little is left; small_resnet10 is for such "
      "images",
    ),
    (
      {"stage1.epochs": 30},
      "config.stage1.drop_epochs is (25, 32), and config.stage1.epochs 30: the "
      "learning rates drop 1 of 2 times",
    ),
    (
      {"stage2.epochs": 23},
      "config.stage2.drop_epochs is (23, 38, 52), and config.stage2.epochs 23: "
      "the learning rates drop 0 of 3 times",
    ),
    (
      {"stage2.epochs": 110},
      "config.stage2.drop_epochs is (23, 38, 52), and config.stage2.epochs "
      "110: the last 58 epochs are trained with 0.001 of the learning rates",
    ),
    (
      {"model.reweight_epoch": 56},
      "config.model.reweight_epoch is 56, and config.stage2.epochs 55: no "
      "epoch has class weights",
    ),
    (
      {"perturb.start_epoch": 56},
      "config.perturb.start_epoch is 56, and config.stage2.epochs 55: nothing "
      "is hallucinated in it",
    ),
    (
      {"model.reweight_epoch": 50, "stage2.patience": 48},
      "config.model.reweight_epoch is 50, and config.stage2.patience 48: the "
      "stage may end before it",
    ),
    (
      {"perturb.start_epoch": 4, "stage2.patience": 2},
      "config.perturb.start_epoch is 4, and config.stage2.patience 2: the "
      "stage may end before it",
    ),
    (
      {
        "optimizer.name": "adamw",
        "stage1.backbone_rate": 0.001,
        "stage2.epochs": 0,
      },
      "config.stage1.classifier_rate is 0.1, 0.1 for a batch of 128: a step of "
      "adamw changes each weight by about as much, and 0.00001 to 0.001 are "
      "usual",
    ),
    (
      {
        "optimizer.name": "adamw",
        "model.pretrained": "resnet10.safetensors",
        "stage1.backbone_rate": 0.003,
        "stage1.batch_size": 16,
        "stage1.classifier_rate": 0.003,
        "stage2.epochs": 0,
        "optimizer.rate_batch_size": 64,
      },
      "config.stage1.backbone_rate is 0.003, 0.00075 for a batch of 16: a step "
      "of adamw changes each weight by about as much, and 0.00001 to 0.0003 "
      "are usual for pretrained kernels",
    ),
  ],
)
def test_fields_that_do_not_fit_are_announced(values, line):
  assert _remarks(values) == [line]


@pytest.mark.parametrize(
  "values",
  [
    {"dataset.resize_size": 48},
    {"dataset.image_size": 96},
    {"model.backbone": "resnet10", "dataset.image_size": 64},
    {"stage1.epochs": 33},
    {"stage2.epochs": 103},
    {"stage1.drop_epochs": ()},
    {"optimizer.schedule": "cosine", "stage1.epochs": 30},
    {
      "optimizer.name": "adamw",
      "optimizer.schedule": "cosine",
      "model.train": "classifier",
      "model.pretrained": "resnet10.safetensors",
      "model.hidden": 0,
      "stage1.classifier_rate": 0.001,
      "stage2.epochs": 0,
    },
    {"model.reweight_epoch": 55},
    {"perturb.start_epoch": 55},
    {"perturb.start_epoch": 4, "stage2.patience": 3, "stage1.patience": 1},
    {"stage1.epochs": 0},
  ],
)
def test_fields_that_fit_are_not(values):
  assert _remarks(values) == []


@pytest.mark.parametrize(
  "values, classes, name",
  [
    (
      {},
      6,
      "confidence is (0.15, 0.25), not above chance for 6 classes, 0.167",
    ),
    ({}, 7, None),
    (
      {"perturb.confidence": (0.5, 0.6)},
      2,
      "confidence is (0.5, 0.6), not abo",
    ),
    ({"perturb.confidence": (0.6, 0.7)}, 2, None),
    (
      {"perturb.confidence_choices": (0.4, 0.1)},
      9,
      "confidence_choices is (0.4",
    ),
    ({"perturb.max_steps": 0}, 3, None),
    ({"stage2.perturb": False}, 3, None),
    ({"stage2.epochs": 0}, 3, None),
  ],
)
def test_confidences_up_to_chance_are_announced(values, classes, name):
  lines = _remarks(values, num_classes=classes)
  assert len(lines) == (name is not None)
  assert not lines or f"config.perturb.{name}" in lines[0]


def _rate_lines(values):
  config = with_values(check_config(cifar10_lt.get_config()), values)
  return together.rate_lines(config, _stages(config))


def test_rates_of_other_batches_are_scaled_and_said():
  assert _rate_lines({"stage2.batch_size": 32}) == [
    "learning rates times 0.25 for batches of 32: they are given for 128"
  ]
  assert _rate_lines({}) == []


def test_rates_that_are_not_scaled_are_said():
  assert _rate_lines({"optimizer.rate_batch_size": 0}) == [
    "learning rates as they are given, not scaled to batches of 128: "
    "config.optimizer.rate_batch_size is 0"
  ]
  values = {"optimizer.rate_batch_size": 0, "stage1.batch_size": 64}
  assert "batches of 64 and 128: " in _rate_lines(values)[0]


@pytest.mark.parametrize("resize_on", ["auto", "host"])
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_host_that_resizes_for_an_accelerator_is_announced(
  monkeypatch, name, resize_on
):
  fields = {"dataset.interpolation": name, "dataset.resize_on": resize_on}
  assert not _remarks(fields)  # CPUs never resize.
  for module in (together, feeder):
    monkeypatch.setattr(module, "on_cpu", lambda config: False)
  config = follow(with_values(check_config(cifar10_lt.get_config()), fields))
  on_host = feeder.canvas(config) is None
  assert on_host == ("bicubic" in name or resize_on == "host")
  lines = _remarks(fields)
  assert len(lines) == ((name, resize_on) == ("bicubic", "auto"))
  assert not lines or "the host resizes the training crops" in lines[0]


def test_five_crops_are_announced():
  (line,) = _remarks({"dataset.five_crop": True})
  assert line.startswith("config.dataset.five_crop is True: the final test, ")


def test_prior_is_announced():
  (line,) = _remarks({"dataset.prior": "natural"})
  assert line.startswith("config.dataset.prior is natural: it weighs")
