"""The step benchmark's problem for a peer: weights, images and draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step_measure
from benchmarks.problem_file import ProblemFile
from benchmarks.step_problem import Problem
from blt_jax.method import hallucinate, train_step
from blt_jax.method.confusion import sample_confusing_classes
from blt_jax.models import torch_weights
from blt_jax.training import build, devices

# Images whose logits the two sides compare.
_COMPARED = 16


def problem_file(problem: Problem) -> ProblemFile:
  """What the peer needs to make the same steps.

  Raises:
    ValueError: if the problem is one that the peer can't be given.
  """
  config = problem.config
  if len(devices.devices_of(config)) > 1:
    raise ValueError("--save: the peer takes the problem of one device only.")
  if config.perturb.static or config.perturb.targets != "confusion":
    raise ValueError("--save: the peer draws from the confusion matrix only.")
  arrays = {
    name: np.stack([batch[name] for batch in problem.batches])
    for name in ("image", "label", "source_image", "source_label")
  }
  arrays |= _draws(problem)
  arrays |= {
    "class_counts": problem.class_counts,
    "confusion": np.asarray(problem.state.confusion),
    "logits": np.asarray(_logits(problem)),
  }
  return ProblemFile(_settings(problem), _weights(problem), arrays)


def _draws(problem: Problem) -> dict[str, np.ndarray]:
  """The targets and confidences that the steps draw, for every batch."""
  perturb = problem.config.perturb

  def draw(state, batch):
    slots = len(batch["source_label"])
    keys = train_step.slot_keys(state.rng, state.step, slots, devices.AXIS)
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    target, confused = jax.vmap(_target, in_axes=(0, None, 0))(
      keys[:, 0], state.confusion, batch["source_label"]
    )
    confidence = jax.vmap(
      functools.partial(
        hallucinate.draw_confidence,
        confidence=perturb.confidence,
        choices=perturb.confidence_choices,
      )
    )(keys[:, 1])
    drawn = {
      "used": batch["source_used"] & confused,
      "target": target,
      "confidence": confidence,
    }
    return jax.lax.all_gather(drawn, devices.AXIS, tiled=True)

  draw_fn = devices.over_devices(draw, problem.config)
  rows = []
  for row, batch in enumerate(problem.batches):
    slots = {
      name: batch[name][None] for name in ("source_label", "source_used")
    }
    state = step_measure.fresh_state(problem, row)
    rows.append(jax.device_get(draw_fn(state, slots)))
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _target(key, confusion, label):
  target, confused = sample_confusing_classes(key, confusion, label[None])
  return target[0], confused[0]


def _logits(problem: Problem) -> jax.Array:
  """Logits of the first images, in inference mode and not augmented."""
  images = jnp.asarray(problem.batches[0]["image"][:_COMPARED])
  normalize = build.build_normalize(problem.config)
  return problem.state.logits(normalize(images))


def _weights(problem: Problem) -> dict[str, np.ndarray]:
  """The network by torchvision's names."""
  params, stats = problem.state.params, problem.state.batch_stats
  weights = torch_weights.backbone_to_torchvision(
    problem.config.model.backbone,
    {"params": params["backbone"], "batch_stats": stats["backbone"]},
  )
  for layer in ("hidden", "classifier"):
    weights[f"{layer}.weight"] = np.asarray(params[layer]["kernel"]).T
    if "bias" in params[layer]:
      weights[f"{layer}.bias"] = np.asarray(params[layer]["bias"])
  return weights


def _settings(problem: Problem) -> dict:
  """Settings of network, augmentation, ascent and optimizer."""
  config, stage = problem.config, problem.stage.config
  model, dataset, perturb = config.model, config.dataset, config.perturb
  names = ("mean", "std", "flip", "rotation", "brightness", "contrast")
  return {
    **{name: dataset[name] for name in (*names, "saturation")},
    **{
      name: model[name]
      for name in (
        *("backbone", "classifier", "alpha", "beta"),
        *("hidden", "dtype", "margin"),
      )
    },
    **{name: perturb[name] for name in ("step_size", "max_steps", "momentum")},
    "backbone_rate": stage.backbone_rate,
    "classifier_rate": stage.classifier_rate,
    "sgd_momentum": config.optimizer.momentum,
    "weight_decay": config.optimizer.weight_decay,
  }
