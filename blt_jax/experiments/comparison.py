"""A comparison of methods on a data set: which runs it takes."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import left_open
from blt_jax.experiments import methods, variants
from blt_jax.experiments.plan import (
  PlannedRun,
  Repeat,
  check_seeds,
  plan_settings,
)
from blt_jax.experiments.settings import Setting
from blt_jax.experiments.variants import Basis


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Methods to compare, and the runs that this takes.

  Attributes:
    basis: what all runs share.
    settings: one a method, in the order given.
    repeats: seeds, or folds.
    runs: in the order of training.
    names: {method: names of its runs, one a repeat}.
  """

  basis: Basis
  settings: tuple[Setting, ...]
  repeats: tuple[Repeat, ...]
  runs: tuple[PlannedRun, ...]
  names: Mapping[str, tuple[str, ...]]

  @property
  def folds(self) -> int:
    """Number of folds, 0 for seeds."""
    return self.repeats[0].folds


def make_comparison(
  config: str,
  names: Sequence[str],
  *,
  seeds: Sequence[int],
  folds: int,
  output: pathlib.Path,
  overrides: Mapping[str, Any],
) -> Comparison:
  """Plans a comparison.

  Args:
    config: of the command line: a file, with pairs behind a colon or without.
    names: of --methods.
    seeds: of every method; with folds one.
    folds: number of folds, 0 for none.
    output: runs are in output/runs.
    overrides: {"section.field": value} for every run.

  Raises:
    ValueError: for names, seeds, folds, pairs or overrides that are not
      allowed, or names of equal configurations.
  """
  settings = methods.settings_of(names)
  path, _, text = config.partition(":")
  pairs = dict(
    pair.partition("=")[::2] for pair in filter(None, text.split(","))
  )
  for key, flag in (("method", "--methods"), ("seed", "--seeds")):
    if key in pairs:
      raise ValueError(
        f"--config={config}: {key} is given; expected it in {flag} alone with "
        "--mode=compare."
      )
  basis = Basis(config=path, pairs=pairs)
  repeats = _repeats(seeds, folds, overrides)
  runs: dict[str, PlannedRun] = {}
  _check_names(basis, settings, overrides)
  planned = plan_settings(
    settings,
    basis,
    repeats=repeats,
    folder=output / "runs",
    overrides=overrides,
    runs=runs,
  )
  _check_different(planned, runs)
  return Comparison(basis, settings, repeats, tuple(runs.values()), planned)


def _repeats(
  seeds: Sequence[int], folds: int, overrides: Mapping[str, Any]
) -> tuple[Repeat, ...]:
  """The seeds, or the folds with the one seed.

  Raises:
    ValueError: for both, or for fields that --folds sets.
  """
  check_seeds(seeds)
  if not folds:
    return tuple(Repeat(seed) for seed in seeds)
  if folds < 2:
    raise ValueError(f"--folds={folds}: expected 2 or more.")
  if len(seeds) > 1:
    raise ValueError(
      f"--folds={folds} is given with --seeds={','.join(map(str, seeds))}; "
      "expected one of them, or one seed with --folds."
    )
  for field in ("dataset.folds", "dataset.fold"):
    if field in overrides:
      raise ValueError(
        f"--config.{field} is given, but --folds={folds} sets it; expected one "
        "of them."
      )
  return tuple(Repeat(seeds[0], folds, fold) for fold in range(1, folds + 1))


def _check_names(
  basis: Basis, settings: Sequence[Setting], overrides: Mapping[str, Any]
) -> None:
  """Raises ValueError, naming it, for a method that the file does not know."""
  variants.configure(basis, {}, overrides=overrides)
  for setting in settings:
    try:
      variants.configure(basis, setting.variant, overrides=overrides)
    except ValueError as error:
      raise ValueError(
        f"--methods={setting.label}: {error} Losses are names, too: "
        f"{', '.join(methods.LOSS_NAMES)}."
      ) from None


def _check_different(
  planned: Mapping[str, tuple[str, ...]], runs: Mapping[str, PlannedRun]
) -> None:
  """Raises ValueError for equal methods, or if they leave different open."""
  seen: dict[str, str] = {}
  first, *_ = planned
  for label, (name, *_) in planned.items():
    other = seen.setdefault(name, label)
    if other != label:
      raise ValueError(
        f"--methods: {other} and {label} are the same configuration; expected "
        "different ones."
      )
    ours, theirs = (
      set(left_open(runs[planned[each][0]].config)) for each in (label, first)
    )
    for field in sorted(ours ^ theirs):
      open_one, set_one = (label, first) if field in ours else (first, label)
      raise ValueError(
        f"--methods: {set_one} sets config.{field} and {open_one} leaves it "
        "open; expected it set for all, or for none."
      )
