import jax
import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.method import losses
from blt_jax.method.losses import class_balanced_weights
from blt_jax.training import build, objective, prior, train
from blt_jax.training.run import Run
from blt_jax.training.stages import build_stages
from blt_jax.workdir.records import METRICS
from tests.marks import long_test
from tests.small_run import make_config, without_examples

COUNTS = np.array([100, 20, 5])
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (12, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12)


SHARES = np.array([0.2, 0.3, 0.5])


def _built(
  loss,
  variant="",
  *,
  prior="",
  target=None,
  gamma=None,
  reweighted=False,
  **fields,
):
  config = make_config(variant, dataset__prior=prior)
  config.model.update(loss=loss, **fields)
  return objective.build_objective(
    config, COUNTS, target=target, gamma=gamma, reweighted=reweighted
  )


def _check(built, expected):
  np.testing.assert_allclose(
    built.loss_fn(LOGITS, LABELS), expected, rtol=1e-5, atol=1e-5
  )
  assert built.class_weights is None


def test_default_is_plain_cross_entropy():
  built = objective.build_objective(make_config(), COUNTS, target=None)
  np.testing.assert_array_equal(
    built.loss_fn(LOGITS, LABELS), losses.cross_entropy(LOGITS, LABELS)
  )
  assert built.class_weights is None


def test_margin_is_that_of_the_configuration():
  _check(
    _built("cross_entropy", margin=0.5),
    losses.cross_entropy(LOGITS, LABELS, margin=0.5),
  )


def test_focal_has_its_gamma():
  _check(
    _built("focal", focal_gamma=1.0), losses.focal(LOGITS, LABELS, gamma=1.0)
  )


def test_class_balanced_has_the_training_counts_whatever_the_sampler():
  expected = losses.class_balanced(
    LOGITS, LABELS, class_counts=COUNTS, beta=0.9
  )
  for gamma in (None, 0.9):
    built = _built("class_balanced", class_balanced_beta=0.9, gamma=gamma)
    _check(built, expected)


@pytest.mark.parametrize("gamma", [None, 0.0])
def test_natural_sampling_gives_balanced_softmax_its_counts(gamma):
  expected = losses.balanced_softmax(LOGITS, LABELS, class_probabilities=COUNTS)
  _check(_built("balanced_softmax", gamma=gamma), expected)


def test_class_balanced_sampling_leaves_nothing_to_adjust():
  expected = losses.cross_entropy(LOGITS, LABELS)
  _check(_built("balanced_softmax", gamma=1.0), expected)
  _check(_built("logit_adjustment", gamma=1.0), expected)


def test_sampler_of_gamma_leaves_the_counts_to_the_power_of_its_rest():
  expected = losses.logit_adjustment(
    LOGITS, LABELS, class_probabilities=COUNTS**0.25, tau=1.5
  )
  built = _built("logit_adjustment", gamma=0.75, logit_adjustment_tau=1.5)
  _check(built, expected)


def test_ldam_takes_the_cosines_of_the_squashing_classifier():
  # Logits are 20 times cosines; the loss sees 30 times those.
  expected = losses.ldam(
    LOGITS / 20, LABELS, class_counts=COUNTS, max_margin=0.5, scale=30.0
  )
  _check(_built("ldam", alpha=20.0), expected)


def test_ldam_takes_linear_logits_as_they_are():
  expected = losses.ldam(
    LOGITS, LABELS, class_counts=COUNTS, max_margin=0.3, scale=1.0
  )
  built = _built("ldam", ",method=plain", ldam_scale=1.0, ldam_max_margin=0.3)
  _check(built, expected)


def test_deferred_weights_are_those_of_the_counts():
  built = _built("focal", reweighted=True, class_balanced_beta=0.99, gamma=0.9)
  np.testing.assert_array_equal(
    built.class_weights, class_balanced_weights(COUNTS, 0.99)
  )
  np.testing.assert_array_equal(
    built.loss_fn(LOGITS, LABELS), losses.focal(LOGITS, LABELS)
  )


@pytest.mark.parametrize(
  "first, expected", [(0, [0, 0, 0]), (1, [1, 1, 1]), (3, [0, 0, 1])]
)
def test_weights_begin_with_their_epoch_of_the_last_stage(first, expected):
  config = make_config(model__reweight_epoch=first)

  def found():
    return [
      [stage.reweighted(epoch) for epoch in (1, 2, 3)]
      for stage in build_stages(config, np.array([200, 20]), devices=1)
    ]

  assert found() == [[0, 0, 0], expected]
  config.stage2.epochs = 0
  assert found() == [expected]


def test_class_without_images_is_named():
  config = make_config(model__loss="ldam")
  message = "loss is 'ldam', but the number of .* of class 1 is 0; expected"
  with pytest.raises(ValueError, match=message):
    objective.build_objective(config, np.array([3, 0]), target=None)


