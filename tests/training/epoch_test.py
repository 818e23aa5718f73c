"""How an epoch takes its batches."""

import contextlib
import types

import numpy as np
import pytest

from blt_jax.config import check_config, follow
from blt_jax.system.interrupt import NOTHING, SAVE, STOP, Interrupted
from blt_jax.training import build
from blt_jax.training.epoch import Epoch
from blt_jax.training.feeder import Feeder
from blt_jax.training.stages import build_stages
from tests.small_run import make_config


class _Reader:
  """A feeder that counts what is read, and whether it was closed."""

  def __init__(self, feeder):
    self._feeder, self.read, self.closed = feeder, 0, 0

  def training(self, plan, *, fill=None):
    with contextlib.closing(self._feeder.training(plan, fill=fill)) as fed:
      try:
        for batch in fed:
          self.read += 1
          yield batch
      finally:
        self.closed += 1


@pytest.fixture(scope="module")
def feeder():
  config = follow(check_config(make_config()))
  return Feeder(config, build.build_dataset(config), devices=1)


def _epoch(feeder, midway=None):
  """(an epoch whose step adds up labels, what its feeder was asked for)."""
  config, reader = feeder.config, _Reader(feeder)
  stage = build_stages(config, feeder.dataset.class_counts, devices=1)[0]

  def step(state, batch):
    zeros = dict.fromkeys(("gradient_norm", "largest_pixel", "weight"), 0.0)
    seen = [*state.seen, np.asarray(batch.label).ravel().tolist()]
    state = types.SimpleNamespace(params={}, batch_stats={}, seen=seen)
    return state, {**zeros, "loss": 1.0}

  run = types.SimpleNamespace(
    config=config,
    dataset=feeder.dataset,
    feeder=reader,
    train_fn=lambda stage, number: step,
  )
  return Epoch(run, stage, 1, midway=midway), reader


def _train(epoch, wishes, saved):
  """Runs an epoch whose watch gives these wishes, then none."""
  left = iter(wishes)
  watch = types.SimpleNamespace(
    poll=lambda: next(left, NOTHING),
    saved=lambda: None,
    interrupted=lambda place: Interrupted(15, place),
  )

  def save(state, midway):
    saved.append((state, midway))

  state = saved[-1][0] if saved else types.SimpleNamespace(seen=[])
  return epoch.train(state, pool=None, watch=watch, save=save, workdir=None)


def test_a_stopped_epoch_sees_each_batch_once_and_closes_its_reader(feeder):
  whole, reader = _epoch(feeder)
  seen = _train(whole, [], []).seen
  assert len(seen) == whole.stage.steps == whole.steps == reader.read
  assert reader.closed == 1
  first, reader = _epoch(feeder)
  saved = []
  with pytest.raises(Interrupted):
    _train(first, [NOTHING, SAVE, NOTHING, STOP], saved)
  # One batch ahead of the four steps, and no more.
  assert (first.steps, reader.read, reader.closed) == (4, 5, 1)
  assert [midway.steps for _, midway in saved] == [2, 4]
  rest, reader = _epoch(feeder, saved[-1][1])
  assert _train(rest, [], saved).seen == seen
  assert reader.read == whole.stage.steps - 4
