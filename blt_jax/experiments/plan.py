"""Which runs the experiments need, each once, and in which order."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import Config, flatten
from blt_jax.experiments import variants
from blt_jax.experiments.catalog import Experiment
from blt_jax.experiments.protocols import Protocol, settings_on
from blt_jax.experiments.settings import Setting
from blt_jax.system import installed
from blt_jax.workdir import directory

REUSE = "stage1.reuse"


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedRun:
  """A run that one or several experiments need.

  Attributes:
    name: unique in its folder: "blt,p=0.5,seed=0".
    workdir: its work directory.
    config: its configuration, without `stage1.reuse`.
    flags: main.py's flags, without --workdir and `stage1.reuse`.
  """

  name: str
  workdir: pathlib.Path
  config: Config
  flags: tuple[str, ...]

  def command(self, stage1: pathlib.Path | None) -> list[str]:
    """What follows `python` to train it.

    Args:
      stage1: the work directory to take stage 1 over from, None to train it.
    """
    reuse = [f"--config.{REUSE}={stage1}"] if stage1 else []
    workdir = f"--workdir={self.workdir}"
    return [*installed.program(), *self.flags, *reuse, workdir]

  def stage1_key(self) -> str | None:
    """Equal for runs with the same stage 1, None if it can't be shared."""
    return stage1_key(self.config)


@dataclasses.dataclass(frozen=True)
class PlannedExperiment:
  """An experiment on a data set."""

  experiment: Experiment
  settings: tuple[Setting, ...]
  runs: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Plan:
  """Everything that is to be trained and drawn."""

  protocol: Protocol
  seeds: tuple[int, ...]
  folder: pathlib.Path
  runs: tuple[PlannedRun, ...]
  experiments: tuple[PlannedExperiment, ...]


def make_plan(
  experiments: Sequence[Experiment],
  protocol: Protocol,
  *,
  seeds: Sequence[int],
  output: pathlib.Path,
  overrides: Mapping[str, Any] | None = None,
  only: Sequence[str] = (),
) -> Plan:
  """Plans experiments: each distinct run once, however many ask for it.

  Args:
    experiments: one or more.
    protocol: of the data set.
    seeds: of every setting. All settings of the first seed come first, so that
      an interrupted experiment has whole rows.
    output: runs are in output/runs/<dataset>.
    overrides: {"section.field": value} for every run.
    only: words of the labels to keep ("resnet10" of "blt, resnet10"); all if
      empty.

  Raises:
    ValueError: for seeds that are none, negative or repeated, an override of
      what an experiment sets, or `only` that leaves nothing.
  """
  _check_seeds(seeds)
  overrides = overrides or {}
  folder = output / "runs" / protocol.dataset
  runs: dict[str, PlannedRun] = {}
  planned = []
  for experiment in experiments:
    settings = _chosen(settings_on(experiment, protocol), only)
    variants.check_overrides(
      protocol, [s.variant for s in settings], overrides=overrides
    )
    names: dict[str, list[str]] = {setting.label: [] for setting in settings}
    pairs = {
      s.label: variants.needed_pairs(protocol, s.variant, overrides=overrides)
      for s in settings
    }
    for seed in seeds:
      for label, variant in pairs.items():
        name = variants.variant_text(variant, seed).removeprefix("method=")
        if name not in runs:
          runs[name] = _run(protocol, name, variant, seed, overrides, folder)
        names[label].append(name)
    shared = {label: tuple(each) for label, each in names.items()}
    planned.append(PlannedExperiment(experiment, settings, shared))
  if not runs:
    raise ValueError(
      f"--settings={','.join(only)}: no setting of these experiments on "
      f"{protocol.dataset} has such a word in its label; expected words of "
      f"{', '.join(_labels(experiments, protocol))}."
    )
  return Plan(
    protocol, tuple(seeds), folder, tuple(runs.values()), tuple(planned)
  )


def stage1_key(config: Config) -> str | None:
  """Everything that stage 1 depends on, None for one that can't be shared."""
  if not config.stage1.epochs or config.stage1.perturb:
    return None
  shared = directory.STAGE1_FIELDS
  fields = {
    name: value
    for name, value in flatten(config).items()
    if name.startswith(shared) and name != REUSE
  }
  return json.dumps(fields)


def _run(protocol, name, variant, seed, overrides, folder) -> PlannedRun:
  options = {"overrides": overrides, "seed": seed}
  return PlannedRun(
    name=name,
    workdir=folder / name,
    config=variants.configure(protocol, variant, **options),
    flags=tuple(variants.flags_of(protocol, variant, **options)),
  )


def _chosen(
  settings: tuple[Setting, ...], only: Sequence[str]
) -> tuple[Setting, ...]:
  """The settings with one of the words `only` in their label; all if empty."""
  return tuple(
    setting
    for setting in settings
    if not only or set(only) & set(setting.label.replace(",", " ").split())
  )


def _labels(experiments: Sequence[Experiment], protocol: Protocol) -> list[str]:
  return [
    setting.label
    for experiment in experiments
    for setting in settings_on(experiment, protocol)
  ]


def _check_seeds(seeds: Sequence[int]) -> None:
  if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
    raise ValueError(
      f"--seeds={','.join(map(str, seeds))}: expected one or more different "
      "whole numbers from 0."
    )
