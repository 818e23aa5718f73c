"""Batch sizes, backbones and schedule of the experiments on each data set."""

import dataclasses
from collections.abc import Mapping

from blt_jax.experiments.catalog import Experiment
from blt_jax.experiments.settings import BACKBONES, Setting
from blt_jax.experiments.variants import Basis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol(Basis):
  """How the paper's experiments are made on a data set.

  Attributes:
    dataset: name of the command line.
    batches: the paper's batch size -> ours.
    backbones: the paper's backbone -> ours, none to leave it out.
    reweight_epoch: of deferred reweighting: the one after the first drop of
      stage 2's learning rates, as in the LDAM paper.
    note: what differs from the paper, for the report.
  """

  dataset: str
  batches: Mapping[str, str]
  backbones: Mapping[str, tuple[str, ...]]
  reweight_epoch: int = 24
  note: str = ""


_OWN_BATCHES = {size: size for size in ("256", "128", "64", "32", "16")}
_OWN_BACKBONES = {name: (name,) for name in BACKBONES}
# ResNet-152 is left out: with 58 million parameters its checkpoints take more
# room than the data set.
_SMALL_BACKBONES = {
  **_OWN_BACKBONES,
  "resnet10": ("small_resnet10", "resnet10"),
  "resnet152": (),
}

# The paper compares batch sizes under two policies of its own for the learning
# rates (supplement, Table 1); it scales neither to the batch.
_RATES = {"optimizer.rate_batch_size": 0}

PROTOCOLS: dict[str, Protocol] = {
  "digits_lt": Protocol(
    dataset="digits_lt",
    config="configs/digits_lt.py",
    fields={
      **_RATES,
      "stage1.epochs": 12,
      "stage1.drop_epochs": (9, 11),
      "stage2.epochs": 18,
      "stage2.drop_epochs": (8, 12, 17),
    },
    batches={"256": "64", "128": "32", "64": "16", "32": "8", "16": "4"},
    backbones=_SMALL_BACKBONES,
    reweight_epoch=9,
    note=(
      "Handwritten digits of 16 pixels: a third of the paper's epochs, a "
      "quarter of its batch sizes where these are the subject, batch 32 and "
      "small_resnet10 otherwise."
    ),
  ),
  "cifar10_lt": Protocol(
    dataset="cifar10_lt",
    config="configs/cifar10_lt.py",
    fields=_RATES,
    batches=_OWN_BATCHES,
    backbones=_SMALL_BACKBONES,
    note=(
      "Images of 32 pixels: the paper's epochs, batch 128 and small_resnet10 "
      "where these are not the subject."
    ),
  ),
  "imagenet_lt": Protocol(
    dataset="imagenet_lt",
    config="configs/imagenet_lt.py",
    fields=_RATES,
    batches=_OWN_BATCHES,
    backbones=_OWN_BACKBONES,
  ),
  "places_lt": Protocol(
    dataset="places_lt",
    config="configs/places_lt.py",
    fields=_RATES,
    batches=_OWN_BATCHES,
    backbones=_OWN_BACKBONES,
  ),
}


def settings_on(
  experiment: Experiment, protocol: Protocol
) -> tuple[Setting, ...]:
  """The settings of an experiment with a data set's sizes and backbones."""
  adapted = []
  for setting in experiment.settings:
    variant = dict(setting.variant)
    if "batch" in variant:
      variant["batch"] = protocol.batches[variant["batch"]]
    if "reweight" in variant:
      variant["reweight"] = str(protocol.reweight_epoch)
    backbones: tuple[str | None, ...] = (None,)
    if "backbone" in variant:
      backbones = protocol.backbones[variant["backbone"]]
    adapted += [_with_backbone(setting, variant, name) for name in backbones]
  return tuple(adapted)


def _with_backbone(
  setting: Setting, variant: dict[str, str], backbone: str | None
) -> Setting:
  if backbone:
    variant = {**variant, "backbone": backbone}
  names = {name: variant.get(name, "") for name in ("batch", "backbone")}
  against = setting.against
  return dataclasses.replace(
    setting,
    label=setting.label.format(**names),
    variant=variant,
    against=against.format(**names) if against else None,
  )


def replacements(experiment: Experiment, protocol: Protocol) -> str:
  """Which sizes and backbones stand in for the paper's, or ""."""
  found: dict[str, str] = {}
  for setting in experiment.settings:
    variant = setting.variant
    if "batch" in variant:
      theirs = variant["batch"]
      found[f"batch {theirs}"] = f"batch {protocol.batches[theirs]}"
    if "backbone" in variant:
      theirs = variant["backbone"]
      ours = protocol.backbones[theirs]
      found[theirs] = " and ".join(ours) or "nothing"
  changed = [f"{b} for {a}" for a, b in found.items() if a != b]
  if not changed:
    return ""
  return f"Beside the paper's numbers stand ours of {', '.join(changed)}."


def comparison(experiment: Experiment, protocol: Protocol) -> str:
  """How far the paper's numbers can be compared with those of a data set."""
  theirs = {"imagenet_lt": "ImageNet-LT", "places_lt": "Places-LT"}
  if experiment.dataset == protocol.dataset:
    return (
      f"The paper's numbers are of {theirs[experiment.dataset]}, as these are."
    )
  return (
    f"The paper's numbers are of {theirs[experiment.dataset]}: their level is "
    f"not comparable with {protocol.dataset}'s; compare the direction."
  )
