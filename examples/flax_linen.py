"""BLT for a Flax Linen network of your own: digits with 120 ... 5 a class.

The run leaves its report and checkpoints in runs/own; the same again goes on.
"""

import flax.linen as nn

import blt_jax


class Network(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    for width in (32, 64):
      x = nn.relu(nn.GroupNorm(8)(nn.Conv(width, (3, 3), 2)(x)))
    x = nn.Dropout(0.1, deterministic=not train)(x.reshape(len(x), -1))
    return nn.Dense(10, name="classifier")(x)  # Stage 2 makes it anew.


data = blt_jax.sources.load_digits_lt()
config = blt_jax.config_dict()
config.dataset.image_size = config.dataset.resize_size = 8
config.dataset.mean, config.dataset.std = (0.3,) * 3, (0.37,) * 3
config.dataset.flip = 0.0  # A mirrored digit is another sign.
config.dataset.crop_scale = config.perturb.crop_scale = (0.7, 1.0)
for stage, epochs, drops in (("stage1", 5, (4,)), ("stage2", 8, (6,))):
  config[stage].epochs, config[stage].drop_epochs = epochs, drops
  config[stage].batch_size = 32
config.optimizer.rate_batch_size = 32  # The learning rates as they stand.

tail = []  # Percent on validation, after each epoch.
results = blt_jax.train(
  config,
  "runs/own",
  dataset=data,
  model=Network(),
  after_epoch=lambda row: tail.append(row.val_few),
)
scores = results["last"]["test"]
print("tail after each epoch:", *(f"{percent:.0f}" for percent in tail))
print("BLT: tail {few:.1f} %, overall {overall:.1f} %".format(**scores))

model = blt_jax.load("runs/own", model=Network())
print("classes of some test images:", *model.predict(data.test.images[:5]))
