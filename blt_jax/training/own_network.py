"""The network of the caller's own: whether a run can train it, and notes."""

from collections.abc import Iterator

import flax.linen as nn
import jax

from blt_jax.config import GIVEN, Config
from blt_jax.method.train_step import TrainState
from blt_jax.models.given import Given
from blt_jax.training import devices


def network(config: Config, own: nn.Module | None, num_classes: int) -> Given:
  """A network for the steps around the caller's own.

  Args:
    config: of the run.
    own: a Flax Linen module, see `models.given.Given`.
    num_classes: C.

  Raises:
    ValueError: the configuration is of another network, there is none, or it
      can't be trained.
  """
  backbone = config.model.backbone
  if own is None:
    raise ValueError(
      f"config.model.backbone is {GIVEN!r}, and no network is handed in; "
      "expected blt_jax.train(config, workdir, model=...) in a program."
    )
  if backbone != GIVEN:
    raise ValueError(
      f"model is a {type(own).__name__}; expected None, because "
      f"config.model.backbone is {backbone!r}."
    )
  found = Given(own, axis_name=devices.AXIS)
  found.check(image_size=config.dataset.image_size, num_classes=num_classes)
  return found


def notes(config: Config, own: nn.Module, state: TrainState) -> Iterator[str]:
  """What to know about a run of the caller's own network.

  Args:
    config: of the run.
    own: the network.
    state: of the run, or shapes.
  """
  if "classifier" not in state.params:
    yield (
      "no part of the network is called 'classifier': all of it has the rates "
      "of config.stage1.backbone_rate and stage2.backbone_rate, and stage 2 "
      "goes on with the classifier of stage 1; classifier_rate and "
      "config.stage2.new_classifier have no effect"
    )
  if jax.tree.leaves(state.batch_stats):
    yield from _batch_notes(config, own)


def _batch_notes(config: Config, own: nn.Module) -> Iterator[str]:
  """Notes on statistics of batches."""
  if not Given(own).takes_mask and any(
    stage.epochs and stage.perturb for stage in (config.stage1, config.stage2)
  ):
    yield (
      "the network's __call__ takes no mask: training images in slots that are "
      "not hallucinated for have a part in its batch statistics"
    )
  if len(devices.devices_of(config)) > 1:
    yield (
      "batch statistics are those of a device's share of a batch, unless the "
      f"network's normalisations have axis_name={devices.AXIS!r}"
    )
