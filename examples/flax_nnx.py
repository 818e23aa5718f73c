"""BLT in a Flax NNX loop: digits with 120 ... 5 training images a class."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import blt_jax
from blt_jax import confusion, losses, metrics, sampling, sources

data = sources.load_digits_lt()
counts = data.class_counts
x, y = jnp.array(data.train.images / 255 - 0.3), jnp.array(data.train.labels)
p = sampling.class_probabilities(counts, gamma=0.9)[y] / counts[y]


def block(inputs, outputs, rngs):
  conv = nnx.Conv(inputs, outputs, (3, 3), 2, rngs=rngs)
  return conv, nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs), nnx.relu


@nnx.jit
def train_step(model, optimizer, rng, matrix):
  rngs = jax.random.split(rng, 4)
  i = jax.random.choice(rngs[0], len(y), (32,), p=p)
  tail = jax.random.choice(rngs[1], len(y), (4,), p=p * (counts[y] <= 20))
  targets, known = confusion.sample_confusing_classes(rngs[2], matrix, y[tail])
  confidences = jax.random.uniform(rngs[3], (4,), minval=0.15, maxval=0.25)
  model.eval()  # An image's gradient must not depend on the batch.
  hard = blt_jax.perturb_images(model, x[tail], targets, confidences)
  model.train()
  images, labels = jnp.concat([x[i], hard.images]), y[jnp.concat([i, tail])]
  weights = jnp.concat([jnp.ones(32), known])  # 0: nothing confuses the class.

  def loss_fn(model):
    values = losses.cross_entropy(model(images), labels)
    return losses.weighted_mean(values, weights)

  optimizer.update(model, nnx.grad(loss_fn)(model))


def evaluate(model, split):
  model.eval()
  logits = model(split.images / 255 - 0.3)
  model.train()
  return confusion.confusion_matrix(split.labels, logits.argmax(axis=1), 10)


for name in ("without", "with"):
  rngs, matrix = nnx.Rngs(0), jnp.zeros((10, 10), int)
  layers = (*block(3, 32, rngs), *block(32, 64, rngs), jax.vmap(jnp.ravel))
  model = nnx.Sequential(*layers, nnx.Linear(256, 10, rngs=rngs))
  tx = optax.sgd(optax.linear_schedule(0.05, 0, 480), momentum=0.9)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  for step in range(480):
    train_step(model, optimizer, rngs(), matrix)
    if name == "with" and step % 12 == 11:  # After every epoch.
      matrix = evaluate(model, data.validation)
  scores = metrics.shot_accuracies(evaluate(model, data.test), counts)
  print(name, "BLT: tail {few:.1f} %, overall {overall:.1f} %".format(**scores))
