"""A classifier that begins with the means of its classes: a nearest mean."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.method.train_step import EvalBatch, TrainState
from blt_jax.system import console
from blt_jax.training import build, devices, evaluation
from blt_jax.training.run import Run

# A logit of a linear classifier is about as many times a cosine.
_SCALE = 15.0


class Moments(NamedTuple):
  """Sums over the inputs of a classifier, float64.

  Attributes:
    counts: [C], images of each class.
    sums: [C, d].
    squares: [d], of all images.
  """

  counts: np.ndarray
  sums: np.ndarray
  squares: np.ndarray


def begin(run: Run, state: TrainState) -> TrainState:
  """A state whose classifier has the class means of the training images.

  Every training image is read once, as an evaluation sees it.

  Args:
    run: the run.
    state: as a stage begins, on the devices; its classifier is fresh.
  """
  start = time.monotonic()
  moments = measure(run, state)
  weights = classifier(
    moments,
    jax.device_get(state.params["classifier"]),
    is_linear=run.config.model.classifier == "linear",
  )
  images = int(moments.counts.sum())
  console.say(
    f"the classifier begins with the class means of {images} training images "
    f"({time.monotonic() - start:.1f} s)"
  )
  absent = np.flatnonzero(moments.counts == 0)
  if len(absent):
    name = run.dataset.class_names[absent[0]]
    console.say(
      f"note: {len(absent)} classes without a readable training image, such as "
      f"{name!r}, begin at random"
    )
  weights = devices.place(jax.tree.map(jnp.asarray, weights), run.config)
  return state.replace(params={**state.params, "classifier": weights})


def measure(run: Run, state: TrainState) -> Moments:
  """Sums over the training images, each read once."""
  step = _inputs_step(run)
  size, num_classes = state.params["classifier"]["kernel"].shape
  counts, squares = np.zeros(num_classes), np.zeros(size)
  sums = np.zeros((num_classes, size))
  batches = run.feeder.once("training")
  for found in evaluation.outputs(state, batches, step):
    mask = found["mask"]
    inputs = found["inputs"][mask].astype(np.float64)
    labels = found["label"][mask]
    counts += np.bincount(labels, minlength=num_classes)
    np.add.at(sums, labels, inputs)
    squares += np.square(inputs).sum(0)
  return Moments(counts, sums, squares)


def _inputs_step(run: Run) -> Callable:
  """(state, batch) -> the classifier's inputs of a whole batch."""
  normalize_fn = build.build_normalize(run.config)

  def step(state: TrainState, batch: EvalBatch) -> Mapping[str, Any]:
    inputs = state.apply_fn(
      state.variables, normalize_fn(batch.image), train=False, method="inputs"
    )
    found = {"inputs": inputs, "label": batch.label, "mask": batch.mask}
    return jax.lax.all_gather(found, devices.AXIS, tiled=True)

  return devices.over_devices(step, run.config)


def classifier(
  moments: Moments, fresh: Mapping[str, np.ndarray], *, is_linear: bool
) -> dict[str, np.ndarray]:
  """The parameters of a classifier that looks for the nearest class mean.

  A squashing-cosine one compares directions as it is: w_c is the mean m_c of
  its class, as long as random weights are on average. A linear one has a bias,
  and so it can compare directions of standardised inputs,

      z_c = 15 / sqrt(d) u_c . (x - m) / sigma

  with the mean m and the deviations sigma of all images in each of d places,
  and u_c the unit vector of (m_c - m) / sigma: about 15 times a cosine.
  docs/pretrained.md has what was measured.

  Args:
    moments: sums over the training images.
    fresh: the parameters of a random classifier. A class keeps them if it has
      no images or its mean no direction.
    is_linear: whether it is linear.

  Returns:
    Arrays like those of `fresh`.
  """
  count = moments.counts.sum()
  means = moments.sums / np.maximum(moments.counts, 1)[:, None]
  if not is_linear:
    length = 1 / np.sqrt(3)  # Of uniform weights in +-1 / sqrt(d).
    units, has_mean = _units(means, moments.counts)
    return _filled(fresh, has_mean, kernel=length * units.T)
  mean = moments.sums.sum(0) / count
  deviation = np.sqrt(np.maximum(moments.squares / count - mean**2, 0))
  varies = deviation > 1e-6 * np.maximum(deviation.max(), 1e-12)
  inverse = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
  units, has_mean = _units((means - mean) * inverse, moments.counts)
  weights = units * (_SCALE / np.sqrt(max(varies.sum(), 1)) * inverse)
  return _filled(fresh, has_mean, kernel=weights.T, bias=-weights @ mean)


def _units(
  vectors: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Vectors [C, d] of length 1, and which of them have a direction: [C]."""
  lengths = np.linalg.norm(vectors, axis=1)
  there = (counts > 0) & (lengths > 0)
  return vectors / np.where(there, lengths, 1)[:, None], there


def _filled(
  fresh: Mapping[str, np.ndarray], chosen: np.ndarray, **values: np.ndarray
) -> dict[str, np.ndarray]:
  """Values of the chosen classes [C], and those of `fresh` of the others."""
  return {
    name: np.where(chosen, values[name], fresh[name]).astype(np.float32)
    for name in fresh
  }
