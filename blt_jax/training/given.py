"""A run whose images or network a program hands in, before it begins."""

import dataclasses
import pathlib
from typing import Any

import flax.linen as nn

from blt_jax.config.given import settle
from blt_jax.data.dataset import Dataset
from blt_jax.data.fingerprint import fingerprint
from blt_jax.training import choose
from blt_jax.workdir import directory, given


def complete(
  config: Any,
  workdir: pathlib.Path,
  *,
  dataset: Dataset | None,
  own: nn.Module | None,
) -> choose.Complete:
  """`choose.complete` for a run of images or of a network that are handed in.

  Args:
    config: as `check_config` takes it.
    workdir: of the run.
    dataset: the images, None for those of the configuration.
    own: the network, None for that of the configuration.

  Raises:
    ValueError: as `choose.complete`, for fields that do not go with a network
      of the caller's own, and where a run has begun with something else.
  """
  settled, lines = settle(
    config,
    images=None if dataset is None else dataset.name,
    network=own is not None,
  )
  chosen = choose.complete(settled, workdir=workdir, dataset=dataset)
  handed = {}
  if dataset is not None:
    handed["images"] = fingerprint(dataset)
  if own is not None:
    handed["network"] = given.described(own)
  if (workdir / directory.CONFIG).exists():
    directory.check_config_of(workdir, chosen.config)
    given.check(workdir, handed)
  return dataclasses.replace(
    chosen, reasons=[*lines, *chosen.reasons], own=own, handed=handed
  )