def test_adjustment_is_off_by_default():
  built = objective.build_adjustment(
    make_config(), COUNTS, target=None, gamma=None
  )
  assert built is None


def test_adjustment_undoes_the_sampler():
  config = make_config(model__posthoc_tau=0.5)
  adjust_fn = objective.build_adjustment(
    config, COUNTS, target=None, gamma=0.75
  )
  shift = 0.5 * np.log(COUNTS**0.25 / np.sum(COUNTS**0.25))
  np.testing.assert_allclose(adjust_fn(LOGITS), LOGITS - shift, rtol=1e-5)


def test_losses_correct_to_the_prior():
  expected = losses.logit_adjustment(
    LOGITS, LABELS, class_probabilities=COUNTS**0.25 / SHARES, tau=1.5
  )
  built = _built(
    "logit_adjustment",
    prior="prior.csv",
    target=SHARES,
    gamma=0.75,
    logit_adjustment_tau=1.5,
  )
  _check(built, expected)


def test_natural_prior_leaves_cross_entropy_under_natural_sampling():
  target = prior.target_shares(
    "natural", class_names=("a", "b", "c"), class_counts=COUNTS
  )
  built = _built("balanced_softmax", prior="natural", target=target)
  np.testing.assert_array_equal(
    built.loss_fn(LOGITS, LABELS), losses.cross_entropy(LOGITS, LABELS)
  )


def test_balanced_prior_changes_no_bit_of_a_loss_or_an_adjustment():
  uniform = {"prior": "balanced", "target": np.full(3, 1 / 3)}
  built = [_built("balanced_softmax", gamma=0.3, **u) for u in ({}, uniform)]
  np.testing.assert_array_equal(
    *(each.loss_fn(LOGITS, LABELS) for each in built)
  )
  adjusted = []
  for name, target in (("", None), ("balanced", np.full(3, 1 / 3))):
    config = make_config(model__posthoc_tau=0.5, dataset__prior=name)
    adjust_fn = objective.build_adjustment(
      config, COUNTS, target=target, gamma=0.3
    )
    adjusted.append(adjust_fn(LOGITS))
  np.testing.assert_array_equal(*adjusted)


def test_adjustment_corrects_to_the_prior():
  config = make_config(model__posthoc_tau=0.5, dataset__prior="prior.csv")
  adjust_fn = objective.build_adjustment(
    config, COUNTS, target=SHARES, gamma=None
  )
  shift = 0.5 * np.log(COUNTS / np.sum(COUNTS) / SHARES)
  np.testing.assert_allclose(adjust_fn(LOGITS), LOGITS - shift, rtol=1e-5)


def test_run_has_the_shares_of_its_prior():
  run = Run(check_config(make_config(dataset__prior="natural")))
  counts = run.class_counts
  np.testing.assert_allclose(run.target_shares, counts / counts.sum())
  assert Run(check_config(make_config())).target_shares is None


@pytest.mark.parametrize("stage", [1, 2])
def test_evaluation_adjusts_by_the_stage_of_the_network(stage):
  run = Run(check_config(make_config(model__posthoc_tau=2.0)))
  state = build.init_state(run.config, run.model, 10)
  evaluation = run.evaluate(state, "validation", stage=stage)
  normalize_fn = build.build_normalize(run.config)
  batches = list(run.feeder.evaluation("validation"))
  images, labels, mask = (
    np.concatenate([np.asarray(getattr(batch, name))[0] for batch in batches])
    for name in ("image", "label", "mask")
  )
  logits = jax.jit(state.logits)(normalize_fn(images))
  power = 1.0 if stage == 1 else 0.1  # 1 - gamma.
  adjusted = logits - 2 * power * np.log(run.class_counts)[None, :]
  predicted = np.argmax(adjusted, axis=1)
  expected = np.zeros((10, 10), int)
  np.add.at(expected, (labels[mask], predicted[mask]), 1)
  np.testing.assert_array_equal(evaluation.confusion, expected)
  assert (predicted != np.argmax(logits, axis=1))[mask].any()


def test_steps_are_compiled_once_for_each_stage_and_weights():
  run = Run(make_config(model__reweight_epoch=2))
  first, second = run.stages
  fns = [run.train_fn(second, epoch) for epoch in (1, 2, 3)]
  assert fns[0] is not fns[1]
  assert fns[1] is fns[2]
  assert run.train_fn(first, 1) is not fns[0]
  assert run.train_fn(first, 1) is run.train_fn(first, 2)


@long_test("another run")
def test_run_with_deferred_weights_trains(tmp_path):
  config = make_config(",method=neither", stage1__epochs=0)
  config.model.update(loss="ldam", reweight_epoch=2)
  with without_examples():
    results = train.train(config, tmp_path)
  assert results["last"]["epoch"] == 2
  header, *rows = (tmp_path / METRICS).read_text().splitlines()
  column = header.split(",").index("loss")
  values = [float(row.split(",")[column]) for row in rows]
  assert len(values) == 2
  assert np.isfinite(values).all()
