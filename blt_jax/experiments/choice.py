"""The choice of a method in words, by validation alone.

Pure functions: accuracies and differences go in, sentences come out. Of the
methods that lie within noise of the highest validation accuracy the simplest is
chosen. The test images only tell what the choice is worth.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from blt_jax.experiments.accuracy_table import number_text, signed
from blt_jax.experiments.outcomes import Estimate
from blt_jax.method import metrics

Difference = Callable[[str, str, str], Mapping[str, Estimate]]
"""(split, method, other) -> {group: by how much the method is better}."""


@dataclasses.dataclass(frozen=True)
class Choice:
  """What is chosen, and why.

  Attributes:
    chosen: the method.
    highest: the one with the highest validation accuracy.
    tied: methods within noise of it, the simplest first, with itself.
    reason: a sentence, from validation.
    test: sentences about what the choice is worth on the test images.
  """

  chosen: str
  highest: str
  tied: tuple[str, ...]
  reason: str
  test: tuple[str, ...]


def choose(
  simplest_first: Sequence[str],
  validation: Mapping[str, float],
  difference: Difference,
  *,
  hallucinating: Collection[str] = (),
) -> Choice:
  """Chooses a method.

  Args:
    simplest_first: one method or more.
    validation: {method: overall accuracy in percent}.
    difference: see Difference.
    hallucinating: the methods among these that train on hallucinated images.
  """
  highest = max(simplest_first, key=validation.__getitem__)
  behind = {
    name: difference("validation", highest, name)["overall"]
    for name in simplest_first
    if name != highest
  }
  tied = tuple(
    name for name in simplest_first if name == highest or behind[name].is_noise
  )
  chosen = tied[0]
  return Choice(
    chosen,
    highest,
    tied,
    _reason(chosen, highest, tied, validation, behind),
    tuple(
      [
        *_against_simplest(chosen, simplest_first[0], difference),
        *_worth_of_blt(simplest_first, validation, difference, hallucinating),
      ]
    ),
  )


def _reason(
  chosen: str,
  highest: str,
  tied: Sequence[str],
  validation: Mapping[str, float],
  behind: Mapping[str, Estimate],
) -> str:
  """Why a method is chosen."""
  accuracy = f"validation overall {number_text(validation[chosen])}"
  if len(validation) == 1:
    return f"chosen: {chosen} ({accuracy}), the only method: nothing to compare"
  if chosen != highest:
    gap = interval_text(behind[chosen])
    return (
      f"chosen: {chosen} ({accuracy}), the simplest of the {len(tied)} methods "
      f"that noise does not tell apart: {highest} has the highest, "
      f"{number_text(validation[highest])}, but the difference, {gap}, may be "
      "none"
    )
  others = f"the highest of {len(validation)} methods"
  if len(tied) == 1:
    return f"chosen: {chosen} ({accuracy}, {others}, beyond noise)"
  same = ", ".join(tied[1:])
  return (
    f"chosen: {chosen} ({accuracy}, {others}); {same} "
    f"{'lies' if len(tied) == 2 else 'lie'} within noise of it and "
    f"{'is' if len(tied) == 2 else 'are'} not simpler"
  )


def _against_simplest(
  chosen: str, simplest: str, difference: Difference
) -> list[str]:
  """What the chosen method is worth on test beside the simplest one."""
  if chosen == simplest:
    return []
  found = difference("test", chosen, simplest)
  return [f"on test, {chosen} against {simplest}: {by_group(found)}"]


def _worth_of_blt(
  names: Sequence[str],
  validation: Mapping[str, float],
  difference: Difference,
  hallucinating: Collection[str],
) -> list[str]:
  """Whether hallucinated images gain anything here, on test."""
  with_blt = [name for name in names if name in hallucinating]
  without = [name for name in names if name not in hallucinating]
  if not with_blt or not without:
    return []
  ours = max(with_blt, key=validation.__getitem__)
  theirs = max(without, key=validation.__getitem__)
  found = difference("test", ours, theirs)
  among = ""
  if len(without) > 1:
    among = ", on validation the best without hallucinated images"
  return [
    f"on test, {ours} against {theirs}{among}: {by_group(found)}; "
    f"{_verdict(found, ours)}"
  ]


def _verdict(found: Mapping[str, Estimate], name: str) -> str:
  """What the differences of a method with BLT say."""
  gains = [g for g in metrics.GROUPS if found[g].low > 0]
  losses = [g for g in metrics.GROUPS if found[g].high < 0]
  cost = f", at the cost of {_and(losses)}" if losses else ""
  if "overall" in gains:
    return f"{name} gains{cost}"
  if "overall" in losses:
    more = f", with gains on {_and(gains)}" if gains else ""
    return f"{name} loses here{more}"
  if gains:
    return f"{name} gains on {_and(gains)} alone{cost}"
  more = f", with losses on {_and(losses)}" if losses else ""
  return f"nothing here is gained by {name}{more}"


def _and(names: Sequence[str]) -> str:
  return " and ".join([", ".join(names[:-1]), names[-1]][len(names) < 2 :])


def by_group(found: Mapping[str, Estimate]) -> str:
  """Differences of the groups that have classes, those in noise marked."""
  return ", ".join(
    f"{group} {interval_text(each)}{' within noise' if each.is_noise else ''}"
    for group, each in found.items()
    if each.mean == each.mean
  )


def interval_text(each: Estimate) -> str:
  """A difference: "+1.4 [+0.3, +2.5]"; a dash for an empty group."""
  if each.mean != each.mean:
    return "-"
  return f"{signed(each.mean)} [{signed(each.low)}, {signed(each.high)}]"
