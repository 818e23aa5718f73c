"""The trained network of a run, from its work directory."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.config import GIVEN, Config, with_values
from blt_jax.deploy.description import TEMPERATURE, Description
from blt_jax.deploy.model import TrainedModel
from blt_jax.system import console
from blt_jax.training import build, objective, prior, stages
from blt_jax.workdir import directory, files, given
from blt_jax.workdir.checkpoint import read_epoch
from blt_jax.workdir.progress import EpochRow


def from_workdir(
  workdir: pathlib.Path,
  *,
  checkpoint: str = "best",
  posthoc_tau: float | None = None,
  own: nn.Module | None = None,
  pretrained: str | None = None,
) -> TrainedModel:
  """The network of a run; its images need not be there.

  Args:
    workdir: of a run with at least one finished epoch.
    checkpoint: "best" (by validation) or "last" epoch.
    posthoc_tau: replaces the run's `model.posthoc_tau` unless it is None. With
      another value the description has no accuracies, because the run measured
      with its own.
    own: the network of the run where a program handed it in.
    pretrained: where the weights are now that the run began with and left as
      they were in part; None if they are where they were.

  Returns:
    The network, calibrated where the run has a temperature for this epoch and
    this tau; the console says why where it has none.

  Raises:
    ValueError: when the directory holds no run or no checkpoint, the tau does
      not go with the run's loss, results.json has a wrong temperature, the run
      is of another network than `own`, or its weights to begin with are not
      there, have changed or are not needed.
    FileNotFoundError: when no checkpoint can be read.
  """
  config = directory.read_config(workdir)
  own_tau = config.model.posthoc_tau
  if posthoc_tau is not None:
    config = with_values(config, {"model.posthoc_tau": posthoc_tau})
  if pretrained is not None:
    from blt_jax.config import trained  # Few runs need it.

    config = with_values(config, {"model.pretrained": pretrained})
    trained.check_file_is_needed(config.model)
  names, counts = _classes(workdir)
  if own is None and config.model.backbone == GIVEN:
    raise ValueError(
      f"the network of {workdir} is of a program, {given.network(workdir)}; "
      "expected blt_jax.load(workdir, model=...) in a program that has it."
    )
  model = build.build_model(config, len(names), own=own)
  template = build.state_shapes(config, model, len(names))
  arrays, row = read_epoch(workdir, template.arrays(), checkpoint=checkpoint)
  is_own_tau = config.model.posthoc_tau == own_tau
  results = directory.read_results(workdir) or {}
  measured = _measured(results.get(checkpoint), row)
  begun = prior.as_begun(workdir, config)
  description = _describe(
    config,
    class_names=names,
    class_counts=counts,
    logit_offset=_logit_offset(begun, names, counts, stage=row.stage),
    checkpoint=checkpoint,
    stage=row.stage,
    epoch=row.epoch,
    accuracy=_accuracy(row, measured) if is_own_tau else {},
    test_set=results.get("test_set", {}) if measured and is_own_tau else {},
    shares=_shares(begun, names, counts),
    temperature=_temperature(
      measured,
      workdir / directory.RESULTS,
      checkpoint=checkpoint,
      is_own_tau=is_own_tau,
    ),
  )
  state = build.restored(config, template, arrays)
  variables = jax.tree.map(np.asarray, state.evaluated.variables)
  return TrainedModel(description, variables, own)


def images_folder(workdir: pathlib.Path) -> str:
  """The folder that paths of a run's splits.csv are relative to."""
  dataset = directory.read_config(workdir).dataset
  return dataset.root or os.path.dirname(dataset.table)


