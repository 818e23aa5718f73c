import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from blt_jax.method import averaging, hallucinate, train_step
from blt_jax.training.devices import deal
from tests import small_step


def _sequence(steps, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(steps + 1, 3)).astype(np.float32)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_average_of_a_sequence_by_hand(decay):
  weights, stats = _sequence(30), _sequence(30, seed=1)
  average = averaging.begin({"w": jnp.array(weights[0])}, {"m": stats[0]})
  expected = [weights[0], stats[0]]
  for t in range(1, 31):
    average = averaging.after_step(
      average,
      {"w": jnp.array(weights[t])},
      {"m": jnp.array(stats[t])},
      decay=decay,
    )
    d = min(decay, (1 + t) / (10 + t))
    expected = [
      d * before + (1 - d) * now
      for before, now in zip(expected, (weights[t], stats[t]), strict=True)
    ]
  assert average.steps == 30
  np.testing.assert_allclose(average.params["w"], expected[0], rtol=1e-5)
  np.testing.assert_allclose(average.batch_stats["m"], expected[1], rtol=1e-5)


def test_average_begins_with_copies():
  given = jnp.ones(2)
  average = averaging.begin({"w": given}, {})
  given.delete()  # As a step does that takes it over.
  np.testing.assert_array_equal(average.params["w"], [1, 1])


def _apply(variables, images, *, train, **options):
  """Logits that are the means of the channels times weights, plus a mean."""
  channels = images.mean((1, 2))
  old = variables["batch_stats"]["mean"]
  logits = channels @ variables["params"]["kernel"] + old.sum()
  if not train:
    return logits
  return logits, {"batch_stats": {"mean": 0.5 * old + channels.mean(0)}}


def _state(tx):
  params = {"kernel": jnp.ones((3, small_step.CLASSES))}
  stats = {"mean": jnp.zeros(3)}
  return train_step.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=stats,
    opt_state=tx.init(params),
    confusion=jnp.zeros((small_step.CLASSES,) * 2, jnp.int32),
    rng=jax.random.key(7),
    apply_fn=_apply,
    average=averaging.begin(params, stats),
  )


def _hallucinate(rngs, logits_fn, confusion, sources):
  """A stand-in for the ascent whose images depend on the network's logits."""
  made = hallucinate.reuse(rngs, logits_fn, confusion, sources)
  return made._replace(images=made.images + logits_fn(made.images).mean())


def test_steps_and_ascent_use_the_weights_and_evaluation_their_average():
  tx = optax.sgd(0.1)
  step = small_step.over_devices(
    functools.partial(
      train_step.train_step,
      tx=tx,
      preprocess_fn=small_step.preprocess,
      hallucinate_fn=_hallucinate,
      average_decay=0.9,
    ),
    2,
  )
  state = _state(tx)
  alone, expected = state.replace(average=None), state.average
  for seed in range(3):
    batch = small_step.make_batch(seed)
    images = batch.sources.image / np.float32(128) - 1
    sources = batch.sources._replace(image=images)
    batch = deal(batch._replace(sources=sources), 2)
    state, _ = step(state, batch)
    alone, _ = step(alone, batch)
    expected = averaging.after_step(
      expected, state.params, state.batch_stats, decay=0.9
    )
  small_step.assert_close(state.average, expected, rtol=1e-6)
  average = state.average
  small_step.assert_close(
    {**state.arrays(), "average": None}, alone.arrays(), rtol=1e-6
  )
  assert "average" not in alone.arrays()
  assert alone.evaluated is alone
  images = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
  logits = state.evaluated.logits(images)
  variables = {"params": average.params, "batch_stats": average.batch_stats}
  np.testing.assert_array_equal(logits, _apply(variables, images, train=False))
  assert (np.abs(logits - state.logits(images)) > 1e-3).all()
  evaluate = small_step.over_devices(
    functools.partial(
      train_step.eval_step, normalize_fn=lambda x: x, with_logits=True
    ),
    1,
  )
  batch = train_step.EvalBatch(images, np.zeros(4, np.int32), np.ones(4, bool))
  found = evaluate(state, deal(batch, 1))["logits"][0]
  np.testing.assert_allclose(found, logits, rtol=1e-6)
