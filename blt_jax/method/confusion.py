"""The confusion matrix, and the confusing classes drawn from it."""

import jax
import jax.numpy as jnp


def confusion_matrix(
  labels: jax.Array,
  predictions: jax.Array,
  num_classes: int,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Counts how often images of each class were predicted as each class.

  Args:
    labels: int [n], true classes, 0..num_classes-1.
    predictions: int [n], predicted classes, 0..num_classes-1.
    num_classes: number of classes C.
    mask: bool [n] or None; images where it is False are not counted.

  Returns:
    int32 [C, C], rows are true classes and columns predicted ones.

  Example:
    >>> labels, predictions = jnp.array([0, 1, 1]), jnp.array([0, 0, 1])
    >>> confusion_matrix(labels, predictions, 2).tolist()
    [[1, 0], [1, 1]]
  """
  labels, predictions = jnp.asarray(labels), jnp.asarray(predictions)
  counts = (
    jnp.ones(labels.shape, jnp.int32)
    if mask is None
    else jnp.asarray(mask, jnp.int32)
  )
  empty = jnp.zeros((num_classes, num_classes), jnp.int32)
  return empty.at[labels, predictions].add(counts)


def sample_confusing_classes(
  rng: jax.Array, confusion: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Draws, for each label, a class that its validation images were taken for.

  Among the images of true class y that were predicted as another class, class
  c' is drawn with probability proportional to its count (docs/method.md, One
  batch).

  Args:
    rng: PRNG key.
    confusion: int [C, C], as from `confusion_matrix`.
    labels: int [n], the classes y.

  Returns:
    (targets int32 [n], confused bool [n]). Where a class was never confused,
    confused is False and the target is the label itself.

  Example:
    >>> confusion = jnp.array([[5, 3, 0], [0, 9, 0], [2, 0, 7]])
    >>> targets, confused = sample_confusing_classes(
    ...   jax.random.key(0), confusion, jnp.array([0, 1, 2])
    ... )
    >>> print(targets, confused)
    [1 1 0] [ True False  True]
  """
  confusion, labels = jnp.asarray(confusion), jnp.asarray(labels)
  counts = confusion[labels]
  own = jnp.arange(confusion.shape[1])[None, :] == labels[:, None]
  counts = jnp.where(own, 0, counts)
  confused = counts.sum(axis=1) > 0
  drawn = jax.random.categorical(rng, jnp.log(counts.astype(jnp.float32)))
  return jnp.where(confused, drawn, labels).astype(jnp.int32), confused