def _describe(config: Config, **others: Any) -> Description:
  """The description of a run's network; `others` come from elsewhere."""
  model, dataset = config.model, config.dataset
  return Description(
    backbone=model.backbone,
    classifier=model.classifier,
    alpha=model.alpha,
    beta=model.beta,
    hidden=model.hidden,
    adapter_width=build.adapter_width(config, len(others["class_names"])),
    dtype=model.dtype,
    precision=model.precision,
    image_size=dataset.image_size,
    resize_size=dataset.resize_size,
    interpolation=dataset.interpolation,
    five_crop=dataset.five_crop,
    mean=tuple(dataset.mean),
    std=tuple(dataset.std),
    background=tuple(dataset.background),
    exif_orientation=dataset.exif_orientation,
    grey_range=tuple(dataset.grey_range),
    dataset=dataset.name,
    method=config.method,
    many_above=dataset.many_above,
    few_up_to=dataset.few_up_to,
    config=files.finite(dataclasses.asdict(config)),
    **others,
  )


def _logit_offset(
  config: Config,
  class_names: tuple[str, ...],
  class_counts: tuple[int, ...],
  *,
  stage: int,
) -> tuple[float, ...] | None:
  """What `model.posthoc_tau` adds to the logits of a stage: [C], or None."""
  if not config.model.posthoc_tau:
    return None
  counts = np.asarray(class_counts)
  adjust_fn = objective.build_adjustment(
    config,
    counts,
    target=prior.target_shares(
      config.dataset.prior, class_names=class_names, class_counts=counts
    ),
    gamma=stages.sampler_gamma(config.stage(stage)),
  )
  if adjust_fn is None:
    return None
  return tuple(np.asarray(adjust_fn(jnp.zeros((1, len(counts)))))[0].tolist())


def _shares(
  config: Config, class_names: tuple[str, ...], class_counts: tuple[int, ...]
) -> tuple[float, ...] | None:
  """The shares of `dataset.prior`; None without one, or if its file is gone.

  They weigh measures alone: without the file a network can still be used.
  """
  given = config.dataset.prior
  if not prior.is_word(given) and not os.path.exists(given):
    return None
  found = prior.target_shares(
    given, class_names=class_names, class_counts=np.asarray(class_counts)
  )
  return None if found is None else tuple(found.tolist())


def _measured(
  found: Mapping[str, Any] | None, row: EpochRow
) -> Mapping[str, Any] | None:
  """What results.json says about an epoch, None where it is of another."""
  if found and (found["stage"], found["epoch"]) == (row.stage, row.epoch):
    return found
  return None


def _accuracy(
  row: EpochRow, measured: Mapping[str, Any] | None
) -> dict[str, Any]:
  """{"validation", "test"}: the measures; test once the run has ended."""
  accuracy = {"validation": row.validation}
  if measured:
    accuracy = {split: measured[split] for split in ("validation", "test")}
  return files.finite(accuracy)


def _temperature(
  measured: Mapping[str, Any] | None,
  results: pathlib.Path,
  *,
  checkpoint: str,
  is_own_tau: bool,
) -> float:
  """The temperature of an epoch; without one 1, and a line that says why.

  Raises:
    ValueError: it is no number above 0.
  """
  temperature = (measured or {}).get("temperature")
  if not is_own_tau:
    reason = "the run's temperature holds for its own posthoc_tau alone"
  elif not results.exists():
    reason = f"{results} is not there, which the end of the run writes"
  elif measured is None:
    reason = f"{results} is of another {checkpoint} epoch"
  elif temperature is None:
    reason = f"{results} has no {checkpoint}.temperature"
  elif TEMPERATURE.accepts(temperature):
    return float(temperature)
  else:
    raise ValueError(
      f"{results}: {checkpoint}.temperature is {temperature!r}; expected "
      f"{TEMPERATURE.allowed}."
    )
  console.say(f"note: probabilities are not calibrated: {reason}")
  return 1.0


def _classes(workdir: pathlib.Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
  """Names and training images of a run's classes.

  Raises:
    ValueError: when the directory does not tell them.
  """
  for name in (directory.CLASSES, directory.RESULTS):
    content = files.read_object(workdir / name) or {}
    names, counts = content.get("class_names"), content.get("class_counts")
    if (
      isinstance(names, list)
      and isinstance(counts, list)
      and len(names) == len(counts) > 0
    ):
      return tuple(map(str, names)), tuple(counts)
  raise ValueError(
    f"--workdir={workdir} has no {directory.CLASSES} with class_names and "
    "class_counts; expected a directory that a training run made."
  )
