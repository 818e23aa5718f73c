"""A run in small, for the tests that train."""

import contextlib
import fcntl
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest

from blt_jax.models import resnet, torch_names, torch_network
from blt_jax.training import build, evaluation
from blt_jax.training.train import train
from configs import digits_lt
from tests import program_cache

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Three a step, whose ascent is compiled for one width.
FEW_SLOTS = ",p=0.05"


def make_config(variant="", **fields):
  """The digits at 8 pixels, 1 + 2 epochs."""
  config = digits_lt.get_config(f"batch=64,seed=3{variant}")
  config.num_devices = 1
  config.optimizer.rate_batch_size = 0  # Those for 32 as they stand.
  config.dataset.image_size = config.dataset.resize_size = 8
  config.dataset.interpolation = "bilinear"
  config.stage1.epochs, config.stage2.epochs = 1, 2
  for name, value in fields.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  return config


@contextlib.contextmanager
def network_of(
  configs: dict[str, dict[str, Any]], name: str, **fields: Any
) -> Iterator[None]:
  """A network of a models' file has other settings, and so other shapes."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(configs, name, fields)
    _forget_shapes()
    yield
  _forget_shapes()


@contextlib.contextmanager
def one_block() -> Iterator[None]:
  """The smallest network has one block, not four: it compiles far sooner."""
  name, configs = "small_resnet10", resnet.CONFIGS
  with network_of(configs, name, **(configs[name] | {"stage_sizes": (1,)})):
    yield


@contextlib.contextmanager
def without_examples() -> Iterator[None]:
  """Runs make no examples at their end, whose program takes long to compile."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("blt_jax.training.train.attempt", lambda write, what: None)
    yield


def _forget_shapes() -> None:
  """Clears what is kept about the shapes of networks."""
  torch_names.paths.cache_clear()
  torch_network._num_features.cache_clear()


@contextlib.contextmanager
def steps_traced_once() -> Iterator[None]:
  """Runs of one configuration share their steps; none reaches for the host.

  Else each of them spends seconds on tracing its steps and on reading their
  programs from the disk again.
  """
  made: dict[Any, Callable] = {}
  build_train, build_eval = build.build_train_step, evaluation.build_eval_step

  def train_step(config, stage, class_counts, *, target, reweighted=False):
    assert target is None
    key = (config, stage.number, class_counts.tobytes(), reweighted)
    if key not in made:
      made[key] = _guarded(
        build_train(
          config, stage, class_counts, target=None, reweighted=reweighted
        )
      )
    return made[key]

  def eval_step(config, adjust_fns, **options):
    assert adjust_fns == [None]
    key = (config, *sorted(options.items()))
    if key not in made:
      made[key] = _guarded(build_eval(config, adjust_fns, **options))
    return made[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(build, "build_train_step", train_step)
    patch.setattr(evaluation, "build_eval_step", eval_step)
    yield


def _guarded(step: Callable) -> Callable:
  """A step that may not reach for the host."""

  def guarded(state, batch):
    with jax.transfer_guard("disallow"):
      return step(state, batch)

  return guarded


def trained_run():
  """A finished run whose best epoch is not its last; returns its directory.

  The first process that asks for it trains it, for all. Nobody may change it.
  """
  config = make_config(
    stage1__epochs=3, stage2__epochs=0, stage1__backbone_rate=0.5
  )
  workdir = program_cache.EVERYBODYS / "run"
  with (program_cache.EVERYBODYS / "lock").open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    train(config, workdir)  # Returns at once if it is there.
  return workdir
