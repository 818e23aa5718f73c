"""Probabilities that mean what they say: the temperature of a softmax."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from blt_jax.workdir.records import Predictions

# Bytes of validation logits that a temperature is fitted to, and the numbers
# that are in memory as float64 meanwhile.
MOST_BYTES, _AT_A_TIME = 200 * 10**6, 2**22

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
  from scipy.optimize import brentq  # scipy takes long to import.

  @functools.cache
  def slope(log_temperature: float) -> float:
    """How fast the mean loss grows with 1 / T: it never falls with 1 / T."""
    scale = np.exp(-log_temperature)
    return sum(
      float(np.sum(_expected(block, scale) - block[rows, labels[first + rows]]))
      for first, block, rows in _blocks(logits)
    )

  lowest, highest = np.log(LOWEST), np.log(HIGHEST)
  if not len(labels) or slope(lowest) <= 0 or slope(highest) >= 0:
    return None
  return float(np.exp(brentq(slope, lowest, highest, xtol=1e-6)))


def _expected(logits: np.ndarray, scale: float) -> np.ndarray:
  """Mean logit under softmax(scale * logits): float64 [n, C] -> [n]."""
  chances = np.exp(scale * (logits - logits.max(axis=1, keepdims=True)))
  return np.einsum("nc,nc->n", chances, logits) / np.sum(chances, axis=1)


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
