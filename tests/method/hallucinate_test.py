import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.method import hallucinate

SLOTS, CLASSES = 64, 4


def _state(confusion=None):
  """A linear classifier over 2 x 2 pixels, and a confusion matrix."""
  weights = jax.random.normal(jax.random.key(3), (12, CLASSES))
  return (
    lambda images: images.reshape(len(images), -1) @ weights,
    jnp.ones((CLASSES, CLASSES), jnp.int32)
    if confusion is None
    else jnp.asarray(confusion, jnp.int32),
  )


def _sources(used=None):
  rng = np.random.default_rng(0)
  return hallucinate.Sources(
    rng.normal(size=(SLOTS, 2, 2, 3)).astype(np.float32),
    np.arange(SLOTS) % CLASSES,
    np.ones(SLOTS, bool) if used is None else used,
  )


def _hallucinate(state, sources, **options):
  rngs = jax.random.split(jax.random.key(0), SLOTS)
  return hallucinate.hallucinate(
    rngs,
    *state,
    sources,
    preprocess_fn=lambda _, images: images,
    **options,
  )


def test_images_move_towards_the_class_they_are_confused_with():
  confusion = np.zeros((CLASSES, CLASSES))
  confusion[np.arange(4), [1, 2, 3, 0]] = 7
  state, sources = _state(confusion), _sources()
  made = _hallucinate(state, sources, ascent={"step_size": 0.01})

  def probability(x):
    return jax.nn.softmax(state[0](x))[
      np.arange(SLOTS), (sources.label + 1) % CLASSES
    ]

  moved = made.num_updates > 0
  assert moved.sum() > 10
  assert (probability(made.images) > probability(sources.image))[moved].all()


def test_slot_of_a_class_never_confused_stays_unused():
  confusion = np.ones((CLASSES, CLASSES))
  confusion[2] = [0, 0, 9, 0]
  made = _hallucinate(_state(confusion), _sources())
  never = np.arange(SLOTS) % CLASSES == 2
  np.testing.assert_array_equal(made.weight, ~never)
  np.testing.assert_array_equal(made.num_updates[never], 0)
  assert not made.reached[never].any()


def test_unused_slot_keeps_its_image_and_weighs_nothing():
  used = np.arange(SLOTS) % 3 == 0
  sources = _sources(used)
  made = _hallucinate(_state(), sources, confidence=(0.9, 0.95))
  np.testing.assert_array_equal(made.weight, used)
  np.testing.assert_array_equal(made.images[~used], sources.image[~used])
  assert (made.num_updates[used] > 0).any()


def test_no_steps_leave_augmented_images_that_count_and_need_no_network():
  def logits_fn(images):
    raise AssertionError("the network saw an image")

  _, confusion = _state()
  sources = _sources()
  made = _hallucinate((logits_fn, confusion), sources, ascent={"max_steps": 0})
  np.testing.assert_array_equal(made.images, sources.image)
  assert made.weight.all()
  assert not made.reached.any()


def test_random_targets_need_no_confusion_and_are_never_the_label():
  draws = jax.vmap(hallucinate._other_class, in_axes=(0, None, None))(
    jax.random.split(jax.random.key(0), 4000), jnp.int32(2), CLASSES
  )
  shares = np.bincount(draws, minlength=CLASSES) / 4000
  np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.03)
  made = _hallucinate(
    _state(np.zeros((CLASSES, CLASSES))), _sources(), targets="random"
  )
  assert made.weight.all()


def test_confidence_is_uniform_in_its_range():
  draws = jax.vmap(lambda rng: hallucinate.draw_confidence(rng, (0.15, 0.25)))(
    jax.random.split(jax.random.key(0), 4000)
  )
  assert draws.min() >= 0.15
  assert draws.max() <= 0.25
  np.testing.assert_allclose(draws.mean(), 0.2, atol=0.002)


def test_equal_ends_make_the_confidence_constant():
  draw = hallucinate.draw_confidence(jax.random.key(0), (0.2, 0.2))
  np.testing.assert_allclose(draw, 0.2, rtol=1e-6)


def test_choices_replace_the_range():
  draws = jax.vmap(
    lambda rng: hallucinate.draw_confidence(
      rng, (0.0, 1.0), choices=(0.15, 0.2, 0.25)
    )
  )(jax.random.split(jax.random.key(0), 3000))
  values, counts = np.unique(draws, return_counts=True)
  np.testing.assert_allclose(values, [0.15, 0.2, 0.25], rtol=1e-6)
  np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.04)
