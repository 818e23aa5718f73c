"""Properties of profiles, splits and epochs, whatever is drawn."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blt_jax.data import longtail, sampling

drawn = settings(
  deadline=None, derandomize=True, database=None, max_examples=100
)


@given(
  st.sampled_from(["exponential", "step"]),
  st.integers(1, 10**6),
  st.floats(1, 1e5),
  st.integers(2, 200),
)
@drawn
def test_profiles_fall_from_their_largest_class_to_the_smallest(
  profile, largest, imbalance, num_classes
):
  counts = longtail.profile_counts(
    np.full(num_classes, 10**6),
    profile=profile,
    max_per_class=largest,
    imbalance=imbalance,
  )
  assert counts[0] == largest
  assert (np.diff(counts) <= 0).all()
  exact = Fraction(largest) / Fraction(imbalance)
  assert abs(counts[-1] - math.floor(exact)) <= (exact % 1 > 1 - 1e-6)
  if profile == "step":
    large = num_classes // 2
    small = num_classes - large
    assert counts.sum() == large * largest + small * counts[-1]
  assert num_classes * counts[-1] <= counts.sum() <= num_classes * largest


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(0, 10**6))
@drawn
def test_natural_profile_takes_all_up_to_a_limit(available, limit):
  counts = longtail.profile_counts(
    np.array(available), profile="natural", max_per_class=limit
  )
  assert counts.tolist() == [min(n, limit or n) for n in available]


def label_arrays(num_classes: int, fewest: int = 1):
  """Shuffled labels with at least `fewest` images of each class."""
  sizes = st.lists(
    st.integers(fewest, 12), min_size=num_classes, max_size=num_classes
  )

  def shuffled(counts, seed):
    labels = np.repeat(np.arange(num_classes), counts)
    return np.random.default_rng(seed).permutation(labels)

  return st.builds(shuffled, sizes, st.integers(0, 99))


@given(
  label_arrays(4, fewest=5), st.integers(0, 4), st.integers(0, 9), st.data()
)
@drawn
def test_splits_are_disjoint_and_as_large_as_asked(labels, held, seed, data):
  pool = np.bincount(labels)
  counts = np.array([data.draw(st.integers(1, int(n))) for n in pool])
  train, validation = longtail.long_tail_split(
    labels, counts, validation_per_class=held, seed=seed
  )
  assert not set(train) & set(validation)
  assert np.bincount(labels[train]).tolist() == counts.tolist()
  left = np.minimum(held, pool - counts)
  of_class = np.bincount(labels[validation], minlength=4)
  assert of_class.tolist() == left.tolist()
  rest, out = longtail.hold_out(labels, held, seed=seed)
  assert sorted([*rest, *out]) == list(range(len(labels)))
  assert np.bincount(labels[out], minlength=4).tolist() == 4 * [held]
  assert set(validation) <= set(out)


@given(
  st.lists(st.integers(0, 10**6), min_size=2, max_size=30).filter(any),
  st.floats(-5, 5),
  st.floats(0, 5),
)
@drawn
def test_class_probabilities(counts, gamma, more):
  counts = np.array(counts)
  shares = sampling.class_probabilities(counts, gamma)
  assert shares.sum() == pytest.approx(1)
  assert ((shares >= 0) & (shares <= 1)).all()
  assert not shares[counts == 0].any()
  assert (sampling.class_probabilities(counts, 0.0) * counts.sum()) == (
    pytest.approx(counts, rel=1e-9)
  )
  present = counts[counts > 0]
  balanced = sampling.class_probabilities(counts, 1.0)
  assert balanced[counts > 0] == pytest.approx(1 / len(present))
  later = sampling.class_probabilities(counts, gamma + more)
  largest = counts == counts.max()
  smallest = counts == present.min()
  assert (later[largest] <= shares[largest] * (1 + 1e-9)).all()
  assert (later[smallest] >= shares[smallest] * (1 - 1e-9)).all()


@st.composite
def plans(draw):
  """(labels, tail, p, plan) of an epoch of any kind."""
  labels = draw(label_arrays(5))
  batch_size = 2 * draw(st.integers(1, len(labels) // 2))
  tail = np.array(draw(st.lists(st.booleans(), min_size=5, max_size=5)))
  p = draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
  rounding = draw(st.sampled_from(["ceil", "floor"]))
  slots = 2 * draw(st.integers(0, batch_size // 2))
  plan = sampling.epoch_plan(
    labels,
    seed=draw(st.integers(0, 2**31 - 1)),
    stage=draw(st.integers(0, 2)),
    epoch=draw(st.integers(0, 99)),
    batch_size=batch_size,
    gamma=draw(st.sampled_from([None, 0.0, 0.9, 2.0])),
    hallucinate=sampling.HallucinationPlan(tail, p, slots, rounding),
  )
  return labels, tail, (p, rounding), plan


@given(plans())
@drawn
def test_plans_of_epochs(drawn_plan):
  labels, tail, (p, rounding), plan = drawn_plan
  steps, batch_size = plan.indices.shape
  assert steps == len(labels) // batch_size == len(plan)
  for rows in (plan.indices, plan.sources):
    assert not rows.size or 0 <= rows.min() <= rows.max() < len(labels)
  assert plan.used.shape == plan.sources.shape
  for step in range(steps):
    batch, sources = labels[plan.indices[step]], plan.sources[step]
    used = labels[sources[plan.used[step]]]
    in_tail = tail[batch]
    exact = Fraction(str(p)) * int(in_tail.sum())
    wanted = (math.ceil if rounding == "ceil" else math.floor)(exact)
    assert plan.dropped[step] == max(0, wanted - len(sources))
    assert len(used) == min(wanted, len(sources))
    assert tail[used].all()
    # No class more often than the batch drew it.
    drawn_of, used_of = (np.bincount(x, minlength=5) for x in (batch, used))
    assert (used_of <= drawn_of).all()


@given(st.integers(2, 60), st.integers(0, 9), st.data())
@drawn
def test_natural_sampling_repeats_nothing(length, seed, data):
  plan = sampling.epoch_plan(
    np.arange(length) % 3,
    seed=seed,
    stage=1,
    epoch=1,
    batch_size=data.draw(st.integers(1, length)),
  )
  assert len(np.unique(plan.indices)) == plan.indices.size


@given(plans(), st.data())
@drawn
def test_parts_of_a_plan_put_together_are_the_plan(drawn_plan, data):
  plan = drawn_plan[-1]
  first = data.draw(st.integers(0, len(plan)))
  rest = plan.tail(first)
  shards = [rest.shard(index, 2) for index in range(2)]
  batch = np.concatenate([shard.indices for shard in shards], axis=1)
  np.testing.assert_array_equal(batch, plan.indices[first:])
  for name in ("sources", "used"):
    # Slots are dealt in turn.
    dealt = np.stack([getattr(shard, name) for shard in shards], axis=2)
    whole = getattr(plan, name)[first:]
    np.testing.assert_array_equal(dealt.reshape(whole.shape), whole)
  if first < len(plan):
    images, sources = plan.crop_uniforms(first)
    parts = [shard.crop_uniforms(0) for shard in shards]
    ours = np.concatenate([part[0] for part in parts])
    np.testing.assert_array_equal(ours, images)
    dealt = np.stack([part[1] for part in parts], axis=1)
    np.testing.assert_array_equal(dealt.reshape(sources.shape), sources)
