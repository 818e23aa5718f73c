"""By how much a setting is better or worse than another, seed by seed.

The paper's difference stands beside it, and whether the signs agree.
"""

import dataclasses
import math
from collections.abc import Sequence

from blt_jax.experiments import accuracy_table
from blt_jax.experiments.accuracy_table import GROUPS, Paper, Results
from blt_jax.experiments.settings import Setting


@dataclasses.dataclass(frozen=True)
class Change:
  """A change of accuracy in one shot group."""

  group: str
  by_seed: tuple[float, ...]
  paper: float

  @property
  def reading(self) -> str:
    """Whether the seeds agree with one another and with the paper."""
    ours = {_sign(each) for each in self.by_seed}
    if len(ours) > 1 or ours == {0}:
      return "seeds disagree" if len(ours) > 1 else "no change"
    if math.isnan(self.paper):
      return ""
    if _sign(self.paper) == 0:
      return "the paper has no change"
    same = ours == {_sign(self.paper)}
    return "same direction" if same else "opposite direction"


def changes_of(
  results: Results, paper: Paper, setting: Setting, *, epoch: str
) -> list[Change]:
  """The accuracies of a setting minus those of its `against`, by shot group."""
  assert setting.against is not None
  ours = {r.config.seed: r for r in results.get(setting.label, ())}
  others = {r.config.seed: r for r in results.get(setting.against, ())}
  found = []
  for group in GROUPS:
    differences = [
      accuracy_table.accuracy(ours[seed], epoch, group)
      - accuracy_table.accuracy(others[seed], epoch, group)
      for seed in sorted(ours.keys() & others.keys())
    ]
    known = tuple(each for each in differences if not math.isnan(each))
    printed = [
      float(paper.get(label, {}).get(group, math.nan))
      for label in (setting.label, setting.against)
    ]
    if known:
      found.append(Change(group, known, printed[0] - printed[1]))
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
    + "; ".join(_phrase(change) for change in found)
    + "."
    for setting in settings
    if setting.against
    and (found := changes_of(results, paper, setting, epoch=epoch))
  ]


def _phrase(change: Change) -> str:
  """One group's change: "few +7.6 (+7.1, +8.0, +7.7; paper +6.5, ...)"."""
  mean = accuracy_table.value_of(change.by_seed).mean
  details = []
  if len(change.by_seed) > 1:
    details.append(", ".join(accuracy_table.signed(c) for c in change.by_seed))
  if not math.isnan(change.paper):
    details.append(f"paper {accuracy_table.signed(change.paper)}")
  if change.reading:
    details.append(change.reading)
  inside = f" ({'; '.join(details)})" if details else ""
  return f"{change.group} {accuracy_table.signed(mean)}{inside}"


def _sign(number: float) -> int:
  """The sign of a change as it is printed; less than 0.05 is no change."""
  rounded = round(number, 1)
  return (rounded > 0) - (rounded < 0)
