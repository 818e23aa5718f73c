"""Batches of pixels: read, decode, crop, batch, prefetch.

The host delivers uint8; flips, rotation, jitter and normalisation happen on the
device. Arrays are cropped with Pillow and need no TensorFlow, files go through
tf.data.
"""

import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading import crops, resize, tf_reader
from blt_jax.data.reading.decode import MAX_PIXELS
from blt_jax.data.reading.substitutes import Substitutes
from blt_jax.data.sampling import EpochPlan

Batch = dict[str, np.ndarray]


class Crops(NamedTuple):
  """Crops as they were cut out, for the device to resize.

  Attributes:
    pixels: uint8 [n, m, m, 3], each crop in the upper left corner of a canvas.
    extents: int32 [n, 2], height and width of the crops.
  """

  pixels: Any
  extents: Any


def train_batches(
  split: Split,
  plan: EpochPlan,
  *,
  image_size: int,
  crop_scale: tuple[float, float] = (0.08, 1.0),
  source_crop_scale: tuple[float, float] = (0.3, 1.0),
  crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
  substitutes: Substitutes | None = None,
  max_pixels: int = MAX_PIXELS,
  canvas: int | None = None,
  num_threads: int | None = None,
  prefetch_depth: int = 2,
) -> Generator[Batch]:
  """Random resized crops of the images that a plan names.

  The same split and plan give the same bits, whatever the threads do; a plan's
  shards and tails give the same crops as the whole plan.

  Args:
    split: n images, in memory or in files.
    plan: an epoch, or a shard or tail of one.
    image_size: s, side of the result in pixels, >= 1.
    crop_scale: range of a crop's area over the image's, 0 < low <= high <= 1.
    source_crop_scale: the same for the images to hallucinate from.
    crop_ratio: range of a crop's width / height, 0 < low <= high.
    substitutes: of this split, for images that can't be read; by default the
      first one stops the iteration. Unused for images in memory.
    max_pixels: a larger image counts as unreadable.
    canvas: m >= s, side of what crops are delivered in, for `device_resize` to
      resize; None resizes them here. Unused for images in memory.
    num_threads: threads that decode files; None for one a core.
    prefetch_depth: batches made ahead, >= 1.

  Returns:
    A generator of dicts: image uint8 [B, s, s, 3], label int32 [B]; if the plan
    has slots (H > 0) also source_image uint8 [H, s, s, 3], source_label int32
    [H], source_used bool [H]. With a canvas its side takes the place of s, and
    image_extent int32 [B, 2] and source_extent [H, 2] hold height and width of
    what lies in it. Close it (or use it up) to stop its thread.

  Raises:
    ValueError: an argument is not allowed; while iterating: names an image that
      can't be read.
  """
  _check_size("image_size", image_size)
  if canvas is not None and canvas < image_size:
    raise ValueError(
      f"canvas = {canvas}; allowed: image_size = {image_size} or more"
    )
  scales = (crop_scale, source_crop_scale)
  crops.check_ranges(crop_scale, crop_ratio)
  crops.check_ranges(
    source_crop_scale, crop_ratio, scale_name="source_crop_scale"
  )

  def wanted(first: int = 0):
    for step in range(first, len(plan)):
      rows = np.concatenate([plan.indices[step], plan.sources[step]])
      yield rows, _draws(plan, step, scales, crop_ratio)

  blocks: Iterator[tuple[np.ndarray, np.ndarray | None]]
  if split.images is not None:
    images = split.images
    in_memory = resize.training_blocks(
      ((images[rows], draws) for rows, draws in wanted()),
      image_size=image_size,
      ratio=crop_ratio,
    )
    blocks = ((block, None) for block in in_memory)
  else:
    reader = tf_reader.training_reader(
      encoded=split.paths is None,
      image_size=image_size,
      canvas=canvas,
      ratio=crop_ratio,
      max_pixels=max_pixels,
      num_threads=_threads(num_threads),
    )
    substitutes = substitutes or Substitutes(
      split, name="training", on_error="stop"
    )
    size = plan.indices.shape[1] + plan.sources.shape[1]
    read = substitutes.blocks(reader, wanted, size=size)
    blocks = (
      (block.pixels, None if canvas is None else block.extents)
      for block, _ in read
    )
  batches = _label_blocks(blocks, split.labels, plan)
  return prefetch(batches, prefetch_depth)


