"""Training losses for long tails, and the class weights that they take.

Every loss takes logits [n, C] and labels [n] and returns float32 [n], one value
for each image. `weighted_mean` averages them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, *, margin: float = 0.0
) -> jax.Array:
  """Cross entropy of each image, with an optional additive margin.

      loss_i = -log softmax(z_i - margin * onehot(y_i))[y_i]

  A margin above 0 is the large-margin softmax of the paper's text; 0, plain
  cross entropy, is the authors' release and the default.

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    margin: subtracted from the true class's logit, 0 or more.

  Returns:
    float32 [n], 0 or more.
  """
  logits = logits.astype(jnp.float32)
  if margin:
    logits = logits - margin * jax.nn.one_hot(labels, logits.shape[1])
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def focal(
  logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0
) -> jax.Array:
  """Focal loss: the surer the network is of an image, the less it weighs.

      loss_i = -(1 - p_i)^gamma log p_i,   p_i = softmax(z_i)[y_i]

  This is the form for softmax. It lacks the factor alpha of the paper's
  detector, which has a sigmoid for each class. gamma = 0 is cross entropy.
  Values and gradients are finite even where p_i rounds to 1.

  Args:
    logits: float [n, C], finite, C at least 2.
    labels: int [n], 0..C-1.
    gamma: 0 or more.

  Returns:
    float32 [n], 0 or more.

  Reference:
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
  """
  logits = logits.astype(jnp.float32)
  true = labels[:, None] == jnp.arange(logits.shape[1])[None, :]
  # log(1 - p) from the other classes' logits: 1 - p may round to 0.
  others = jax.nn.logsumexp(jnp.where(true, -jnp.inf, logits), axis=1)
  log_rest = others - jax.nn.logsumexp(logits, axis=1)
  return jnp.exp(gamma * log_rest) * cross_entropy(logits, labels)


def class_balanced(
  logits: jax.Array,
  labels: jax.Array,
  *,
  class_counts: npt.ArrayLike,
  beta: float = 0.9999,
) -> jax.Array:
  """Cross entropy of each image times the weight of its class.

      loss_i = w_{y_i} CE_i,   w from `class_balanced_weights`

  The mean is over images, as in the paper, and not over their weights, as in
  PyTorch's `cross_entropy(weight=...)`: on natural batches, where most images
  are of classes with small weights, the loss is smaller than cross entropy.

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    class_counts: [C], training images of each class, above 0; not traced.
    beta: 0..1; 0 is cross entropy.

  Returns:
    float32 [n], 0 or more.

  Raises:
    ValueError: when counts or beta are out of their ranges.

  Reference:
    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples",
    CVPR 2019.
  """
  counts = per_class("class_counts", class_counts, num_classes=logits.shape[1])
  weights = jnp.asarray(class_balanced_weights(counts, beta), jnp.float32)
  return weights[labels] * cross_entropy(logits, labels)


def balanced_softmax(
  logits: jax.Array,
  labels: jax.Array,
  *,
  class_probabilities: npt.ArrayLike,
  target_probabilities: npt.ArrayLike | None = None,
) -> jax.Array:
  """Cross entropy of a softmax that knows how frequent the classes are.

      loss_i = -log(pi_{y_i} exp(z_i[y_i]) / sum_c pi_c exp(z_i[c]))

  Evaluation uses the logits unchanged: they then predict as if all classes were
  equally frequent, or as frequent as `target_probabilities`, q, say: pi is then
  pi / q (`adjust_logits` derives it).

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    class_probabilities: [C], probability that a training draw is of each class;
      above 0, not traced. They need not sum to 1, so class counts will do for
      natural sampling.
    target_probabilities: [C], how frequent the classes are where the network is
      used; likewise. None for equally frequent ones.

  Returns:
    float32 [n], 0 or more.

  Raises:
    ValueError: when a probability is not above 0, or they are not C.

  Reference:
    Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    NeurIPS 2020.
  """
  return logit_adjustment(
    logits,
    labels,
    class_probabilities=class_probabilities,
    target_probabilities=target_probabilities,
    tau=1.0,
  )


def logit_adjustment(
  logits: jax.Array,
  labels: jax.Array,
  *,
  class_probabilities: npt.ArrayLike,
  target_probabilities: npt.ArrayLike | None = None,
  tau: float = 1.0,
) -> jax.Array:
  """Cross entropy of logits that are shifted by the classes' frequencies.

      loss_i = CE(z_i + tau (log pi - log q), y_i)

  where q are the frequencies to correct to; equal ones, log q = 0, as in the
  paper, if none are given. tau = 0 is cross entropy, tau = 1
  `balanced_softmax`, and so is q = pi cross entropy.

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    class_probabilities: as in `balanced_softmax`.
    target_probabilities: q, as in `balanced_softmax`.
    tau: strength, 0 or more.

  Returns:
    float32 [n], 0 or more.

  Raises:
    ValueError: when a probability is not above 0, or they are not C.

  Reference:
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
  """
  shifted = adjust_logits(
    logits,
    class_probabilities=class_probabilities,
    target_probabilities=target_probabilities,
    tau=-tau,
  )
  return cross_entropy(shifted, labels)


def adjust_logits(
  logits: jax.Array,
  *,
  class_probabilities: npt.ArrayLike,
  target_probabilities: npt.ArrayLike | None = None,
  tau: float,
) -> jax.Array:
  """Corrects logits from the training draws' frequencies to other ones.

      z_i - tau (log pi - log q)

  This adjusts a network after its training with cross entropy (post hoc). Such
  a network knows an image x of class c by Bayes' rule under the frequencies pi
  that it was trained with; where the frequencies are q and p(x | c) is the
  same, tau = 1 gives Bayes' rule for q:

      z_c = log p(x | c) + log pi_c + const(x)
      z_c - log pi_c + log q_c = log p(x | c) + log q_c + const(x)

  The losses above do the opposite in training, so that it is done already in
  the z that they learn: if z + log pi - log q is what cross entropy fits,

      z_c + log pi_c - log q_c = log p(x | c) + log pi_c + const(x)

  and z is Bayes' rule for q. Without q the frequencies are equal: log q is the
  same for all classes, and no softmax sees it.

  Args:
    logits: float [n, C].
    class_probabilities: pi, as in `balanced_softmax`.
    target_probabilities: q, as in `balanced_softmax`.
    tau: strength; 1 is what Bayes' rule gives.

  Returns:
    float32 [n, C].

  Raises:
    ValueError: when a probability is not above 0, or they are not C.

  Reference:
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
  """
  probabilities = per_class(
    "class_probabilities", class_probabilities, num_classes=logits.shape[1]
  )
  logs = np.log(probabilities)
  if target_probabilities is not None:
    targets = per_class(
      "target_probabilities", target_probabilities, num_classes=len(logs)
    )
    logs = logs - np.log(targets)
  shift = jnp.asarray(tau * logs, jnp.float32)
  return logits.astype(jnp.float32) - shift[None, :]


def ldam(
  logits: jax.Array,
  labels: jax.Array,
  *,
  class_counts: npt.ArrayLike,
  max_margin: float = 0.5,
  scale: float = 30.0,
) -> jax.Array:
  """Cross entropy with larger margins for classes with fewer images.

      loss_i = CE(scale * (z_i - D_{y_i} onehot(y_i)), y_i)

  with the margins D of `ldam_margins`. The default scale is that of the
  authors' code, whose logits are cosines; the paper's equation has none (1).

  Args:
    logits: float [n, C].
    labels: int [n], 0..C-1.
    class_counts: [C], training images of each class, above 0; not traced.
    max_margin: margin of the smallest class, 0 or more, in the unit of the
      logits.
    scale: above 0.

  Returns:
    float32 [n], 0 or more.

  Raises:
    ValueError: when counts or max_margin are out of their ranges.

  Reference:
    Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware
    Margin Loss", NeurIPS 2019.
  """
  counts = per_class("class_counts", class_counts, num_classes=logits.shape[1])
  margins = jnp.asarray(ldam_margins(counts, max_margin), jnp.float32)
  true = jax.nn.one_hot(labels, logits.shape[1])
  logits = logits.astype(jnp.float32) - margins[labels][:, None] * true
  return cross_entropy(scale * logits, labels)


def weighted_mean(
  values: jax.Array,
  weights: jax.Array,
  *,
  total_weight: jax.Array | None = None,
) -> jax.Array:
  """Mean of the values by weight; a value of weight 0 may be NaN.

      sum_i w_i v_i / max(sum_i w_i, tiny)

  Args:
    values: float [n].
    weights: float [n], 0 or more.
    total_weight: float scalar to divide by instead of the sum of `weights`.
      With several devices it is the sum over all of them, so that their results
      add up to the mean.

  Returns:
    float32 scalar, 0 when nothing has any weight.
  """
  values, weights = values.astype(jnp.float32), weights.astype(jnp.float32)
  if total_weight is None:
    total_weight = weights.sum()
  total = jnp.where(weights > 0, values * weights, 0.0).sum()
  return total / jnp.maximum(total_weight, jnp.finfo(jnp.float32).tiny)


def per_class(
  name: str, values: npt.ArrayLike, *, num_classes: int | None = None
) -> np.ndarray:
  """Checks that there is one positive number for each class.

  Args:
    name: of the numbers, for the message.
    values: [C], each finite and above 0; not traced.
    num_classes: C, None where it is not known.

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

  beta = 0 gives every class the weight 1. The closer beta is to 1, the closer
  the weights are to inverse counts. beta = 1, the limit, is not in the paper.

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
    # 1 - beta^n, without loss of digits where beta^n is close to 1.
    effective = -np.expm1(counts * np.log(beta))
  weights = 1 / effective
  return weights / weights.mean()


def ldam_margins(class_counts: npt.ArrayLike, max_margin: float) -> np.ndarray:
  """Margins that are larger for classes with fewer images.

      D_c = max_margin * (min_k n_k / n_c)^(1/4)

  This is the paper's K / n_c^(1/4). K is such that the smallest class has the
  margin max_margin.

  Args:
    class_counts: [C], training images of each class, above 0.
    max_margin: margin of the smallest class, 0 or more, in the unit of the
      logits.

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
