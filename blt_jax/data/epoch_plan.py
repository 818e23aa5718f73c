"""The images of an epoch, batch by batch, and which of them a process holds."""

import dataclasses
import enum

import numpy as np

from blt_jax.data.reading import crops


class Stream(enum.IntEnum):
  """What random numbers are for: no two draws of an epoch share a stream."""

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
    seed, stage, epoch: the key that the plan was drawn with.
    position: number in the epoch of the plan's first step.
    process: (index, count), the share of each batch's columns this plan holds.
    devices: over all processes.
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

  def shard(
    self, process_index: int, process_count: int, *, devices: int | None = None
  ) -> "EpochPlan":
    """The columns of one process.

    Images go to the processes in blocks. Slots are dealt to the devices in
    turn, and a process holds those of its devices, in the order of the plan.

    Args:
      process_index: 0 <= process_index < process_count.
      process_count: number of equal shares; divides B.
      devices: of all processes together, a multiple of their number; divides
        H. As many as processes by default.

    Returns:
      An EpochPlan.

    Raises:
      ValueError: B or H is not divisible.
    """
    devices = devices or process_count
    if self.process != (0, 1):
      raise ValueError(f"the plan is already shard {self.process} of a plan")
    batch = _columns("batch_size", self.indices, process_index, process_count)
    if self.sources.shape[1] % devices:
      raise ValueError(
        f"capacity is {self.sources.shape[1]}; expected a multiple of the"
        f" number of devices, {devices}"
      )
    slots = _slot_columns(
      self.sources.shape[1], (process_index, process_count), devices
    )
    return dataclasses.replace(
      self,
      indices=self.indices[:, batch],
      sources=self.sources[:, slots],
      used=self.used[:, slots],
      process=(process_index, process_count),
      devices=devices,
    )

  def tail(self, first_step: int) -> "EpochPlan":
    """What is left of the plan from a step on, to resume in mid-epoch.

    Args:
      first_step: steps to skip, 0 <= first_step <= len(self).

    Returns:
      An EpochPlan whose batches equal this plan's, crops included.

    Raises:
      ValueError: first_step is out of range.
    """
    if not 0 <= first_step <= len(self):
      raise ValueError(f"first_step is {first_step}; expected 0 to {len(self)}")
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

    Args:
      step: row of this plan.

    Returns:
      (batch [B, 22], sources [H, 22]): float64 in [0, 1).
    """
    index, count = self.process
    batch, slots = self.indices.shape[1], self.sources.shape[1]
    key = (self.seed, self.stage, self.epoch)
    rng = generator(*key, Stream.CROP, self.position + step)
    draws = rng.random(((batch + slots) * count, crops.UNIFORMS))
    images, sources = draws[: batch * count], draws[batch * count :]
    columns = _slot_columns(len(sources), self.process, self.devices)
    return images[index * batch : (index + 1) * batch], sources[columns]


def generator(seed: int, *key: int) -> np.random.Generator:
  """The random numbers of a key: stage, epoch, Stream and, for crops, step."""
  sequence = np.random.SeedSequence(seed, spawn_key=key)
  return np.random.Generator(np.random.Philox(sequence))


def _slot_columns(
  slots: int, process: tuple[int, int], devices: int
) -> np.ndarray:
  """Which slots of a step are those of a process's devices."""
  index, count = process
  columns = np.arange(slots)
  return columns[columns % devices // (devices // count) == index]


def _columns(name: str, array, process_index: int, process_count: int) -> slice:
  width, rest = divmod(array.shape[1], process_count)
  if rest or not 0 <= process_index < process_count:
    raise ValueError(
      f"{name} is {array.shape[1]}; expected a multiple of the number of"
      f" processes, {process_count} (this one has number {process_index})"
    )
  return slice(process_index * width, (process_index + 1) * width)
