"""Brings the images of a data set to the devices, in the order of the plan."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import jax
import numpy as np

from blt_jax.config import Config
from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.reading import cache
from blt_jax.data.reading.substitutes import Substitutes
from blt_jax.method.train_step import Batch, EvalBatch, Sources
from blt_jax.system import processes
from blt_jax.training.build import decoding
from blt_jax.training.devices import deal, on_cpu

# Fills the slots of a step: (training images int64 [H], used bool [H]).
FillFn = Callable[[np.ndarray, np.ndarray], Sources]


class Fed(NamedTuple):
  """A batch of training as it reaches the devices of this process.

  Attributes:
    batch: each array with a leading device axis.
    replaced: images of it that stand for others that can't be read.
  """

  batch: Batch
  replaced: int


class Feeder:
  """Batches for the steps of one configuration, dealt to the devices.

  A process reads the part of each batch that its own devices work on.
  """

  def __init__(self, config: Config, dataset: Dataset, *, devices: int):
    """Feeds `devices` devices, over all processes, with a data set's images.

    Raises:
      ValueError: when the processes have different numbers of devices.
    """
    self._local = devices // processes.count()
    if processes.count() > 1 and jax.local_device_count() != self._local:
      raise ValueError(
        f"{processes.count()} processes have {devices} devices, and this one "
        f"{jax.local_device_count()} of them; expected as many in each."
      )
    self.config = config
    self.dataset = dataset
    self.devices = devices
    self._substitutes = {
      role: Substitutes(
        split,
        name=role,
        on_error=config.dataset.on_error,
        max_unreadable=config.dataset.max_unreadable,
      )
      for role, split in dataset.splits.items()
    }
    self._evaluation = {
      (role, five_crop): cache.Replayed(
        functools.partial(self._read_evaluation, role, five_crop=five_crop),
        nbytes=3 * self._side(five_crop=five_crop) ** 2 * len(split),
      )
      for role, split in dataset.splits.items()
      for five_crop in (False, True)
    }

  def training(
    self, plan: sampling.EpochPlan, *, fill: FillFn | None = None
  ) -> Generator[Fed]:
    """The batches of a plan."""
    crop_scale = self.config.dataset.crop_scale
    if fill is None:
      yield from self._read(plan, crop_scale)
      return
    share = self._share(plan)
    slots = zip(share.sources, share.used, strict=True)
    plain = self._read(plan.without_slots(), crop_scale)
    for (batch, replaced), (sources, used) in zip(plain, slots, strict=True):
      filled = deal(fill(sources, used), self._local)
      yield Fed(batch._replace(sources=filled), replaced)

  def sources(
    self, rows: np.ndarray, *, batch_size: int
  ) -> Iterator[tuple[np.ndarray, Sources]]:
    """Crops of given training images, to hallucinate from outside of training.

    Args:
      rows: int64 [m], positions of the images in the training split.
      batch_size: images of a batch, over all devices; the last batch is filled
        up with the first images.

    Yields:
      (number of each image in `rows` int32 [n], n sources), each array with a
      leading device axis.
    """
    steps = -(-len(rows) // batch_size)
    indices = np.resize(rows, (steps, batch_size))
    plan = sampling.EpochPlan.of_images(
      indices, seed=self.config.seed, stage=2, epoch=0
    )
    first = processes.index() * self._local
    own = slice(first, first + self._local)
    read = self._read(plan, self.config.perturb.crop_scale)
    for step, (batch, _) in enumerate(read):
      numbers = step * batch_size + np.arange(batch_size, dtype=np.int32)
      used = np.ones(batch.label.shape, bool)
      yield (
        numbers.reshape(self.devices, -1)[own],
        Sources(batch.image, batch.label, used),
      )

  def evaluation(
    self, role: str, *, five_crop: bool = False
  ) -> Iterator[EvalBatch]:
    """Device batches of a whole split, the last one padded.

    Args:
      role: "training", "validation" or "test".
      five_crop: whether images are as large as resize_size, for the devices to
        cut crops of image_size from them. A fifth of a batch are in one then.

    Yields:
      Batches, each array with a leading device axis. A split that fits into
      memory is read only once. Images that can't be read are masked out.
    """
    yield from self._evaluation[role, five_crop]

  def _side(self, *, five_crop: bool) -> int:
    """Side of an image of evaluation, pixels."""
    dataset = self.config.dataset
    return dataset.resize_size if five_crop else dataset.image_size

  def once(self, role: str) -> Iterator[EvalBatch]:
    """`evaluation` of a split that is not needed again: nothing is kept."""
    yield from self._read_evaluation(role, five_crop=False)

  @functools.cached_property
  def _train(self) -> Split:
    """The training images, decoded where they are small.

    Images in memory are resized by the host; only those in files can be resized
    by the device.
    """
    if self.config.dataset.resize_on == "device":
      return self.dataset.train
    return cache.in_memory(self.dataset.train, decoding(self.config))

  def _read(
    self, plan: sampling.EpochPlan, crop_scale: tuple[float, float]
  ) -> Generator[Fed]:
    dataset = self.config.dataset
    batches = input_pipeline.train_batches(
      self._train,
      self._share(plan),
      image_size=dataset.image_size,
      crop_scale=crop_scale,
      source_crop_scale=self.config.perturb.crop_scale,
      crop_ratio=dataset.crop_ratio,
      substitutes=self._substitutes["training"],
      decoding=decoding(self.config),
      canvas=canvas(self.config),
      interpolation=dataset.interpolation,
    )
    with contextlib.closing(batches):
      for batch in batches:
        sources = Sources(
          batch.source_image, batch.source_label, batch.source_used
        )
        on_host = Batch(
          batch.image, batch.label, sources if len(batch.source_used) else None
        )
        yield Fed(deal(on_host, self._local), batch.replaced)

  def _read_evaluation(
    self, role: str, *, five_crop: bool
  ) -> Iterator[EvalBatch]:
    config = self.config
    largest = max(config.stage1.batch_size, config.stage2.batch_size)
    if five_crop:  # The network sees five images for one.
      largest = -(-largest // 5)
    batches = input_pipeline.eval_batches(
      self.dataset.splits[role],
      batch_size=-(-largest // self.devices) * self.devices,
      image_size=self._side(five_crop=five_crop),
      resize_size=config.dataset.resize_size,
      process_index=processes.index(),
      process_count=processes.count(),
      substitutes=self._substitutes[role],
      decoding=decoding(config),
      interpolation=config.dataset.interpolation,
    )
    with contextlib.closing(batches):
      for batch in batches:
        yield deal(EvalBatch(*batch), self._local)

  def _share(self, plan: sampling.EpochPlan) -> sampling.EpochPlan:
    """What this process reads of a plan."""
    if processes.count() == 1:
      return plan
    return plan.shard(
      processes.index(), processes.count(), devices=self.devices
    )


def canvas(config: Config) -> int | None:
  """Side of the canvases that crops travel in; None if the host resizes."""
  where = config.dataset.resize_on
  if where == "auto":
    # Where the devices are CPUs, resizing on them would save the host nothing.
    is_on_host = on_cpu(config) or config.dataset.interpolation == "bicubic"
    where = "host" if is_on_host else "device"
  if where == "host":
    return None
  from blt_jax.data import device_resize  # Accelerators alone need it.

  return device_resize.CANVAS_SCALE * config.dataset.image_size
