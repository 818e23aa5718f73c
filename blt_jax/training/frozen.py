"""Weights that others trained, and that a run leaves as they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from blt_jax.config import Config
from blt_jax.method.train_step import TrainState
from blt_jax.models import parts, pretrained, torch_weights


def backbone(
  config: Config, *, say: Callable[[str], object] | None = None
) -> dict[str, Any]:
  """The variables in the file of `model.pretrained`.

  Returns:
    {"params": {"backbone"}, "batch_stats": {"backbone"}}; the latter is empty
    for a backbone that has none.

  Raises:
    ValueError: names the file and what is wrong with it, also that it has
      changed.
  """
  model = config.model
  path, _ = pretrained.locate(model.pretrained)
  found = torch_weights.backbone_from_safetensors(
    model.backbone, path, image_size=config.dataset.image_size, say=say
  )
  pretrained.check_sha256(
    model.pretrained, pretrained.sha256(path), model.pretrained_sha256
  )
  return {
    kind: {"backbone": tree} if tree else {} for kind, tree in found.items()
  }


def with_frozen(config: Config, state: TrainState) -> TrainState:
  """A state of a checkpoint with the weights that training left as they were.

  Args:
    config: of the run, which trains a part of the network.
    state: of the checkpoint; of what is frozen it has shapes alone.

  Raises:
    ValueError: the file of `model.pretrained` does not hold them.
  """
  try:
    found = backbone(config)
  except ValueError as error:
    raise ValueError(
      "config.model.pretrained, which holds what config.model.train "
      f"{config.model.train!r} leaves as it is: {error} Where the file, "
      f"SHA-256 {config.model.pretrained_sha256}, is in another place, add "
      "--config.model.pretrained=FILE; in a program, blt_jax.load(workdir, "
      "pretrained=FILE)."
    ) from None
  _, params = parts.split(
    config.model.backbone, found["params"], train=config.model.train
  )
  frozen = {"params": params, "batch_stats": found["batch_stats"]}
  return state.replace(frozen=jax.tree.map(jnp.asarray, frozen))


def trained_line(
  config: Config, state: TrainState, *, adapter_width: int
) -> str:
  """Says what of the network is trained.

  Args:
    config: of the run.
    state: of the run, or shapes.
    adapter_width: of the adapters, 0 for none.
  """

  def count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))

  trained, frozen = count(state.params), count(state.frozen["params"])
  line = (
    f"trained: {trained:,} of {trained + frozen:,} parameters "
    f"(config.model.train {config.model.train})"
  )
  if adapter_width:
    line += f"; each block has an adapter of width {adapter_width}"
  if state.frozen["batch_stats"]:
    line += "; batch normalisations use their running statistics in training"
  if "efficientnet" in config.model.backbone:
    line += ", and no block and no feature is dropped"
  return line
