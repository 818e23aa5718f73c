"""The recipe of configs/finetune.py, and what becomes of it without weights."""

from typing import Any

from blt_jax.config.check import flatten, with_values
from blt_jax.config.rules import AUTO
from blt_jax.config.schema import Config

# How a pretrained network is fine-tuned. What a method sets (METHODS of
# configs/common.py) does not belong here: it would not stay what it is where
# there are no weights.
RECIPE: dict[str, Any] = {
  "model.pretrained": AUTO,
  "model.train": AUTO,
  "model.hidden": 0,
  "model.classifier_init": "class_means",
  "model.loss": "logit_adjustment",
  "optimizer.name": "adamw",
  "optimizer.weight_decay": 0.05,
  "optimizer.schedule": "cosine",
  "optimizer.rate_batch_size": 64,
  "stage1.epochs": 10,
  "stage1.patience": 4,
  "stage1.backbone_rate": 0.003,
  "stage1.classifier_rate": 0.001,
  "stage2.epochs": 10,
  "stage2.patience": 4,
  "stage2.backbone_rate": 0.0003,
  "stage2.classifier_rate": 0.0001,
  "stage2.new_classifier": False,
  "dataset.crop_scale": (0.3, 1.0),
  "dataset.rotation": 0.0,
  "dataset.brightness": 0.0,
  "dataset.contrast": 0.0,
  "dataset.saturation": 0.0,
}


def from_scratch(config: Config) -> Config:
  """A configuration that is to begin without weights.

  What it has of `RECIPE` becomes what it is without one; other values stay, as
  they are somebody's choice.
  """
  ours, usual = flatten(config), flatten(Config())
  recipe = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in RECIPE.items()
  }
  values = {
    name: usual[name] for name, value in recipe.items() if ours[name] == value
  }
  return with_values(config, {**values, "model.pretrained": ""})
