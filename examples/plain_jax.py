"""BLT in plain JAX: digits with 120 ... 5 training images a class."""

import jax
import jax.numpy as jnp

from blt_jax import confusion, metrics, perturb_images, sampling, sources

data = sources.load_digits_lt()
counts = data.class_counts
x, y = jnp.array(data.train.images / 92 - 0.8), jnp.array(data.train.labels)
p = sampling.class_probabilities(counts, gamma=0.9)[y] / counts[y]


def init(rng):
  kernel = jax.nn.initializers.he_normal()
  keys, sizes = jax.random.split(rng, 3), ((192, 128), (128, 64), (64, 10))
  return [(kernel(keys[i], s), jnp.zeros(s[1])) for i, s in enumerate(sizes)]


def net(params, images):
  *hidden, (kernel, bias) = params
  outputs = images.reshape(len(images), -1)
  for w, b in hidden:
    outputs = jax.nn.relu(outputs @ w + b)
  return outputs @ kernel + bias


@jax.jit
def train_step(params, step, matrix):
  rngs = jax.random.split(jax.random.key(step), 4)
  i = jax.random.choice(rngs[0], len(y), (32,), p=p)
  tail = jax.random.choice(rngs[1], len(y), (4,), p=p * (counts[y] <= 20))
  targets, known = confusion.sample_confusing_classes(rngs[2], matrix, y[tail])
  confidences = jax.random.uniform(rngs[3], (4,), minval=0.15, maxval=0.25)
  hard = perturb_images(lambda x: net(params, x), x[tail], targets, confidences)
  images, labels = jnp.concat([x[i], hard.images]), y[jnp.concat([i, tail])]
  weights = jnp.concat([jnp.ones(32), known])  # 0: nothing confuses the class.

  def loss_fn(params):
    logs = jax.nn.log_softmax(net(params, images))
    return -logs[jnp.arange(36), labels] @ weights / weights.sum()

  rate, grads = 0.05 * (1 - step / 480), jax.grad(loss_fn)(params)
  return jax.tree.map(lambda w, g: w - rate * g, params, grads)


def evaluate(params, split):
  logits = net(params, split.images / 92 - 0.8)
  return confusion.confusion_matrix(split.labels, logits.argmax(axis=1), 10)


for name in ("without", "with"):
  params, matrix = init(jax.random.key(0)), jnp.zeros((10, 10), int)
  for step in range(480):
    params = train_step(params, step, matrix)
    if name == "with" and step % 12 == 11:  # After every epoch.
      matrix = evaluate(params, data.validation)
  scores = metrics.shot_accuracies(evaluate(params, data.test), counts)
  print(name, "BLT: tail {few:.1f} %, overall {overall:.1f} %".format(**scores))
