"""Which runs experiments and comparisons need, each once, in which order."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from blt_jax.config import Config, flatten, left_open, repository_of
from blt_jax.experiments import variants
from blt_jax.experiments.catalog import Experiment
from blt_jax.experiments.protocols import Protocol, settings_on
from blt_jax.experiments.settings import Setting
from blt_jax.experiments.variants import Basis
from blt_jax.system import installed
from blt_jax.workdir import directory

REUSE = "stage1.reuse"


@dataclasses.dataclass(frozen=True)
class Repeat:
  """What tells the runs of a setting apart.

  Attributes:
    seed: of the run.
    folds: number of folds that the images are dealt into, 0 for none.
    fold: the one that the run tests, 1..folds.
  """

  seed: int = 0
  folds: int = 0
  fold: int = 0

  @property
  def fields(self) -> dict[str, Any]:
    """The overrides that it makes, beside the seed."""
    if not self.folds:
      return {}
    return {"dataset.folds": self.folds, "dataset.fold": self.fold}

  @property
  def title(self) -> str:
    """Its name in tables: "seed 0", or "fold 1"."""
    return f"fold {self.fold}" if self.folds else f"seed {self.seed}"


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedRun:
  """A run that one or several experiments need.

  Attributes:
    name: unique in its folder: "blt,p=0.5,seed=0".
    workdir: its work directory.
    config: its configuration, without `stage1.reuse`; what it leaves open is
      chosen when it begins.
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
    return stage1_key(self.config, without=left_open(self.config))


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
  check_seeds(seeds)
  folder = output / "runs" / protocol.dataset
  runs: dict[str, PlannedRun] = {}
  planned = []
  for experiment in experiments:
    settings = _chosen(settings_on(experiment, protocol), only)
    names = plan_settings(
      settings,
      protocol,
      repeats=[Repeat(seed) for seed in seeds],
      folder=folder,
      overrides=overrides or {},
      runs=runs,
    )
    planned.append(PlannedExperiment(experiment, settings, names))
  if not runs:
    raise ValueError(
      f"--settings={','.join(only)}: no setting of these experiments on "
      f"{protocol.dataset} has such a word in its label; expected words of "
      f"{', '.join(_labels(experiments, protocol))}."
    )
  return Plan(
    protocol, tuple(seeds), folder, tuple(runs.values()), tuple(planned)
  )


def plan_settings(
  settings: Sequence[Setting],
  basis: Basis,
  *,
  repeats: Sequence[Repeat],
  folder: pathlib.Path,
  overrides: Mapping[str, Any],
  runs: dict[str, PlannedRun],
) -> dict[str, tuple[str, ...]]:
  """Plans the runs of some settings.

  Args:
    settings: with different labels.
    basis: what all runs share.
    repeats: of every setting, the first one's runs first.
    folder: of the work directories.
    overrides: {"section.field": value} for every run.
    runs: by name; gets those that it lacks.

  Returns:
    {label: names of its runs, one a repeat}; settings of equal configurations
    share their runs.

  Raises:
    ValueError: for an override of what the settings set, or of a value that the
      configuration refuses.
  """
  each = [setting.variant for setting in settings]
  variants.check_overrides(basis, each, overrides=overrides)
  pairs = {
    s.label: variants.needed_pairs(basis, s.variant, overrides=overrides)
    for s in settings
  }
  names: dict[str, list[str]] = {setting.label: [] for setting in settings}
  for repeat in repeats:
    for label, variant in pairs.items():
      name = _name(variant, repeat)
      if name not in runs:
        fields = {**overrides, **repeat.fields}
        runs[name] = _run(basis, variant, repeat.seed, fields, folder / name)
      names[label].append(name)
  return {label: tuple(each) for label, each in names.items()}


def stage1_fields(config: Config) -> dict[str, Any] | None:
  """Everything that stage 1 depends on, None for one that can't be shared."""
  if not config.stage1.epochs or config.stage1.perturb:
    return None
  shared = directory.STAGE1_FIELDS
  fields = {
    name: value
    for name, value in flatten(config).items()
    if name.startswith(shared) and name not in (REUSE, "model.pretrained")
  }
  # A run that has begun has the commit, one that is planned need not.
  return {**fields, "weights": repository_of(config.model.pretrained)}


def stage1_key(config: Config, *, without: Sequence[str] = ()) -> str | None:
  """`stage1_fields` as a text, but for some fields."""
  fields = stage1_fields(config)
  if fields is None:
    return None
  return json.dumps({n: v for n, v in fields.items() if n not in without})


def _name(variant: Mapping[str, str], repeat: Repeat) -> str:
  name = variants.variant_text(variant, repeat.seed).removeprefix("method=")
  return f"{name},fold={repeat.fold}of{repeat.folds}" if repeat.folds else name


def _run(basis, variant, seed, overrides, workdir) -> PlannedRun:
  options = {"overrides": overrides, "seed": seed}
  return PlannedRun(
    name=workdir.name,
    workdir=workdir,
    config=variants.configure(basis, variant, **options),
    flags=tuple(variants.flags_of(basis, variant, **options)),
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


def seeds_of(texts: Sequence[str]) -> list[int]:
  """The numbers of --seeds; ValueError for what is none."""
  if not all(text.isdecimal() for text in texts):
    raise ValueError(
      f"--seeds={','.join(texts)}: expected whole numbers from 0."
    )
  return [int(text) for text in texts]


def check_seeds(seeds: Sequence[int]) -> None:
  """Raises ValueError for seeds that are none, negative or repeated."""
  if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
    raise ValueError(
      f"--seeds={','.join(map(str, seeds))}: expected one or more different "
      "whole numbers from 0."
    )
