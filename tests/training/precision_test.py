"""The precision of convolutions and matrix products, and what is said of it."""

import functools
import itertools
import types

import jax
import numpy as np
import pytest

from blt_jax.config import check_config, follow
from blt_jax.deploy import description, model
from blt_jax.method import perturb
from blt_jax.training import evaluation, together
from blt_jax.training.run import Run
from blt_jax.training.stages import plan_epoch
from tests.bad_exports import ABOUT
from tests.small_run import make_config, one_block


@pytest.fixture(scope="module", autouse=True)
def _one_block():
  with one_block():
    yield


def _products(text):
  """The convolutions and matrix products of a StableHLO text."""
  kinds = ("stablehlo.convolution", "stablehlo.dot_general")
  return [x for x in text.splitlines() if any(kind in x for kind in kinds)]


def _are_highest(lines):
  """Whether both factors of each product are HIGHEST."""
  return all(x.count("HIGHEST") == 2 and "DEFAULT" not in x for x in lines)


@pytest.fixture(scope="module")
def steps():
  """(a stage, its lowered step, the lowered step of evaluation)."""
  config = follow(check_config(make_config(model__precision="highest")))
  run = Run(config)
  stage, state = run.stages[-1], run.state_shapes()
  plan = plan_epoch(config, stage, 2, labels=run.dataset.train.labels)
  (fed,) = itertools.islice(run.feeder.training(plan), 1)
  train = run.train_fn(stage, 2).lower(state, fed.batch)
  (batch,) = itertools.islice(run.feeder.evaluation("validation"), 1)
  eval_fn = evaluation.build_eval_step(config)
  return stage, train, eval_fn.lower(state, batch)


def test_every_product_of_the_steps_has_the_precision_of_the_config(steps):
  stage, *lowered = steps
  train, evaluated = (_products(each.as_text()) for each in lowered)
  # A pass of the network, and one for the gradients of parameters or images.
  passes = 1 + 2 + 2 * len(perturb.halving_widths(stage.capacity))
  assert len(train) > passes * (len(evaluated) - 1)
  assert _are_highest(train)
  assert _are_highest(evaluated)


def test_profiles_have_names_for_the_parts_of_the_steps(steps):
  _, train, evaluated = (
    each if index == 0 else each.as_text(debug_info=True)
    for index, each in enumerate(steps)
  )
  for name in ("/augment/", "/ascend/while/", "/update/"):
    assert name in train
  assert "/evaluate/" in evaluated


def test_network_of_an_export_has_the_precision_of_its_run():
  fields = ABOUT | {"precision": "highest"}
  about = description.Description.from_json(fields, source="here")
  images = np.zeros((1, 8, 8, 3), np.float32)
  init = functools.partial(
    model.TrainedModel(about, {}).module().init, train=False
  )
  shapes = jax.eval_shape(init, jax.random.key(0), images)
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  network = model.TrainedModel(about, zeros)

  def logit(images):
    return network.logits_fn(images)[0, 0]

  text = jax.jit(jax.value_and_grad(logit)).lower(images).as_text()
  products = _products(text)
  assert len(products) > 3
  assert _are_highest(products)


@pytest.mark.parametrize(
  "device, values, line",
  [
    ({"platform": "cpu"}, {}, ""),
    ({"platform": "gpu", "compute_capability": "9.0"}, {}, "TF32"),
    ({"platform": "gpu", "compute_capability": "8.0"}, {"high"}, "TF32"),
    ({"platform": "gpu", "compute_capability": "9.0"}, {"highest"}, ""),
    ({"platform": "gpu", "compute_capability": "7.5"}, {}, ""),
    (
      {"platform": "gpu", "compute_capability": "gfx942"},
      {},
      "TF32 where the GPU has it",
    ),
    ({"platform": "tpu"}, {}, "bfloat16"),
    ({"platform": "tpu"}, {"high"}, "three products of bfloat16"),
    ({"platform": "tpu"}, {"highest"}, ""),
  ],
)
def test_a_run_says_where_float32_is_not_float32(
  device, values, line, monkeypatch
):
  (precision,) = values or {"default"}
  config = check_config(make_config(model__precision=precision))
  found = types.SimpleNamespace(**device)
  monkeypatch.setattr(together, "devices_of", lambda config: [found])
  want = (
    f"float32 is {line} in convolutions and matrix products: config.model."
    f"precision is {precision} (highest: float32)"
  )
  assert list(together._arithmetic(config)) == ([want] if line else [])


def test_a_precision_of_jax_that_is_overridden_is_named():
  config = check_config(make_config())
  with jax.default_matmul_precision("highest"):
    (line,) = together._arithmetic(config)
  assert line == (
    "JAX_DEFAULT_MATMUL_PRECISION is highest and has no effect: "
    "config.model.precision is default"
  )


def test_unknown_precisions_are_refused():
  with pytest.raises(
    ValueError,
    match="config.model.precision is 'tf32'; expected one of default, high, ",
  ):
    check_config(make_config(model__precision="tf32"))
