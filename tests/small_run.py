"""A run in small, for the tests that train."""

from configs import digits_lt


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
