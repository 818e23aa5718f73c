"""Draws the images of each batch: pure functions of (seed, stage, epoch)."""

import dataclasses
from fractions import Fraction

import numpy as np

from blt_jax.data.epoch_plan import EpochPlan, Stream, generator


@dataclasses.dataclass(frozen=True, eq=False)
class HallucinationPlan:
  """How many images to hallucinate, and for which classes.

  Attributes:
    tail: bool [C], classes to hallucinate for.
    p: share of a batch's tail draws to hallucinate for, 0..1.
    capacity: H, slots of a batch; hallucinations beyond it are dropped and
      counted.
    rounding: of p times tail draws: "ceil" as in the paper, or "floor" as in
      the authors' release.
  """

  tail: np.ndarray
  p: float
  capacity: int
  rounding: str = "ceil"


def class_probabilities(class_counts: np.ndarray, gamma: float) -> np.ndarray:
  """Probability that a draw of the gamma-balanced sampler is of each class.

  p_c = n_c^(1 - gamma) / sum_k n_k^(1 - gamma): image i is drawn with
  probability proportional to n_{y_i}^(-gamma) (docs/method.md).

  Args:
    class_counts: int [C], >= 0; a class without images has probability 0.
    gamma: finite; 0 is the natural distribution, 1 class-balanced.

  Returns:
    float64 [C], sums to 1.

  Raises:
    ValueError: gamma is not finite, a count is negative, or all are 0.

  Example:
    >>> class_probabilities(np.array([1000, 10]), gamma=0.5).round(3).tolist()
    [0.909, 0.091]
    >>> class_probabilities(np.array([1000, 10]), gamma=1.0).tolist()
    [0.5, 0.5]
  """
  counts = np.asarray(class_counts, np.float64)
  if not np.isfinite(gamma):
    raise ValueError(f"gamma is {gamma}; expected any finite number.")
  if np.any(counts < 0) or not np.any(counts > 0):
    raise ValueError(
      f"class_counts is {counts}; expected 0 or more each, not all 0."
    )
  logs = (1 - gamma) * np.log(np.where(counts > 0, counts, 1))
  logs = np.where(counts > 0, logs, -np.inf)
  weights = np.exp(logs - np.max(logs))
  return weights / np.sum(weights)


