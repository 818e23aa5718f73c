"""A run in small, for the tests that train."""

import pathlib

from blt_jax.training.train import train
from configs import digits_lt

ROOT = pathlib.Path(__file__).resolve().parents[1]


def make_config(variant="", **fields):
  """The digits at 8 pixels, 1 + 2 epochs."""
  config = digits_lt.get_config(f"batch=64,seed=3{variant}")
  config.num_devices = 1
  config.dataset.image_size = config.dataset.resize_size = 8
  config.stage1.epochs, config.stage2.epochs = 1, 2
  for name, value in fields.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  return config


def trained_run(workdir):
  """A finished run whose best epoch is not its last; returns its directory."""
  config = make_config(
    stage1__epochs=3, stage2__epochs=0, stage1__backbone_rate=0.5
  )
  train(config, workdir)
  return workdir
