"""The choice of a method in words, from made-up accuracies."""

import math

import pytest

from blt_jax.experiments.choice import choose
from blt_jax.experiments.methods import settings_of, simplest_first
from blt_jax.experiments.outcomes import Estimate
from blt_jax.method.metrics import GROUPS


def _difference(width, **test):
  """Validation: from accuracies, with a width. Test: {method: by group}."""

  def difference(split, method, other):
    if split == "validation":
      gap = VALIDATION[method] - VALIDATION[other]
      return {"overall": Estimate(gap, gap - width, gap + width)}
    found = {}
    for group in GROUPS:
      pair = [test.get(name, {}).get(group, 0.0) for name in (method, other)]
      gap = pair[0] - pair[1]
      found[group] = Estimate(gap, gap - 1.0, gap + 1.0)
    return found

  return difference


VALIDATION = {"plain": 50.0, "sampling": 62.0, "neither": 61.0, "blt": 63.0}
ORDER = ("plain", "sampling", "neither", "blt")


def _choose(width, names=ORDER, **test):
  return choose(
    names,
    {name: VALIDATION[name] for name in names},
    _difference(width, **test),
    hallucinating=[name for name in names if name == "blt"],
  )


def test_clear_winner_is_chosen_and_compared_with_the_simplest():
  found = _choose(
    0.5,
    blt={"overall": 14.0, "many": -3.0, "few": 30.5},
    sampling={"overall": 12.0, "many": 0.0, "few": 20.0},
  )
  assert (found.chosen, found.highest) == ("blt", "blt")
  assert found.tied == ("blt",)
  assert found.reason == (
    "chosen: blt (validation overall 63.0, the highest of 4 methods, beyond "
    "noise)"
  )
  assert found.test == (
    "on test, blt against plain: overall +14.0 [+13.0, +15.0], many -3.0 "
    "[-4.0, -2.0], medium +0.0 [-1.0, +1.0] within noise, few +30.5 [+29.5, "
    "+31.5]",
    "on test, blt against sampling, on validation the best without "
    "hallucinated images: overall +2.0 [+1.0, +3.0], many -3.0 [-4.0, -2.0], "
    "medium +0.0 [-1.0, +1.0] within noise, few +10.5 [+9.5, +11.5]; blt "
    "gains, at the cost of many",
  )


def test_within_noise_the_simplest_is_chosen_and_the_text_says_so():
  found = _choose(1.5, sampling={"overall": 1.4}, blt={"overall": 1.4})
  assert found.chosen == "sampling"
  assert found.tied == ("sampling", "blt")
  assert found.reason == (
    "chosen: sampling (validation overall 62.0), the simplest of the 2 methods "
    "that noise does not tell apart: blt has the highest, 63.0, but the "
    "difference, +1.0 [-0.5, +2.5], may be none"
  )
  assert found.test[0].startswith(
    "on test, sampling against plain: overall +1.4 [+0.4, +2.4], many +0.0"
  )
  assert found.test[1].endswith("nothing here is gained by blt")


def test_highest_that_is_simplest_says_who_lies_within_noise():
  found = _choose(1.5, names=("sampling", "neither"))
  assert found.chosen == found.highest == "sampling"
  assert found.reason == (
    "chosen: sampling (validation overall 62.0, the highest of 2 methods); "
    "neither lies within noise of it and is not simpler"
  )
  assert found.test == ()


def test_everything_within_noise_chooses_the_simplest_of_all():
  found = _choose(20.0)
  assert found.chosen == "plain"
  assert found.tied == ORDER
  assert len(found.test) == 1


@pytest.mark.parametrize(
  "blt, verdict",
  [
    ({"overall": 3.0}, "blt gains"),
    ({"few": 8.0}, "blt gains on few alone"),
    (
      {"few": 8.0, "many": -2.0, "medium": -2.0},
      "blt gains on few alone, at the cost of many and medium",
    ),
    ({"overall": -3.0, "many": -5.0}, "blt loses here"),
    ({"overall": -3.0, "few": 5.0}, "blt loses here, with gains on few"),
    ({}, "nothing here is gained by blt"),
    ({"many": -2.0}, "nothing here is gained by blt, with losses on many"),
  ],
)
def test_verdict_on_blt(blt, verdict):
  found = _choose(0.1, names=("sampling", "blt"), blt=blt)
  assert found.test[-1].endswith(f"; {verdict}")
  assert "on test, blt against sampling: overall" in found.test[-1]


def test_one_method_is_chosen_for_lack_of_others():
  found = _choose(0.1, names=("blt",))
  assert found.reason == (
    "chosen: blt (validation overall 63.0), the only method: nothing to compare"
  )
  assert found.test == ()


def test_test_images_decide_nothing():
  found = _choose(0.5, plain={"overall": 90.0}, blt={"overall": 1.0})
  assert found.chosen == "blt"
  assert "blt loses here" not in found.reason


def test_empty_groups_are_left_out():
  def difference(split, method, other):
    nothing = Estimate(math.nan, math.nan, math.nan)
    return {"overall": Estimate(2.0, 1.0, 3.0), "few": nothing}

  found = choose(("plain", "sampling"), VALIDATION, difference)
  assert found.test == (
    "on test, sampling against plain: overall +2.0 [+1.0, +3.0]",
  )


def test_order_of_the_methods_from_the_simplest():
  names = ["blt", "mine", "blt+alpha=10", "neither", "ldam", "plain"]
  assert simplest_first(names) == [
    *("plain", "ldam", "neither", "blt", "blt+alpha=10", "mine"),
  ]


def test_names_become_variants():
  names = ["plain", "balanced_softmax", "blt+alpha=10+p=0.5", "ldam+reweight=4"]
  assert [dict(each.variant) for each in settings_of(names)] == [
    {"method": "plain"},
    {"method": "plain", "loss": "balanced_softmax"},
    {"method": "blt", "alpha": "10", "p": "0.5"},
    {"method": "plain", "loss": "ldam", "reweight": "4"},
  ]


@pytest.mark.parametrize(
  "names, message",
  [
    ([], "--methods is missing; --mode=compare needs --methods=NAME,"),
    (["blt", "blt"], "--methods=blt,blt: expected every method once"),
    (["blt+alpha"], "--methods=blt.alpha: 'alpha'; expected pairs such as blt"),
    (["blt+seed=1"], "'seed=1'; expected pairs such as blt.alpha=10 with keys"),
    (["focal+loss=ldam"], "'loss=ldam'; expected pairs"),
  ],
)
def test_names_that_are_none_are_refused(names, message):
  with pytest.raises(ValueError, match=message):
    settings_of(names)
