"""Hallucination outside of a training step."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from blt_jax.config import Config
from blt_jax.method import hallucinate, rng
from blt_jax.method.train_step import TrainState
from blt_jax.training import build


def build_offline_hallucinate(
  config: Config, *, stream: rng.Stream, **options: Any
) -> Callable:
  """Hallucination outside of a training step, for static images and examples.

  Args:
    config: the configuration.
    stream: STATIC_IMAGES or EXAMPLES.
    **options: arguments of `hallucinate` that are not the configuration's.

  Returns:
    (state, (numbers int32 [k], Sources of k images)) -> Hallucinations; the
    random numbers of an image depend on its number.
  """
  hallucinate_fn = functools.partial(build.build_hallucinate(config), **options)

  def make(
    state: TrainState, batch: tuple[jax.Array, hallucinate.Sources]
  ) -> hallucinate.Hallucinations:
    numbers, sources = batch
    rngs = rng.outside_keys(state.rng, stream, numbers)
    return hallucinate_fn(rngs, state.logits, state.confusion, sources)

  return make
