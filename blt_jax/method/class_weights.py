"""What losses for long tails know of the classes: from counts to numbers."""

import numpy as np
import numpy.typing as npt


def per_class(
  name: str, values: npt.ArrayLike, *, num_classes: int | None = None
) -> np.ndarray:
  """Checks numbers of which each class has one.

  Args:
    name: what they are, for the message.
    values: [C], each finite and above 0; not traced.
    num_classes: C where it is known.

  Returns:
    float64 [C].

  Raises:
    ValueError: when a value is not above 0, or they are not C.
  """
  array = np.asarray(values, np.float64)
  if array.ndim != 1 or num_classes not in (None, len(array)):
    wanted = "C" if num_classes is None else num_classes
    raise ValueError(
      f"{name} has shape {array.shape}; expected ({wanted},), one number for "
      "each class."
    )
  for number, value in enumerate(array):
    if not 0 < value < np.inf:
      raise ValueError(
        f"{name} of class {number} is {value:g}; expected a number above 0."
      )
  return array


def class_balanced_weights(
  class_counts: npt.ArrayLike, beta: float
) -> np.ndarray:
  """Weights by the effective number of a class's images.

      w_c proportional to (1 - beta) / (1 - beta^n_c),   sum_c w_c = C

  beta = 0 gives every class the weight 1. The closer it is to 1 the more it is
  the inverse count, which beta = 1 (the limit, not in the paper) gives.

  Args:
    class_counts: [C], training images of each class, above 0.
    beta: 0..1.

  Returns:
    float64 [C], above 0, with mean 1.

  Raises:
    ValueError: when a count is not above 0 or beta is out of its range.

  Reference:
    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples",
    CVPR 2019.
  """
  counts = per_class("class_counts", class_counts)
  if not 0 <= beta <= 1:
    raise ValueError(f"beta is {beta}; expected a number from 0 to 1.")
  if beta == 0:
    effective = np.ones_like(counts)
  elif beta == 1:
    effective = counts
  else:
    # 1 - beta^n, exactly also where beta^n is close to 1.
    effective = -np.expm1(counts * np.log(beta))
  weights = 1 / effective
  return weights / weights.mean()


def ldam_margins(class_counts: npt.ArrayLike, max_margin: float) -> np.ndarray:
  """Margins that are larger for classes with fewer images.

      D_c = max_margin * (min_k n_k / n_c)^(1/4)

  The paper's K / n_c^(1/4) with the K that gives the smallest class max_margin.

  Args:
    class_counts: [C], training images of each class, above 0.
    max_margin: of the smallest class, 0 or more, in the unit of the logits.

  Returns:
    float64 [C], 0..max_margin.

  Raises:
    ValueError: when a count is not above 0 or max_margin is below 0.

  Reference:
    Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware
    Margin Loss", NeurIPS 2019.
  """
  counts = per_class("class_counts", class_counts)
  if not max_margin >= 0:
    raise ValueError(f"max_margin is {max_margin}; expected 0 or more.")
  return max_margin * (counts.min() / counts) ** 0.25
