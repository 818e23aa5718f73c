"""The images of an epoch's batches, and the share of each process.

A batch has B images and H slots for hallucinations. Each of n processes or
devices takes a block of the images: the first one the first B / n, and so on.
Slots are dealt to the devices in turn, because the used ones come first: so the
devices' numbers of images to ascend differ by at most one. A process holds the
slots of its devices. Here only `shard` and `crop_uniforms` know this layout.
"""

import dataclasses
import enum

import numpy as np

from blt_jax.data.reading import crops


class Stream(enum.IntEnum):
  """The purposes of random numbers; no two draws of an epoch share one."""

  BATCH = 0
  CHOICE = 1
  SOURCE = 2
  FILLER = 3
  CROP = 4


@dataclasses.dataclass(frozen=True, eq=False)
class EpochPlan:
  """Index streams of (a part of) an epoch.

  Attributes:
    indices: int64 [steps, B], images of each batch.
    sources: int64 [steps, H], images to hallucinate from. An unused slot holds
      an ordinary training image.
    used: bool [steps, H], which slots are hallucinations.
    dropped: int64 [steps], hallucinations of the whole batch beyond H.
    seed, stage, epoch: the key that the plan was drawn from.
    position: number in the epoch of the plan's first step.
    process: (index, count) of the process whose columns this plan holds.
    devices: number of devices of all processes.
  """

  indices: np.ndarray
  sources: np.ndarray
  used: np.ndarray
  dropped: np.ndarray
  seed: int
  stage: int
  epoch: int
  position: int = 0
  process: tuple[int, int] = (0, 1)
  devices: int = 1

  def __len__(self) -> int:
    return len(self.indices)

  @property
  def overflow(self) -> int:
    """Hallucinations dropped for lack of capacity, over all processes."""
    return int(np.sum(self.dropped))

  @classmethod
  def of_images(
    cls, indices: np.ndarray, *, seed: int, stage: int, epoch: int
  ) -> "EpochPlan":
    """A plan without slots."""
    none = indices[:, :0]
    return cls(
      indices,
      sources=none,
      used=none.astype(bool),
      dropped=np.zeros(len(indices), np.int64),
      seed=seed,
      stage=stage,
      epoch=epoch,
    )

  def without_slots(self) -> "EpochPlan":
    """The same batches and no slots."""
    return dataclasses.replace(
      self, sources=self.sources[:, :0], used=self.used[:, :0]
    )

  def shard(
    self, process_index: int, process_count: int, *, devices: int | None = None
  ) -> "EpochPlan":
    """The columns of one process, in the order of the plan.

    Args:
      process_index: 0 <= process_index < process_count.
      process_count: number of equal shares; divides B.
      devices: of all processes together, a multiple of their number; divides
        H. As many as processes by default.

    Raises:
      ValueError: B or H is not divisible.
    """
    devices = devices or process_count
    if self.process != (0, 1):
      raise ValueError(f"the plan is already shard {self.process} of a plan.")
    process = (process_index, process_count)
    batch_size, slots = self.indices.shape[1], self.sources.shape[1]
    if batch_size % process_count or not 0 <= process_index < process_count:
      raise ValueError(
        f"batch_size is {batch_size}; expected a multiple of the number of"
        f" processes, {process_count} (this one has number {process_index})."
      )
    if slots % devices:
      raise ValueError(
        f"capacity is {slots}; expected a multiple of the number of devices,"
        f" {devices}."
      )
    own = _slot_columns(slots, process, devices)
    return dataclasses.replace(
      self,
      indices=self.indices[:, _image_columns(batch_size, process)],
      sources=self.sources[:, own],
      used=self.used[:, own],
      process=process,
      devices=devices,
    )

  def tail(self, first_step: int) -> "EpochPlan":
    """The plan from a step on, to resume in the middle of an epoch.

    Returns:
      An EpochPlan whose batches equal this plan's, crops included.

    Raises:
      ValueError: first_step is out of range.
    """
    if not 0 <= first_step <= len(self):
      raise ValueError(
        f"first_step is {first_step}; expected 0 to {len(self)}."
      )
    return dataclasses.replace(
      self,
      indices=self.indices[first_step:],
      sources=self.sources[first_step:],
      used=self.used[first_step:],
      dropped=self.dropped[first_step:],
      position=self.position + first_step,
    )

  def crop_uniforms(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers for one step's crops; only the global position matters.

    Returns:
      (batch [B, 22], sources [H, 22]): float64 in [0, 1).
    """
    batch_size = self.indices.shape[1] * self.process[1]
    slots = self.sources.shape[1] * self.process[1]
    key = (self.seed, self.stage, self.epoch)
    rng = generator(*key, Stream.CROP, self.position + step)
    draws = rng.random((batch_size + slots, crops.UNIFORMS))
    images, sources = draws[:batch_size], draws[batch_size:]
    return (
      images[_image_columns(batch_size, self.process)],
      sources[_slot_columns(slots, self.process, self.devices)],
    )


def generator(seed: int, *key: int) -> np.random.Generator:
  """A generator for a key: stage, epoch, Stream and, for crops, step."""
  sequence = np.random.SeedSequence(seed, spawn_key=key)
  return np.random.Generator(np.random.Philox(sequence))


def _image_columns(batch_size: int, process: tuple[int, int]) -> slice:
  """The images of a batch that a process (index, count) holds."""
  index, count = process
  width = batch_size // count
  return slice(index * width, (index + 1) * width)


def _slot_columns(
  slots: int, process: tuple[int, int], devices: int
) -> np.ndarray:
  """The slots of a batch that the devices of a process (index, count) hold."""
  index, count = process
  columns = np.arange(slots)
  return columns[columns % devices // (devices // count) == index]
