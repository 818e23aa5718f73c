"""Properties that hold for whatever is drawn: lists, profiles, samplers, ..."""

import math
import re
import tempfile
from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blt_jax.data import longtail, sampling
from blt_jax.data.sources import image_lists
from blt_jax.data.sources.file_lookup import leaves_root
from blt_jax.method import confusion, metrics

drawn = settings(
  deadline=None, derandomize=True, database=None, max_examples=300
)


def parse(text: bytes):
  """(paths, labels) of a list."""
  with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    file.write(text)
    file.flush()
    listed = image_lists.read_list(file.name, 0)
    return listed.paths.tolist(), listed.labels.tolist()


def parse_or_message(text: bytes):
  """What `parse` gives, and what it says if it refuses the text."""
  try:
    return parse(text), ""
  except ValueError as error:
    return None, str(error)


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")
names = st.one_of(st.text("ab./ ~é\t", min_size=1), st.text(letters)).filter(
  lambda name: (
    name
    and name == name.strip()
    and not leaves_root(name)
    and not name.startswith("\ufeff")
  )
)


@pytest.mark.parametrize("bytes_at_once", [1 << 22, 7])
@given(paths=st.lists(names, min_size=1, max_size=8), data=st.data())
@drawn
def test_names_of_lists_come_back(bytes_at_once, paths, data):
  label = st.integers(0, len(paths) - 1)
  labels = [data.draw(label) for _ in paths]
  end = data.draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
  pairs = zip(paths, labels, strict=True)
  text = "".join(f"{path} {label}{end}" for path, label in pairs)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(image_lists, "_BYTES_AT_ONCE", bytes_at_once)
    assert parse(text.encode()) == (paths, labels)


@given(
  st.one_of(
    st.text("a./ 019-\n\r\t\ufeff٣"),
    st.lists(st.from_regex(r"[a./ ]{1,6} [0-2]", fullmatch=True)).map(
      "\n".join
    ),
    st.text(st.characters(exclude_categories=["Cs"])),
  )
)
@drawn
def test_any_text_is_a_list_or_names_its_line(text):
  listed, message = parse_or_message(text.encode())
  if listed is None:
    assert re.match(r"\S+\.txt(:\d+: .+|: no line)", message, re.DOTALL)
  else:
    paths, labels = listed
    assert len(paths) == len(labels) > 0
    assert not any(map(leaves_root, paths))
    assert 0 <= min(labels) <= max(labels) < len(labels)


@given(st.binary())
@drawn
def test_any_bytes_are_a_list_or_a_value_error(data):
  listed, message = parse_or_message(data)
  assert listed or ".txt" in message


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


def matrices(size: int, most: int = 50):
  row = st.lists(st.integers(0, most), min_size=size, max_size=size)
  return st.lists(row, min_size=size, max_size=size).map(
    lambda rows: np.array(rows, np.int32)
  )


@given(matrices(4), st.integers(0, 2**31 - 1))
@drawn
def test_confusing_classes_are_others_that_were_predicted(matrix, seed):
  labels = np.repeat(np.arange(4), 16)
  targets, confused = map(
    np.asarray,
    confusion.sample_confusing_classes(jax.random.key(seed), matrix, labels),
  )
  others = matrix * (1 - np.eye(4, dtype=np.int32))
  np.testing.assert_array_equal(confused, others.sum(axis=1)[labels] > 0)
  assert (others[labels, targets] > 0)[confused].all()
  np.testing.assert_array_equal(targets[~confused], labels[~confused])


@given(matrices(4, most=5), st.integers(0, 2**31 - 1))
@settings(drawn, max_examples=10)
def test_confusing_classes_come_as_often_as_they_were_predicted(matrix, seed):
  draws = 4096
  labels = np.repeat(np.arange(4), draws)
  targets, confused = map(
    np.asarray,
    confusion.sample_confusing_classes(jax.random.key(seed), matrix, labels),
  )
  others = matrix * (1 - np.eye(4))
  for label in range(4):
    if not confused[label * draws]:
      continue
    shares = others[label] / others[label].sum()
    found = np.bincount(targets[labels == label], minlength=4) / draws
    # Five standard deviations.
    allowed = 5 * np.sqrt(shares * (1 - shares) / draws)
    assert (np.abs(found - shares) <= allowed).all()


@given(
  matrices(6),
  st.lists(st.integers(0, 200), min_size=6, max_size=6),
  st.integers(0, 150),
  st.integers(0, 150),
)
@drawn
def test_accuracies_are_those_of_a_plain_loop(matrix, counts, limit, other):
  few_up_to, many_above = sorted([limit, other])
  found = metrics.shot_accuracies(
    matrix, np.array(counts), many_above=many_above, few_up_to=few_up_to
  )
  of_group: dict[str, list[float]] = {name: [] for name in metrics.GROUPS}
  for c, count in enumerate(counts):
    total = sum(int(n) for n in matrix[c])
    if not total:
      continue
    accuracy = 100 * int(matrix[c][c]) / total
    of_group["overall"].append(accuracy)
    if count > many_above:
      of_group["many"].append(accuracy)
    elif count <= few_up_to:
      of_group["few"].append(accuracy)
    else:
      of_group["medium"].append(accuracy)
  assert set(found) == set(of_group)
  for name, values in of_group.items():
    if values:
      assert found[name] == pytest.approx(sum(values) / len(values))
      assert 0 <= found[name] <= 100
    else:
      assert math.isnan(found[name])
