r"""Memory and arithmetic of a training step by `model.train`.

    .venv/bin/python -m benchmarks.training_memory
    .venv/bin/python -m benchmarks.training_memory --backbone=NAME --batch=16

compiles the step that training runs, without hallucination, and prints what XLA
says about it: nothing is computed, no weights and no images are needed.

    trained   parameters, million
    state     weights, optimizer and confusion matrix, MB
    peak      most memory that the step needs, the state included, MB
    GFLOPs    an image
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags

from blt_jax.config import Config, check_config, config_dict
from blt_jax.method.train_step import Batch
from blt_jax.models import takes_adapters
from blt_jax.training import build
from blt_jax.training.stages import build_stages

_BACKBONE = flags.DEFINE_string(
  "backbone", "vit_base_patch16_224", "One of models.BACKBONES."
)
_BATCH = flags.DEFINE_integer("batch", 16, "Images of a step.")
_SIZE = flags.DEFINE_integer("size", 224, "Side of the images, pixels.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes.")
_TRAIN = flags.DEFINE_list("train", [], "Values of model.train; all of them.")


class Measured(NamedTuple):
  """What XLA says about a compiled step.

  Attributes:
    trained: parameters.
    state: bytes of the state.
    peak: most bytes at a time, those of the state included.
    flops: of the whole batch.
  """

  trained: int
  state: int
  peak: int
  flops: float


def make_config(backbone: str, train: str, *, batch: int, size: int) -> Config:
  """The configuration of a run that trains a part of the backbone."""
  config = config_dict()
  config.model.update(
    {
      "backbone": backbone,
      "classifier": "linear",
      "hidden": 0,
      "train": train,
      "pretrained": "weights.safetensors",  # They would not be read yet.
    }
  )
  half = (0.5, 0.5, 0.5)
  config.dataset.update(
    {
      "name": "none",
      "source": "digits",
      "image_size": size,
      "resize_size": size,
      "mean": half,
      "std": half,
    }
  )
  config.stage1.update({"epochs": 1, "batch_size": batch})
  config.stage2.epochs = 0
  config.num_devices = 1
  return check_config(config)


def measure(
  backbone: str, train: str, *, batch: int, size: int, classes: int
) -> Measured:
  """Compiles the step of `batch` images of `size` pixels."""
  config = make_config(backbone, train, batch=batch, size=size)
  counts = np.full(classes, batch)
  (stage,) = build_stages(config, counts, devices=1)
  model = build.build_model(config, classes)
  state = build.state_shapes(config, model, classes)
  labels: Any = jax.ShapeDtypeStruct((1, batch), np.int32)
  images = jax.ShapeDtypeStruct((1, batch, size, size, 3), np.uint8)
  step: Any = build.build_train_step(config, stage, counts, target=None)
  compiled = step.lower(state, Batch(images, labels)).compile()
  memory = compiled.memory_analysis()
  new = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return Measured(
    trained=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    state=memory.argument_size_in_bytes,
    peak=memory.argument_size_in_bytes + new + memory.temp_size_in_bytes,
    flops=compiled.cost_analysis()["flops"],
  )


def main(argv: Sequence[str]) -> None:
  """Prints a line for each value of `model.train`."""
  del argv
  parts = ["all", "last:1", "norms_and_biases", "classifier"]
  if takes_adapters(_BACKBONE.value):
    parts.insert(2, "adapters")
  print(f"{_BACKBONE.value}, {_BATCH.value} images of {_SIZE.value} pixels")
  print(f"{'model.train':>18} {'trained':>9} {'state':>7} {'peak':>7} GFLOPs")
  for train in _TRAIN.value or parts:
    found = measure(
      _BACKBONE.value,
      train,
      batch=_BATCH.value,
      size=_SIZE.value,
      classes=_CLASSES.value,
    )
    print(
      f"{train:>18} {found.trained / 1e6:>9.3f} {found.state / 1e6:>7.0f} "
      f"{found.peak / 1e6:>7.0f} {found.flops / _BATCH.value / 1e9:>6.1f}",
      flush=True,
    )


if __name__ == "__main__":
  app.run(main)
