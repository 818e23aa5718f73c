"""BLT in a Flax Linen loop: digits with 120 ... 5 training images a class."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

import blt_jax
from blt_jax import confusion, losses, metrics, sampling, sources

data = sources.load_digits_lt()
counts = data.class_counts
x, y = jnp.array(data.train.images / 255 - 0.3), jnp.array(data.train.labels)
p = sampling.class_probabilities(counts, gamma=0.9)[y] / counts[y]


class Network(nn.Module):
  @nn.compact
  def __call__(self, x):
    for width in (32, 64):
      x = nn.relu(nn.GroupNorm(8)(nn.Conv(width, (3, 3), 2)(x)))
    return nn.Dense(10)(x.reshape(len(x), -1))


@jax.jit
def train_step(state, rng, matrix):
  rngs = jax.random.split(rng, 4)
  i = jax.random.choice(rngs[0], len(y), (32,), p=p)
  tail = jax.random.choice(rngs[1], len(y), (4,), p=p * (counts[y] <= 20))
  targets, known = confusion.sample_confusing_classes(rngs[2], matrix, y[tail])
  confidences = jax.random.uniform(rngs[3], (4,), minval=0.15, maxval=0.25)
  logits_fn = jax.tree_util.Partial(state.apply_fn, state.params)
  hard = blt_jax.perturb_images(logits_fn, x[tail], targets, confidences)
  images, labels = jnp.concat([x[i], hard.images]), y[jnp.concat([i, tail])]
  weights = jnp.concat([jnp.ones(32), known])  # 0: nothing confuses the class.

  def loss_fn(params):
    values = losses.cross_entropy(state.apply_fn(params, images), labels)
    return losses.weighted_mean(values, weights)

  return state.apply_gradients(grads=jax.grad(loss_fn)(state.params))


def evaluate(state, split):
  logits = state.apply_fn(state.params, split.images / 255 - 0.3)
  return confusion.confusion_matrix(split.labels, logits.argmax(axis=1), 10)


tx = optax.sgd(optax.linear_schedule(0.0125, 0, 480), 0.9)
rng, net = jax.random.key(0), Network()
start = TrainState.create(apply_fn=net.apply, params=net.init(rng, x), tx=tx)
for name in ("without", "with"):
  state, matrix = start, jnp.zeros((10, 10), int)
  for step in range(480):
    state = train_step(state, jax.random.fold_in(rng, step), matrix)
    if name == "with" and step % 12 == 11:  # After every epoch.
      matrix = evaluate(state, data.validation)
  scores = metrics.shot_accuracies(evaluate(state, data.test), counts)
  print(name, "BLT: tail {few:.1f} %, overall {overall:.1f} %".format(**scores))
