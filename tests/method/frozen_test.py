"""Steps that train a part of the network."""

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from blt_jax.method import hallucinate, train_step
from blt_jax.models import classifiers, efficientnet, parts, vit
from blt_jax.models.network import Network
from blt_jax.training.devices import deal
from tests import small_step

NAME = "tf_efficientnet_lite0"
# Lite0 with a few of its blocks.
LITE = efficientnet.EfficientNet(
  stages=(
    efficientnet.MBConvConfig(1, 8, 3, 1, 1),
    efficientnet.MBConvConfig(1, 8, 3, 2, 2),
  ),
  lite=True,
  filters=8,
  features=16,
)


VIT = vit.ViT(
  width=16,
  depth=1,
  patch=8,
  native_size=16,
  head_width=8,
  layer_scale=0.5,
  adapter_width=2,
)


def make_state(train):
  """A state of which a part is trained."""
  state = small_step.make_state(
    Network(
      backbone=VIT if train == "adapters" else LITE,
      hidden=None,
      classifier=classifiers.SquashingCosine(small_step.CLASSES),
      steady=train != "all",
    )
  )
  if train == "all":
    return state
  params, frozen = parts.split(NAME, state.params, train=train)
  return state.replace(
    params=params,
    batch_stats={},
    opt_state=small_step.TX.init(params),
    frozen={"params": frozen, "batch_stats": state.batch_stats},
  )


def make_step(seen):
  """A step that leaves the greatest changes of its images in `seen`."""

  def perturb(*arguments):
    made = hallucinate.hallucinate(
      *arguments,
      preprocess_fn=small_step.preprocess,
      confidence=(0.5, 0.6),
      ascent={"max_steps": 3},
      narrowest=small_step.SLOTS,
    )
    change = jnp.abs(made.images - made.original).max((1, 2, 3))
    jax.debug.callback(lambda *values: seen.append(values), change, made.weight)
    return made

  return functools.partial(
    train_step.train_step,
    tx=small_step.TX,
    preprocess_fn=small_step.preprocess,
    hallucinate_fn=perturb,
  )


@pytest.mark.parametrize("train", ["classifier", "adapters"])
def test_hallucination_moves_images_and_nothing_frozen(train):
  state, seen = make_state(train), []
  mapped = small_step.over_devices(make_step(seen), 1)
  after, metrics = mapped(state, deal(small_step.make_batch(0), 1))
  assert metrics["hallucinated"] > 0
  jax.tree.map(np.testing.assert_array_equal, after.frozen, state.frozen)
  assert after.batch_stats == {}
  moved = jax.tree.map(
    lambda a, b: bool((a != np.asarray(b)).any()), state.params, after.params
  )
  assert moved["classifier"]["kernel"]
  if train == "adapters":
    # As long as W_up is 0, nothing before it has a gradient but the decay's.
    assert moved["backbone"]["blocks__0"]["adapter"]["up"]["kernel"]
  jax.effects_barrier()
  ((change, weight),) = seen
  np.testing.assert_array_equal(change > 0, weight > 0)


def test_running_statistics_normalise_a_frozen_backbone_in_training():
  state = make_state("classifier")
  images = np.random.default_rng(0).normal(size=(4, 16, 16, 3))

  @jax.jit
  def both(images):
    training = state.apply_fn(state.variables, images, train=True)
    return training, state.logits(images)

  np.testing.assert_array_equal(*both(images))


def count_convolutions(jaxpr):
  """Convolutions and products of matrices in a program and in those inside."""
  count = 0
  for equation in jaxpr.eqns:
    count += equation.primitive.name in ("conv_general_dilated", "dot_general")
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      count += count_convolutions(inner)
  return count


@pytest.mark.parametrize(
  ("train", "times"), [("classifier", 1), ("norms_and_biases", 2), ("all", 3)]
)
def test_gradients_of_frozen_weights_are_not_computed(train, times):
  state = make_state(train)
  batch = small_step.make_batch(0)._replace(sources=None)
  step = jax.make_jaxpr(make_step([]), axis_env=[("batch", 1)])(state, batch)
  images = np.zeros((8, small_step.SIZE, small_step.SIZE, 3), np.float32)
  forward = jax.make_jaxpr(state.logits)(images)
  found = count_convolutions(step.jaxpr) / count_convolutions(forward.jaxpr)
  assert times - 0.5 < found <= times + 0.2