def eval_batches(
  split: Split,
  *,
  batch_size: int,
  image_size: int,
  resize_size: int,
  process_index: int = 0,
  process_count: int = 1,
  substitutes: Substitutes | None = None,
  max_pixels: int = MAX_PIXELS,
  num_threads: int | None = None,
  prefetch_depth: int = 2,
) -> Iterator[Batch]:
  """Every image once, in order: short side resized, centre cropped.

  Args:
    split: n images, in memory or in files.
    batch_size: B of all processes together, >= 1.
    image_size: s, side of the result in pixels, >= 1.
    resize_size: length of the short side before the crop, >= image_size.
    process_index: this process gives this one of the equal contiguous parts of
      each batch, 0 <= process_index < process_count.
    process_count: number of parts, a divisor of B. All processes give as many
      batches.
    substitutes: of this split, for images that can't be read: they are masked
      out. By default the first one stops the iteration. Unused for images in
      memory.
    max_pixels: a larger image counts as unreadable.
    num_threads: threads that decode files; None for one a core.
    prefetch_depth: batches made ahead, >= 1.

  Returns:
    An iterator of ceil(n / B) dicts, b = B / process_count: image uint8
    [b, s, s, 3], label int32 [b], mask bool [b]. The last batch is filled up
    with zeros whose mask is False.

  Raises:
    ValueError: an argument is not allowed; while iterating: names an image that
      can't be read.
  """
  _check_size("image_size", image_size)
  if resize_size < image_size:
    raise ValueError(
      f"resize_size = {resize_size}; allowed: image_size = {image_size} or more"
    )
  positions = _eval_positions(
    len(split), batch_size, process_index, process_count
  )
  filled = [part for part in positions if len(part)]
  width = batch_size // process_count
  blocks: Iterator[tuple[np.ndarray, np.ndarray]]
  if split.images is not None:
    images = split.images
    in_memory = resize.evaluation_blocks(
      (images[part] for part in filled),
      image_size=image_size,
      resize_size=resize_size,
    )
    blocks = ((block, np.zeros(len(block), bool)) for block in in_memory)
  else:
    reader = tf_reader.evaluation_reader(
      encoded=split.paths is None,
      image_size=image_size,
      resize_size=resize_size,
      max_pixels=max_pixels,
      num_threads=_threads(num_threads),
    )
    substitutes = substitutes or Substitutes(
      split, name="evaluation", on_error="stop"
    )
    read = substitutes.blocks(
      reader,
      lambda first: (
        (part, np.empty((len(part), 0))) for part in filled[first:]
      ),
      size=width,
    )
    blocks = ((block.pixels, replaced) for block, replaced in read)
  batches = _pad_blocks(blocks, split.labels, positions, width, image_size)
  return prefetch(batches, prefetch_depth)


def prefetch(items: Iterable[Any], depth: int) -> Generator[Any]:
  """Runs an iterable ahead in one background thread.

  An exception of the iterable is raised where its item would have come. Closing
  the iterator stops the thread and closes the iterable's generator.

  Args:
    items: used from the background thread only.
    depth: items made ahead, >= 1.

  Yields:
    The items in order.
  """
  ready: queue.Queue = queue.Queue(depth)
  stopped = threading.Event()

  def put(kind: str, value: Any) -> bool:
    while not stopped.is_set():
      try:
        ready.put((kind, value), timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def work() -> None:
    try:
      for item in items:
        if not put("item", item):
          return
      put("end", None)
    except BaseException as error:  # Handed over, not handled.
      put("error", error)
    finally:
      getattr(items, "close", lambda: None)()

  thread = threading.Thread(target=work, name="prefetch", daemon=True)
  thread.start()
  try:
    while True:
      kind, value = ready.get()
      if kind == "error":
        raise value
      if kind == "end":
        return
      yield value
  finally:
    stopped.set()
    thread.join()


def _label_blocks(blocks, labels, plan: EpochPlan) -> Iterator[Batch]:
  """Cuts blocks of B + H images into batches with their labels."""
  batch_size, slots = plan.indices.shape[1], plan.sources.shape[1]
  for step, (block, extents) in enumerate(blocks):
    batch = {"image": block[:batch_size], "label": labels[plan.indices[step]]}
    if extents is not None:
      batch["image_extent"] = extents[:batch_size]
    if slots:
      batch["source_image"] = block[batch_size:]
      batch["source_label"] = labels[plan.sources[step]]
      batch["source_used"] = plan.used[step]
      if extents is not None:
        batch["source_extent"] = extents[batch_size:]
    yield batch


def _pad_blocks(blocks, labels, positions, width: int, size: int):
  """Pairs blocks with labels and fills them up to the batch's width."""
  blocks = iter(blocks)
  for part in positions:
    image = np.zeros((width, size, size, 3), np.uint8)
    label = np.zeros(width, np.int32)
    mask = np.arange(width) < len(part)
    if len(part):
      image[: len(part)], replaced = next(blocks)
      label[: len(part)] = labels[part]
      mask[: len(part)] &= ~replaced
    yield {"image": image, "label": label, "mask": mask}


def _eval_positions(
  length: int, batch_size: int, process_index: int, process_count: int
) -> list[np.ndarray]:
  """Positions in the split of each of a process's batches."""
  width, rest = divmod(batch_size, process_count)
  if rest or width < 1 or not 0 <= process_index < process_count:
    raise ValueError(
      f"batch_size = {batch_size}; allowed: a multiple of the number of"
      f" processes, {process_count} (this one has number {process_index})"
    )
  starts = range(process_index * width, length + batch_size, batch_size)
  steps = -(-length // batch_size)
  return [
    np.arange(min(start, length), min(start + width, length))
    for start, _ in zip(starts, range(steps), strict=False)
  ]


def _draws(plan: EpochPlan, step: int, scales, ratio) -> np.ndarray:
  """Crop draws [B + H, 22] of a step's images and sources."""
  return np.concatenate(
    [
      crops.crop_draws(uniforms, scale=scale, ratio=ratio)
      for uniforms, scale in zip(plan.crop_uniforms(step), scales, strict=True)
    ]
  )


def _check_size(name: str, size: int) -> None:
  if size < 1:
    raise ValueError(f"{name} = {size}; allowed: 1 or more")


def _threads(num_threads: int | None) -> int:
  if num_threads is None:
    if hasattr(os, "sched_getaffinity"):
      return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
  if num_threads < 1:
    raise ValueError(f"num_threads = {num_threads}; allowed: 1 or more")
  return num_threads
