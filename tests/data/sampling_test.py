"""Index streams, hallucination slots and their capacity."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from blt_jax.data import sampling
from blt_jax.data.longtail import exponential_counts, shot_groups

COUNTS = exponential_counts(400, 100, 8)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(8), COUNTS))
FEW = shot_groups(COUNTS)["few"]


def _plan(*, epoch=0, seed=5, stage=2, gamma=0.9, p=0.25, slots=8, **options):
  hallucinate = sampling.HallucinationPlan(FEW, p, slots, **options)
  return sampling.epoch_plan(
    LABELS,
    seed=seed,
    stage=stage,
    epoch=epoch,
    batch_size=32,
    gamma=gamma,
    hallucinate=hallucinate,
  )


def _assert_same(a, b):
  for field in ("indices", "sources", "used", "dropped"):
    np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize(
  "gamma, expected",
  [
    (0.0, [0.8, 0.16, 0.04]),
    (1.0, [1 / 3, 1 / 3, 1 / 3]),
    (2.0, [1 / 26, 5 / 26, 20 / 26]),
  ],
)
def test_class_probabilities_closed_form(gamma, expected):
  probabilities = sampling.class_probabilities(np.array([100, 20, 5]), gamma)
  np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
  assert probabilities.dtype == np.float64


def test_class_without_images_is_never_drawn():
  for gamma in (0.0, 1.0, 1.5):
    assert sampling.class_probabilities(np.array([4, 0]), gamma)[1] == 0


@pytest.mark.parametrize("gamma", [float("nan"), float("inf")])
def test_gamma_must_be_finite(gamma):
  with pytest.raises(ValueError, match="gamma is .*; expected any finite"):
    sampling.class_probabilities(np.array([4, 1]), gamma)


def test_natural_epoch_holds_every_image_once():
  labels = LABELS[:800]
  plan = sampling.epoch_plan(labels, seed=0, stage=1, epoch=0, batch_size=32)
  np.testing.assert_array_equal(np.sort(plan.indices.ravel()), np.arange(800))


def test_natural_epoch_drops_the_last_partial_batch():
  plan = sampling.epoch_plan(LABELS, seed=0, stage=1, epoch=0, batch_size=64)
  assert plan.indices.shape == (len(LABELS) // 64, 64)
  assert len(np.unique(plan.indices)) == plan.indices.size
  assert plan.sources.shape == (len(plan), 0)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.25])
def test_balanced_draws_follow_gamma(gamma):
  drawn = np.concatenate(
    [_plan(epoch=epoch, gamma=gamma).indices.ravel() for epoch in range(15)]
  )
  weights = COUNTS[LABELS] ** -gamma
  expected = len(drawn) * weights / weights.sum()
  observed = np.bincount(drawn, minlength=len(LABELS))
  assert stats.chisquare(observed, expected).pvalue > 0.001
  by_class = np.bincount(LABELS[drawn], minlength=8)
  closed_form = len(drawn) * sampling.class_probabilities(COUNTS, gamma)
  assert stats.chisquare(by_class, closed_form).pvalue > 0.001


def test_same_key_gives_the_same_plan():
  _assert_same(_plan(epoch=4), _plan(epoch=4))
  np.testing.assert_array_equal(
    _plan().crop_uniforms(3)[1], _plan().crop_uniforms(3)[1]
  )


def test_plan_of_images_has_their_batches_and_no_slots():
  whole = _plan()
  plan = sampling.EpochPlan.of_images(
    whole.indices, seed=whole.seed, stage=whole.stage, epoch=whole.epoch
  )
  _assert_same(plan, whole.without_slots())
  assert plan.sources.shape == (len(whole), 0)
  np.testing.assert_array_equal(
    plan.crop_uniforms(3)[0], whole.crop_uniforms(3)[0]
  )


@pytest.mark.parametrize("gamma", [None, 0.9])
@pytest.mark.parametrize("change", [{"seed": 6}, {"stage": 1}, {"epoch": 1}])
def test_every_part_of_the_key_matters(change, gamma):
  plan, other = _plan(gamma=gamma), _plan(gamma=gamma, **change)
  assert np.mean(plan.indices == other.indices) < 0.05
  assert not np.any(plan.crop_uniforms(0)[0] == other.crop_uniforms(0)[0])


def test_hallucination_leaves_the_batches_alone():
  plain = sampling.epoch_plan(
    LABELS, seed=5, stage=2, epoch=0, batch_size=32, gamma=0.9
  )
  np.testing.assert_array_equal(plain.indices, _plan().indices)


def test_capacity_beyond_need_leaves_the_slots_alone():
  small, large = _plan(slots=16), _plan(slots=24)
  assert small.overflow == 0
  np.testing.assert_array_equal(small.sources, large.sources[:, :16])
  assert not np.any(large.used[:, 16:])


@pytest.mark.parametrize("gamma", [None, 0.9])
@pytest.mark.parametrize("rounding", ["ceil", "floor"])
def test_number_of_hallucinations_a_batch(rounding, gamma):
  plan = _plan(slots=32, p=0.25, rounding=rounding, gamma=gamma)
  tail_draws = FEW[LABELS[plan.indices]].sum(axis=1)
  expected = getattr(np, rounding)(tail_draws / 4)  # Quarters are exact.
  np.testing.assert_array_equal(plan.used.sum(axis=1), expected)


def test_slot_labels_are_tail_draws_of_the_batch_without_replacement():
  plan = _plan(p=1.0, slots=32)
  for indices, sources, used in zip(
    plan.indices, plan.sources, plan.used, strict=True
  ):
    drawn = LABELS[indices]
    labels = LABELS[sources[used]]
    np.testing.assert_array_equal(np.sort(labels), np.sort(drawn[FEW[drawn]]))


def test_chosen_draws_are_spread_over_the_batch():
  plan = _plan(p=0.25, slots=32)
  drawn = np.bincount(LABELS[plan.indices].ravel(), minlength=8) * FEW
  slots = np.bincount(LABELS[plan.sources[plan.used]], minlength=8)
  expected = drawn * slots.sum() / drawn.sum()
  assert stats.chisquare(slots[FEW], expected[FEW]).pvalue > 0.001


def test_source_is_another_image_than_the_drawn_one():
  labels = np.array([0] * 30 + [1] * 2)
  plan = sampling.epoch_plan(
    labels,
    seed=0,
    stage=2,
    epoch=0,
    batch_size=1,
    gamma=1.0,
    hallucinate=sampling.HallucinationPlan(np.array([False, True]), 1.0, 1),
  )
  used = plan.used[:, 0]
  np.testing.assert_array_equal(used, labels[plan.indices[:, 0]] == 1)
  pairs = plan.indices[used, 0] + plan.sources[used, 0]
  np.testing.assert_array_equal(pairs, 30 + 31)


def test_source_is_the_drawn_image_if_its_class_has_no_other():
  labels = np.array([0, 0, 0, 1])
  plan = sampling.epoch_plan(
    labels,
    seed=0,
    stage=2,
    epoch=0,
    batch_size=2,
    gamma=1.0,
    hallucinate=sampling.HallucinationPlan(np.array([False, True]), 1.0, 2),
  )
  np.testing.assert_array_equal(plan.sources[plan.used], 3)
  assert np.any(plan.used)


def test_sources_are_uniform_over_the_other_images():
  labels = np.array([0] * 396 + [1] * 4)
  sources = np.concatenate(
    [
      plan.sources[plan.used]
      for plan in (
        sampling.epoch_plan(
          labels,
          seed=0,
          stage=2,
          epoch=epoch,
          batch_size=20,
          gamma=1.0,
          hallucinate=sampling.HallucinationPlan(
            np.array([False, True]), 1.0, 20
          ),
        )
        for epoch in range(10)
      )
    ]
  )
  assert stats.chisquare(np.bincount(sources - 396)).pvalue > 0.001


def test_overflow_counts_what_capacity_drops():
  needed = _plan(slots=32).used.sum(axis=1)
  plan = _plan(slots=3)
  assert needed.max() > 3
  np.testing.assert_array_equal(plan.used.sum(axis=1), np.minimum(needed, 3))
  assert plan.overflow == np.maximum(needed - 3, 0).sum()
  assert plan.tail(5).overflow == np.maximum(needed - 3, 0)[5:].sum()


def test_shards_side_by_side_are_the_plan():
  plan = _plan()
  shards = [plan.shard(i, 4) for i in range(4)]
  joined = np.concatenate([shard.indices for shard in shards], axis=1)
  np.testing.assert_array_equal(joined, plan.indices)
  joined = np.concatenate([shard.crop_uniforms(2)[0] for shard in shards])
  np.testing.assert_array_equal(joined, plan.crop_uniforms(2)[0])


@pytest.mark.parametrize("processes, devices", [(2, 2), (2, 4), (4, 4)])
def test_shards_hold_the_slots_of_their_devices(processes, devices):
  plan = _plan(slots=8)
  each = devices // processes
  for process in range(processes):
    shard = plan.shard(process, processes, devices=devices)
    mine = [
      slot
      for slot in range(8)
      if process * each <= slot % devices < (process + 1) * each
    ]
    np.testing.assert_array_equal(shard.sources, plan.sources[:, mine])
    np.testing.assert_array_equal(shard.used, plan.used[:, mine])
    np.testing.assert_array_equal(
      shard.crop_uniforms(2)[1], plan.crop_uniforms(2)[1][mine]
    )


def test_tail_continues_the_plan():
  plan = _plan()
  rest = plan.tail(4).tail(3)
  np.testing.assert_array_equal(rest.indices, plan.indices[7:])
  np.testing.assert_array_equal(rest.sources, plan.sources[7:])
  for mine, whole in zip(
    rest.shard(1, 2).crop_uniforms(0),
    plan.shard(1, 2).crop_uniforms(7),
    strict=True,
  ):
    np.testing.assert_array_equal(mine, whole)
  assert len(plan.tail(len(plan))) == 0


def test_every_step_has_its_own_crops():
  plan = _plan()
  assert not np.any(plan.crop_uniforms(0)[0] == plan.crop_uniforms(1)[0])


@pytest.mark.parametrize(
  "p, draws, ceil, floor",
  [
    (0.25, 8, 2, 2),
    (0.1, 30, 3, 3),
    (0.07, 100, 7, 7),
    (0.29, 100, 29, 29),
    (0.25, 9, 3, 2),
    (0.5, 1, 1, 0),
    (1e-5, 1, 1, 0),
    (0.0, 50, 0, 0),
    (1.0, 50, 50, 50),
  ],
)
def test_num_hallucinations_takes_p_as_written(p, draws, ceil, floor):
  draws = np.array([draws, 0])
  for rounding, expected in (("ceil", ceil), ("floor", floor)):
    count = sampling.num_hallucinations(draws, p, rounding=rounding)
    np.testing.assert_array_equal(count, [expected, 0])


@pytest.mark.parametrize(
  "options, message",
  [
    ({"p": 1.5}, "p is 1.5; expected 0 to 1"),
    ({"p": float("nan")}, "p is nan; expected 0 to 1"),
    ({"rounding": "up"}, "rounding is 'up'; expected 'ceil' or 'floor'"),
    ({"slots": 33}, "capacity is 33; expected 0 to 32, the batch size"),
  ],
)
def test_plan_rejects_bad_hallucination_settings(options, message):
  with pytest.raises(ValueError, match=message):
    _plan(**options)


@pytest.mark.parametrize("batch_size", [0, 5])
def test_batch_must_fit_the_training_set(batch_size):
  with pytest.raises(
    ValueError, match=rf"batch_size is {batch_size}; .* 1 to 4"
  ):
    sampling.epoch_plan(
      np.zeros(4, int), seed=0, stage=1, epoch=0, batch_size=batch_size
    )


def test_tail_mask_must_cover_the_labels():
  short = sampling.HallucinationPlan(FEW[:5], 0.25, 4)
  with pytest.raises(
    ValueError, match="tail has 5 classes; expected 8 or more"
  ):
    sampling.epoch_plan(
      LABELS, seed=0, stage=2, epoch=0, batch_size=32, hallucinate=short
    )


def test_shards_must_divide_batch_and_slots():
  plan = _plan(slots=8)
  with pytest.raises(ValueError, match="batch_size is 32; .* multiple .* 3"):
    plan.shard(0, 3)
  odd = dataclasses.replace(plan, sources=plan.sources[:, :7])
  with pytest.raises(ValueError, match="capacity is 7; .* multiple .* 2"):
    odd.shard(0, 2)


def test_tail_must_start_inside_the_plan():
  plan = _plan()
  with pytest.raises(ValueError, match="first_step is 99; expected 0 to"):
    plan.tail(99)


def _capacity(*, gamma=0.9, p=0.25, batch_size=128, devices=1, tail=FEW, **kw):
  return sampling.capacity(
    COUNTS,
    tail,
    gamma=gamma,
    p=p,
    batch_size=batch_size,
    devices=devices,
    **kw,
  )


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.9])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_capacity_is_the_smallest_that_rarely_overflows(gamma, p, rounding):
  slots = _capacity(gamma=gamma, p=p, rounding=rounding)
  share = sampling.class_probabilities(COUNTS, gamma or 0.0)[FEW].sum()
  draws = np.random.default_rng(1).binomial(128, share, size=400_000)
  needed = sampling.num_hallucinations(draws, p, rounding=rounding)
  assert np.mean(needed > slots) < 0.0012
  assert slots == 0 or np.mean(needed > slots - 1) > 0.0008


def test_plans_stay_within_capacity():
  slots = _capacity(batch_size=32)
  overflowing = sum(
    np.sum(_plan(epoch=epoch, slots=slots).dropped > 0) for epoch in range(40)
  )
  assert overflowing < 0.005 * 40 * len(_plan())


def test_capacity_is_a_multiple_of_the_devices():
  exact = _capacity()
  assert exact % 8 != 0
  assert _capacity(devices=8) == -(-exact // 8) * 8


def test_capacity_is_zero_when_nothing_is_hallucinated():
  assert _capacity(p=0.0, devices=4) == 0
  assert _capacity(tail=np.zeros(8, bool), devices=4) == 0


def test_capacity_for_every_class_is_all_that_p_allows():
  assert _capacity(tail=np.ones(8, bool)) == 32