def num_hallucinations(
  tail_draws: np.ndarray, p: float, *, rounding: str = "ceil"
) -> np.ndarray:
  """The number of hallucinations for a number of tail draws.

  n_T = ceil(p * |l|), or floor as in the authors' release. p is taken as the
  decimal number that is written, so 0.1 * 30 is exactly 3.

  Args:
    tail_draws: int array, |l| >= 0.
    p: 0..1.
    rounding: "ceil" or "floor".

  Returns:
    int64, the shape of tail_draws.

  Raises:
    ValueError: p or rounding is not allowed.
  """
  if not 0 <= p <= 1:
    raise ValueError(f"p is {p}; expected 0 to 1.")
  if rounding not in ("ceil", "floor"):
    raise ValueError(f"rounding is {rounding!r}; expected 'ceil' or 'floor'.")
  share = Fraction(str(float(p)))
  shares, whole = share.numerator, share.denominator
  extra = whole - 1 if rounding == "ceil" else 0
  draws = np.asarray(tail_draws, np.int64)
  largest = int(np.max(draws, initial=0))
  # Python's whole numbers don't overflow, whatever p's denominator is.
  table = [(n * shares + extra) // whole for n in range(largest + 1)]
  return np.asarray(table, np.int64)[draws]


def capacity(
  class_counts: np.ndarray,
  tail: np.ndarray,
  *,
  gamma: float | None,
  p: float,
  batch_size: int,
  devices: int = 1,
  rounding: str = "ceil",
) -> int:
  """Slots for hallucinations that a batch needs.

  The smallest H with P(n_T(L) > H) < 0.1 %, L ~ Binomial(B, sum of tail p_c),
  rounded up to a multiple of the devices. Natural sampling draws without
  replacement, so its L varies less than this binomial.

  Args:
    class_counts: int [C].
    tail: bool [C], classes to hallucinate for.
    gamma: of the sampler; None for natural sampling.
    p: share of the tail draws to hallucinate for, 0..1.
    batch_size: B >= 1, over all devices.
    devices: H is a multiple of it, >= 1.
    rounding: "ceil" or "floor", see num_hallucinations.

  Returns:
    H; 0 without tail classes or with p = 0.
  """
  from scipy.special import bdtrc  # scipy takes long to import.

  probabilities = class_probabilities(class_counts, gamma or 0.0)
  tail_share = min(float(np.sum(probabilities[np.asarray(tail)])), 1.0)
  exceeded = bdtrc(np.arange(batch_size + 1.0), batch_size, tail_share)
  enough = int(np.argmax(exceeded < 1e-3))
  needed = int(num_hallucinations(np.array(enough), p, rounding=rounding))
  return -(-needed // devices) * devices


def epoch_plan(
  labels: np.ndarray,
  *,
  seed: int,
  stage: int,
  epoch: int,
  batch_size: int,
  gamma: float | None = None,
  hallucinate: HallucinationPlan | None = None,
) -> EpochPlan:
  """Draws an epoch: floor(N / B) batches and their hallucination slots.

  Every epoch is drawn from its own key, so none depends on another, and the
  batches are the same with and without hallucination (docs/method.md).

  Args:
    labels: int [N], 0 <= label, of the training images.
    seed: >= 0, of the run.
    stage: >= 0, of the run.
    epoch: >= 0, of the stage.
    batch_size: B, 1..N.
    gamma: of the balanced sampler, with replacement; None draws naturally:
      shuffled, without replacement.
    hallucinate: None for no slots (H = 0).

  Raises:
    ValueError: batch_size or a field of hallucinate is out of range.
  """
  labels = np.asarray(labels)
  if not 1 <= batch_size <= len(labels):
    raise ValueError(
      f"batch_size is {batch_size}; expected 1 to {len(labels)}, the number of"
      " training images."
    )
  key = (seed, stage, epoch)
  shape = (len(labels) // batch_size, batch_size)
  pool = _ByClass(labels)
  if gamma is None:
    order = generator(*key, Stream.BATCH).permutation(len(labels))
    indices = order[: shape[0] * shape[1]].reshape(shape)
  else:
    indices = pool.draw_balanced(generator(*key, Stream.BATCH), gamma, shape)
  if hallucinate is None:
    return EpochPlan.of_images(indices, seed=seed, stage=stage, epoch=epoch)
  sources, used, dropped = _draw_slots(pool, indices, key, hallucinate)
  return EpochPlan(indices, sources, used, dropped, seed, stage, epoch)


class _ByClass:
  """Training images in the order of their classes."""

  def __init__(self, labels: np.ndarray):
    self.labels = labels
    self.counts = np.bincount(labels)
    self.first = np.cumsum(self.counts) - self.counts
    self.by_class = np.argsort(labels, kind="stable")
    self.rank = np.empty(len(labels), np.int64)
    self.rank[self.by_class] = np.arange(len(labels)) - np.repeat(
      self.first, self.counts
    )

  def draw_balanced(
    self, rng: np.random.Generator, gamma: float, shape: tuple[int, int]
  ) -> np.ndarray:
    """Draws the class first and then one of its images, which is quick."""
    cumulative = np.cumsum(class_probabilities(self.counts, gamma))
    uniforms = rng.random(shape) * cumulative[-1]
    classes = np.searchsorted(cumulative, uniforms, side="right")
    classes = np.minimum(classes, len(self.counts) - 1)
    within = _below(rng.random(shape), self.counts[classes])
    return self.by_class[self.first[classes] + within]

  def draw_other(self, images: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Another image of each image's class; the same if it has only one."""
    classes = self.labels[images]
    others = self.counts[classes] - 1
    within = _below(uniforms, np.maximum(others, 1))
    within += (others > 0) & (within >= self.rank[images])
    return self.by_class[self.first[classes] + within]


def _draw_slots(
  pool: _ByClass,
  indices: np.ndarray,
  key: tuple[int, int, int],
  hallucinate: HallucinationPlan,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(sources [steps, H], used [steps, H], dropped [steps]) of an epoch.

  The streams are drawn slot by slot, so a larger H does not change the first
  slots.
  """
  steps, batch_size = indices.shape
  slots, tail = hallucinate.capacity, np.asarray(hallucinate.tail)
  if not 0 <= slots <= batch_size:
    raise ValueError(
      f"capacity is {slots}; expected 0 to {batch_size}, the batch size."
    )
  if len(tail) < len(pool.counts):
    raise ValueError(
      f"tail has {len(tail)} classes; expected {len(pool.counts)} or more, as"
      " many as the labels have."
    )
  chosen, tail_draws = _choose(
    pool, indices, tail, rng=generator(*key, Stream.CHOICE), slots=slots
  )
  wanted = num_hallucinations(
    tail_draws, hallucinate.p, rounding=hallucinate.rounding
  )
  used = np.arange(slots) < wanted[:, None]
  uniforms = generator(*key, Stream.SOURCE).random((slots, steps)).T
  fillers = generator(*key, Stream.FILLER).integers(
    len(pool.labels), size=(slots, steps)
  )
  others = pool.draw_other(chosen, uniforms)
  sources = np.where(used, others, fillers.T)
  return sources, used, np.maximum(wanted - slots, 0)


def _choose(
  pool: _ByClass,
  indices: np.ndarray,
  tail: np.ndarray,
  *,
  rng: np.random.Generator,
  slots: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Each batch's tail draws in random order, and their number.

  Returns:
    (int64 [steps, slots], images of the batch, those of the tail first;
    int64 [steps], number of tail draws).
  """
  is_tail = tail[pool.labels[indices]]
  priority = np.where(is_tail, rng.random(indices.shape), 2.0)
  order = np.argsort(priority, axis=1)[:, :slots]
  chosen = np.take_along_axis(indices, order, axis=1)
  return chosen, np.sum(is_tail, axis=1)


def _below(uniforms: np.ndarray, limits: np.ndarray) -> np.ndarray:
  """Whole numbers 0..limit - 1 from uniforms in [0, 1)."""
  return np.minimum((uniforms * limits).astype(np.int64), limits - 1)
