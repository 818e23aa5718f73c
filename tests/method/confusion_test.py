import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.method.confusion import confusion_matrix, sample_confusing_classes


def test_matrix_counts_pairs():
  labels = jnp.array([0, 0, 1, 2, 2, 2])
  predictions = jnp.array([0, 2, 1, 0, 0, 2])
  expected = [[1, 0, 1], [0, 1, 0], [2, 0, 1]]
  matrix = confusion_matrix(labels, predictions, 3)
  np.testing.assert_array_equal(matrix, expected)
  assert matrix.dtype == jnp.int32


def test_masked_images_are_not_counted():
  labels = jnp.array([0, 1, 1])
  predictions = jnp.array([1, 1, 0])
  mask = jnp.array([True, False, True])
  np.testing.assert_array_equal(
    confusion_matrix(labels, predictions, 2, mask),
    confusion_matrix(labels[mask], predictions[mask], 2),
  )


def test_draws_follow_the_counts_without_the_diagonal():
  confusion = jnp.array([[50, 3, 0, 1], [0] * 4, [0] * 4, [0] * 4], jnp.int32)
  labels = jnp.zeros(20_000, jnp.int32)
  targets, confused = sample_confusing_classes(
    jax.random.key(0), confusion, labels
  )
  shares = np.bincount(targets, minlength=4) / 20_000
  assert confused.all()
  np.testing.assert_allclose(shares, [0, 0.75, 0, 0.25], atol=0.015)


def test_class_that_was_never_confused_gives_none():
  confusion = jnp.array([[5, 0, 0], [1, 0, 0], [0, 0, 0]], jnp.int32)
  targets, confused = sample_confusing_classes(
    jax.random.key(1), confusion, jnp.array([0, 1, 2])
  )
  np.testing.assert_array_equal(confused, [False, True, False])
  np.testing.assert_array_equal(targets, [0, 0, 2])


def test_same_key_same_draws_other_key_other_draws():
  confusion = jnp.ones((10, 10), jnp.int32)
  labels = jnp.arange(10).repeat(10)

  def draw(seed):
    return sample_confusing_classes(jax.random.key(seed), confusion, labels)[0]

  np.testing.assert_array_equal(draw(0), draw(0))
  assert (draw(0) != draw(1)).any()
