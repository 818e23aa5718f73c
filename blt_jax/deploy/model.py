"""A trained network with everything that is needed to use it elsewhere."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import blt_jax
from blt_jax.config import Config
from blt_jax.data import augment
from blt_jax.method.train_step import TrainState
from blt_jax.models import create_model
from blt_jax.training import build, objective, stages
from blt_jax.workdir import directory, files
from blt_jax.workdir.progress import EpochRow

CHECKPOINTS = ("best", "last")

# Of the description; raised when older programs could misread it.
VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
  """A network, its variables, and what it was trained for.

  Attributes:
    about: what `describe` gives: backbone, classifier, preprocessing, class
      names, accuracies, configuration; JSON's types only.
    variables: {"params", "batch_stats"} of `module`.
  """

  about: dict[str, Any]
  variables: Mapping[str, Any]

  @property
  def class_names(self) -> list[str]:
    """Names of the C classes, in the order of the logits."""
    return self.about["class_names"]

  @property
  def image_size(self) -> int:
    """Side of the square that the network sees, pixels."""
    return self.about["image_size"]

  def module(self) -> nn.Module:
    """The network, for one device."""
    about = self.about
    return create_model(
      about["backbone"],
      len(self.class_names),
      classifier=about["classifier"],
      alpha=about["alpha"],
      beta=about["beta"],
      hidden=about["hidden"],
      dtype=jnp.dtype(about["dtype"]),
    )

  def logits(self, images: jax.Array) -> jax.Array:
    """The network in inference mode, adjusted as the run's evaluations are.

    Args:
      images: float32 [n, s, s, 3], normalised, s = image_size.

    Returns:
      float32 [n, C].
    """
    logits: Any = self.module().apply(self.variables, images, train=False)
    offset = self.about["logit_offset"]
    return logits if offset is None else logits + jnp.array([offset])

  def logits_of_pixels(self, images: jax.Array) -> jax.Array:
    """The same of images that are not normalised: uint8 [n, s, s, 3]."""
    return self.logits(
      augment.normalize(
        images.astype(jnp.float32) / 255.0,
        mean=self.about["mean"],
        std=self.about["std"],
      )
    )


def from_workdir(
  workdir: pathlib.Path,
  *,
  checkpoint: str = "best",
  posthoc_tau: float | None = None,
) -> TrainedModel:
  """The network of a run; its images need not be there.

  Args:
    workdir: of a run with at least one finished epoch.
    checkpoint: "best" (by validation) or "last" epoch.
    posthoc_tau: in place of the run's `model.posthoc_tau`, None for that. The
      description of another one has no accuracies: the run measured its own.

  Returns:
    The network after that epoch.

  Raises:
    ValueError: when the directory holds no run or no checkpoint, or the tau
      does not go with the run's loss.
    FileNotFoundError: when no checkpoint can be read.
  """
  from blt_jax.workdir.checkpoint import FOLDER, Checkpoints

  config = directory.read_config(workdir)
  own_tau = config.model.posthoc_tau
  if posthoc_tau is not None:
    config = objective.with_posthoc(config, posthoc_tau)
  classes = _classes(workdir)
  template = _empty_state(config, len(classes["class_names"]))
  with Checkpoints(workdir / FOLDER, read_only=True) as checkpoints:
    if checkpoints.latest_step() is None:
      raise ValueError(f"--workdir={workdir} holds no checkpoint yet.")
    state, progress = checkpoints.restore(template)
    row = progress.rows[-1]
    if checkpoint == "best":
      state, row = checkpoints.restore_best(template, progress)
  about = describe(
    config,
    **classes,
    checkpoint=checkpoint,
    row=row,
    results=directory.read_results(workdir),
    logit_offset=_logit_offset(config, classes, step=row.step),
  )
  if config.model.posthoc_tau != own_tau:
    about["accuracy"] = {}
  return TrainedModel(about, jax.device_get(state.variables))


def describe(
  config: Config,
  *,
  class_names: list[str],
  class_counts: list[int],
  checkpoint: str,
  row: EpochRow,
  results: Mapping[str, Any] | None,
  logit_offset: list[float] | None,
) -> dict[str, Any]:
  """What there is to know about the network of a run.

  Args:
    config: of the run.
    class_names: [C].
    class_counts: [C], training images of each class.
    checkpoint: "best" or "last".
    row: the epoch's row of metrics.csv.
    results: what results.json holds, None before the end.
    logit_offset: [C], added to the network's logits, or None.

  Returns:
    JSON's types only.
  """
  model, dataset = config.model, config.dataset
  return {
    "format": VERSION,
    "blt_jax": blt_jax.__version__,
    "backbone": model.backbone,
    "classifier": model.classifier,
    "alpha": model.alpha,
    "beta": model.beta,
    "hidden": model.hidden,
    "dtype": model.dtype,
    "image_size": dataset.image_size,
    "resize_size": dataset.resize_size,
    "mean": list(dataset.mean),
    "std": list(dataset.std),
    "logit_offset": logit_offset,
    "class_names": class_names,
    "class_counts": class_counts,
    "checkpoint": checkpoint,
    "stage": row.stage,
    "epoch": row.epoch,
    "accuracy": _accuracy(row, (results or {}).get(checkpoint)),
    "config": files.finite(dataclasses.asdict(config)),
  }


def _logit_offset(
  config: Config, classes: Mapping[str, list], *, step: int
) -> list[float] | None:
  """What `model.posthoc_tau` adds to the logits after a step: [C], or None."""
  counts = np.asarray(classes["class_counts"])
  adjust_fn = objective.build_adjustment(
    config, counts, gamma=stages.gamma_at(config, counts, step=step)
  )
  if adjust_fn is None:
    return None
  return np.asarray(adjust_fn(jnp.zeros((1, len(counts)))))[0].tolist()


def _accuracy(
  row: EpochRow, tested: Mapping[str, Any] | None
) -> dict[str, Any]:
  """{"validation", "test"} in percent by shot group; test once it is known."""
  accuracy = {"validation": row.validation}
  if tested and (tested["stage"], tested["epoch"]) == (row.stage, row.epoch):
    accuracy["test"] = tested["test"]
  return files.finite(accuracy)


def _classes(workdir: pathlib.Path) -> dict[str, list]:
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
      return {"class_names": [str(n) for n in names], "class_counts": counts}
  raise ValueError(
    f"--workdir={workdir} has no {directory.CLASSES} with class_names and "
    "class_counts; expected a directory that a training run made."
  )


def _empty_state(config: Config, num_classes: int) -> TrainState:
  """A state of the right shapes, for a checkpoint to fill; compiles nothing."""
  model = build.build_model(config, num_classes)
  size = config.dataset.image_size

  def init() -> TrainState:
    rng, images = jax.random.key(0), jnp.zeros((1, size, size, 3))
    variables = model.init(rng, images, train=False)
    return build.state_of(variables, model, num_classes, key=rng)

  shapes = jax.eval_shape(init)
  arrays = {
    field.name: jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype),
      getattr(shapes, field.name),
    )
    for field in dataclasses.fields(shapes)
    if field.name in ("step", "params", "batch_stats", "opt_state", "confusion")
  }
  return shapes.replace(**arrays)
