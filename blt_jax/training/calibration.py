"""Probabilities that mean what they say: the temperature of a softmax."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from blt_jax.workdir.records import Predictions

# Bytes of validation logits that a temperature is fitted to, and numbers that
# are computed with at a time: as many as a processor has at hand.
MOST_BYTES, _AT_A_TIME = 200 * 10**6, 2**16

# A temperature is fitted to every 16th image first. It is found when a step
# changes its logarithm by less than _CLOSE.
_EVERY, _CLOSE, _MOST_STEPS, _TINY = 16, 1e-4, 60, 1e-30

# Temperatures beyond these are no calibration any more.
LOWEST, HIGHEST = 0.01, 100.0


def most_images(num_classes: int) -> int:
  """How many images a temperature is fitted to, at most."""
  return MOST_BYTES // (4 * num_classes)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
  """The temperature T that makes the labels likeliest.

  T minimises the mean of -log softmax(logits / T)[label]. Dividing by T does
  not change which class is likeliest.

  Args:
    logits: float32 [n, C].
    labels: int [n].

  Returns:
    T, or None if there is none between LOWEST and HIGHEST: where every image is
    right, the lower T is, the likelier are the labels; where the network knows
    nothing, the higher.

  References:
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
  """
  # Some of the images, evenly spread, tell it nearly, and sooner.
  nearly = _fit(logits[::_EVERY], labels[::_EVERY], start=1.0)
  return _fit(logits, labels, start=nearly or 1.0)


def _fit(
  logits: np.ndarray, labels: np.ndarray, *, start: float
) -> float | None:
  """`fit_temperature` by Newton's method in log T.

  The loss is convex in 1 / T, so every slope tells on which side of a T the
  best one lies. A step that leaves this interval goes to its middle instead.

  Args:
    logits: float32 [n, C].
    labels: int [n].
    start: the first T.
  """
  if not len(labels):
    return None
  largest = logits.max(axis=1)
  of_labels = logits[np.arange(len(labels)), labels] - largest
  at_labels = float(np.sum(of_labels, dtype=np.float64))
  lowest, highest = math.log(LOWEST), math.log(HIGHEST)
  low, high, at = -math.inf, math.inf, math.log(start)
  for _ in range(_MOST_STEPS):
    mean, variance = _moments(logits, largest, math.exp(-at))
    slope = mean - at_labels  # Of the sum of losses, in 1 / T.
    if not math.isfinite(slope) or slope == variance == 0:
      return None
    low, high = (at, high) if slope > 0 else (low, at)
    if low >= highest or high <= lowest:
      return None
    step = slope * math.exp(at) / max(variance, _TINY)
    if abs(step) < _CLOSE:  # It leaves an error of about its square.
      at += step
      break
    at = min(max(at + step, lowest), highest)
    if not low < at < high:
      at = (max(low, lowest) + min(high, highest)) / 2
  return math.exp(at)


def _moments(
  logits: np.ndarray, largest: np.ndarray, scale: float
) -> tuple[float, float]:
  """Sums over images of mean and variance under softmax(scale * logits).

  Logits are taken relative to the largest one of their image. The sum over the
  classes of an image is in float32, that over images in float64.

  Args:
    logits: float32 [n, C].
    largest: float32 [n], the largest logit of each image.
    scale: above 0.
  """
  size = max(1, _AT_A_TIME // logits.shape[1])
  mean_sum = variance_sum = 0.0
  for first in range(0, len(logits), size):
    block = slice(first, first + size)
    below = logits[block] - largest[block, None]
    chances = np.exp(np.float32(scale) * below)
    total = np.sum(chances, axis=1)
    chances *= below
    mean = np.sum(chances, axis=1) / total
    square = np.einsum("nc,nc->n", chances, below) / total
    mean_sum += float(np.sum(mean, dtype=np.float64))
    variance_sum += float(np.sum(square - mean**2, dtype=np.float64))
  return mean_sum, variance_sum


def reduce(
  logits: np.ndarray,
  *,
  row: np.ndarray,
  label: np.ndarray,
  prediction: np.ndarray,
  in_top5: np.ndarray,
  temperature: float = 1.0,
) -> Predictions:
  """What is kept of the logits of n images.

  Args:
    logits: float32 [n, C], as the network gives them.
    row: int [n], places of the images in their split.
    label: int [n].
    prediction: int [n], the likeliest class.
    in_top5: bool [n].
    temperature: above 0, of the calibrated confidences.
  """
  confidence, likelihood = _of_softmax(logits, prediction, label)
  plain = Predictions(
    row=row.astype(np.int32),
    label=label.astype(np.int32),
    prediction=prediction.astype(np.int32),
    in_top5=in_top5,
    confidence=confidence,
    log_likelihood=likelihood,
    calibrated_confidence=confidence,
    calibrated_log_likelihood=likelihood,
  )
  return plain if temperature == 1 else calibrated(plain, logits, temperature)


def calibrated(
  predictions: Predictions, logits: np.ndarray, temperature: float
) -> Predictions:
  """Predictions with the calibrated confidences of another temperature.

  Args:
    predictions: of n images.
    logits: float32 [n, C], of the same images.
    temperature: above 0.
  """
  found = [
    _of_softmax(
      block / temperature,
      predictions.prediction[first + rows],
      predictions.label[first + rows],
    )
    for first, block, rows in _blocks(logits)
  ]
  confidence, likelihood = (
    np.concatenate(parts) for parts in zip(*found, strict=True)
  )
  return dataclasses.replace(
    predictions,
    calibrated_confidence=confidence,
    calibrated_log_likelihood=likelihood,
  )


def _of_softmax(
  logits: np.ndarray, prediction: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(probability of the prediction, log of the label's), float32 [n] each."""
  shifted = logits.astype(np.float64)
  shifted -= shifted.max(axis=1, keepdims=True)
  total = np.log(np.sum(np.exp(shifted), axis=1))
  rows = np.arange(len(shifted))
  confidence = np.exp(shifted[rows, prediction] - total)
  likelihood = shifted[rows, label] - total
  return confidence.astype(np.float32), likelihood.astype(np.float32)


def _blocks(
  logits: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """(place of the first image, logits float64 [k, C], 0 ... k - 1), in turn."""
  size = max(1, _AT_A_TIME // logits.shape[1])
  for first in range(0, max(len(logits), 1), size):
    block = logits[first : first + size].astype(np.float64)
    yield first, block, np.arange(len(block))
