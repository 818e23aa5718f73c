"""What a setting changes against another, seed by seed, beside the paper."""

import dataclasses
import math
from collections.abc import Sequence

from blt_jax.experiments import tables
from blt_jax.experiments.experiment import Setting
from blt_jax.experiments.tables import GROUPS, Paper, Results


@dataclasses.dataclass(frozen=True)
class Effect:
  """A change of accuracy in one shot group.

  Attributes:
    group: the shot group.
    changes: percentage points, a number for each seed that both settings have.
    paper: the paper's change, NaN if it has none.
  """

  group: str
  changes: tuple[float, ...]
  paper: float

  @property
  def reading(self) -> str:
    """What can be said of the direction, in words."""
    ours = {_sign(change) for change in self.changes}
    if len(ours) > 1 or ours == {0}:
      return "seeds disagree" if len(ours) > 1 else "no change"
    if math.isnan(self.paper):
      return ""
    if _sign(self.paper) == 0:
      return "the paper has no change"
    same = ours == {_sign(self.paper)}
    return "same direction" if same else "opposite direction"


def effects(
  results: Results, paper: Paper, setting: Setting, *, epoch: str
) -> list[Effect]:
  """What a setting changes against its `against`, in every shot group.

  Args:
    results: finished runs.
    paper: the paper's numbers.
    setting: one that names another to compare with.
    epoch: "last" or "best".

  Returns:
    An Effect a group; none where no seed has both, or the group has no classes.
  """
  assert setting.against is not None
  ours = {r.config.seed: r for r in results.get(setting.label, ())}
  others = {r.config.seed: r for r in results.get(setting.against, ())}
  found = []
  for group in GROUPS:
    changes = [
      tables.accuracy(ours[seed], epoch, group)
      - tables.accuracy(others[seed], epoch, group)
      for seed in sorted(ours.keys() & others.keys())
    ]
    known = tuple(change for change in changes if not math.isnan(change))
    printed = [
      float(paper.get(label, {}).get(group, math.nan))
      for label in (setting.label, setting.against)
    ]
    if known:
      found.append(Effect(group, known, printed[0] - printed[1]))
  return found


def sentences(
  results: Results,
  paper: Paper,
  settings: Sequence[Setting],
  *,
  epoch: str = "last",
) -> list[str]:
  """A sentence for each setting that is compared with another."""
  return [
    f"`{setting.label}` against `{setting.against}`: "
    + "; ".join(_phrase(effect) for effect in found)
    + "."
    for setting in settings
    if setting.against
    and (found := effects(results, paper, setting, epoch=epoch))
  ]


def _phrase(effect: Effect) -> str:
  """One group's change: "few +7.6 (+7.1, +8.0, +7.7; paper +6.5, ...)"."""
  mean = tables.value_of(effect.changes).mean
  details = []
  if len(effect.changes) > 1:
    details.append(", ".join(tables.signed(c) for c in effect.changes))
  if not math.isnan(effect.paper):
    details.append(f"paper {tables.signed(effect.paper)}")
  if effect.reading:
    details.append(effect.reading)
  inside = f" ({'; '.join(details)})" if details else ""
  return f"{effect.group} {tables.signed(mean)}{inside}"


def _sign(number: float) -> int:
  """Of what is printed: a change of less than 0.05 is none."""
  rounded = round(number, 1)
  return (rounded > 0) - (rounded < 0)
