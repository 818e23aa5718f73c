r"""The gradient ascent of a trained network in bfloat16 and in float32.

    .venv/bin/python -m benchmarks.ascent_dtype --workdir=RUN [--images=200]

hallucinates from the same training images of the tail, with the same weights,
crops, targets and confidences, by `model.dtype` float32 and bfloat16, and once
more in float32 with other crops, targets and confidences: how much these alone
change is the noise to compare with. Of each it prints

    updates   mean of an image
    reached   share of the images, percent
    kept      least share of what the updates added to an image that the
              network sees, percent: in bfloat16 it sees the rounded image

and the mean paired differences of bfloat16 from float32, with standard errors.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from blt_jax.config import Config, with_values
from blt_jax.method.hallucinate import Hallucinations
from blt_jax.method.rng import Stream
from blt_jax.training import build, devices, offline
from blt_jax.training.run import Run
from blt_jax.workdir import directory
from blt_jax.workdir.checkpoint import read_epoch


def define_flags() -> None:
  """Defines the flags; not on import, as main.py has some of the same names."""
  flags.DEFINE_string(
    "workdir", None, "A run that hallucinates.", required=True
  )
  flags.DEFINE_integer("images", 200, "Images to hallucinate from.")


def main(_: list[str]) -> None:
  """Prints the table."""
  logging.set_verbosity(logging.ERROR)  # Orbax reports every step of a restore.
  workdir = pathlib.Path(flags.FLAGS.workdir)
  config = with_values(directory.read_config(workdir), {"num_devices": 1})
  count = flags.FLAGS.images
  ours, theirs, others = (
    ascend(with_values(config, {"model.dtype": dtype}), workdir, rows)
    for dtype, rows in (
      ("float32", range(count)),
      ("bfloat16", range(count)),
      ("float32", range(count, 2 * count)),
    )
  )
  print(f"{config.model.backbone}, {config.dataset.name}, {count} images")
  print(f"{'':<24}{'updates':>10}{'reached %':>12}{'kept %':>10}")
  for name, dtype, each in (
    ("float32", "float32", ours),
    ("bfloat16", "bfloat16", theirs),
    ("float32, other draws", "float32", others),
  ):
    print(
      f"{name:<24}{each.num_updates.mean():>10.3f}"
      f"{100 * each.reached.mean():>12.1f}{100 * kept(each, dtype):>10.1f}"
    )
  for name, scale in (("num_updates", 1), ("reached", 100)):
    first, second = (getattr(each, name) * 1.0 for each in (ours, theirs))
    found = scale * (second - first)
    error = found.std() / len(found) ** 0.5
    print(f"bfloat16 - float32, {name}: {found.mean():+.3f} +- {error:.3f}")
  same = (ours.num_updates == theirs.num_updates).mean()
  print(f"images with as many updates: {100 * same:.1f} %")


def ascend(config: Config, workdir: pathlib.Path, numbers) -> Hallucinations:
  """Hallucinations with the weights of a run's best epoch.

  Args:
    config: of the run, for one device.
    workdir: of the run.
    numbers: the images are those of the tail's confused classes in turn; the
      number of an image also gives its crop, target and confidence.
  """
  run = Run(config)
  state = build.init_state(config, run.model, run.dataset.num_classes)
  arrays, _ = read_epoch(workdir, state.arrays(), checkpoint="best")
  state = devices.place(build.restored(config, state, arrays), config)
  confusion = np.asarray(state.confusion)
  # Without a confusion there is no target.
  usable = run.stages[-1].tail & (confusion.sum(1) > confusion.diagonal())
  rows = np.flatnonzero(usable[run.dataset.train.labels])
  rows = np.resize(rows, numbers.stop)
  (batch,) = run.feeder.sources(rows, batch_size=len(rows))
  batch = jax.tree.map(lambda array: array[:, numbers.start :], batch)
  make = offline.build_offline_hallucinate(
    config, stream=Stream.EXAMPLES, narrowest=len(numbers)
  )

  def step(state, batch):
    return jax.lax.all_gather(make(state, batch), devices.AXIS, tiled=True)

  made = devices.over_devices(step, config)(state, batch)
  return jax.tree.map(np.asarray, jax.device_get(made))


def kept(made: Hallucinations, dtype: str) -> float:
  """Least share of an image's change that is left as the network sees it.

  The part of the change of what is seen along the change that was made.
  """
  seen = [
    np.asarray(jnp.asarray(images).astype(dtype).astype(jnp.float32))
    for images in (made.images, made.original)
  ]
  axes = (1, 2, 3)
  change = made.images - made.original
  along = (change * (seen[0] - seen[1])).sum(axes)
  moved = made.num_updates > 0
  return float((along[moved] / np.square(change[moved]).sum(axes)).min())


if __name__ == "__main__":
  define_flags()
  app.run(main)
