"""Batches of pixels: read, crop, replace, batch, prefetch.

The host delivers uint8. The device flips, rotates, jitters and normalises.
"""

import collections
import concurrent.futures
import contextlib
import functools
import importlib
import logging
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from blt_jax.data.dataset import Split
from blt_jax.data.reading import crops
from blt_jax.data.reading.decode import DEFAULT, Decoding
from blt_jax.data.reading.reader import (
  ArrayReader,
  CentreCrop,
  Image,
  RandomCrop,
  Reader,
  Request,
  Rule,
  Unreadable,
)
from blt_jax.data.reading.substitutes import Substitutes, sources
from blt_jax.data.sampling import EpochPlan
from blt_jax.data.threads import cores

_log = logging.getLogger(__name__)

ReaderType = Callable[..., Reader]
T = TypeVar("T")
# Batches made ahead of the one in use.
_AHEAD = 2
_END = object()


class Crops(NamedTuple):
  """Crops of several sizes, for the device to resize.

  Attributes:
    pixels: uint8 [n, m, m, 3], a crop in the upper left corner of each canvas;
      what lies around it has no meaning.
    extents: int32 [n, 2], height and width of the crops, 1..m.
  """

  pixels: Any
  extents: Any


Images = np.ndarray | Crops
"""uint8 [n, s, s, 3], or Crops if the device resizes."""


class TrainBatch(NamedTuple):
  """A batch of training and the images to hallucinate from.

  Attributes:
    image: B images.
    label: int32 [B].
    source_image: H images, one a slot.
    source_label: int32 [H].
    source_used: bool [H], which slots are hallucinations.
    replaced: how many of these images stand for others that can't be read.
  """

  image: Images
  label: np.ndarray
  source_image: Images
  source_label: np.ndarray
  source_used: np.ndarray
  replaced: int


class EvalBatch(NamedTuple):
  """A batch of evaluation.

  Attributes:
    image: uint8 [b, s, s, 3].
    label: int32 [b].
    mask: bool [b], False for images that are to be left out.
  """

  image: np.ndarray
  label: np.ndarray
  mask: np.ndarray


def train_batches(
  split: Split,
  plan: EpochPlan,
  *,
  image_size: int,
  crop_scale: tuple[float, float] = (0.08, 1.0),
  source_crop_scale: tuple[float, float] = (0.3, 1.0),
  crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
  substitutes: Substitutes | None = None,
  decoding: Decoding = DEFAULT,
  canvas: int | None = None,
  interpolation: str = "bilinear",
  reader: ReaderType | None = None,
  num_threads: int | None = None,
) -> Generator[TrainBatch]:
  """Random resized crops of the images that a plan names.

  The same split and plan give the same bits for any number of threads. A plan's
  shards and tails give the same crops as the whole plan.

  Args:
    split: n images, in memory or in files.
    plan: an epoch, or a shard or tail of one: B images and H slots a step.
    image_size: s, side of the result in pixels, >= 1.
    crop_scale: range of a crop's area over the image's, 0 < low <= high <= 1.
    source_crop_scale: the same for the images to hallucinate from.
    crop_ratio: range of a crop's width / height, 0 < low <= high.
    substitutes: those of this split, in place of images that can't be read; by
      default the first such image stops the iteration. Unused for images in
      memory.
    decoding: how files become RGB.
    canvas: m >= s, side of the canvases in which `device_resize` gets the
      crops, bilinear ones; None resizes them here.
    interpolation: one of `crops.INTERPOLATIONS`.
    reader: makes the reader of files and records; by default
      `default_reader()`.
    num_threads: threads that decode files; None for one a core.

  Returns:
    A generator of TrainBatch. Close it (or use it up) to stop its threads.

  Raises:
    ValueError: an argument is not allowed; while iterating: names an image that
      can't be read.
  """
  _check_positive("image_size", image_size)
  if canvas is not None and canvas < image_size:
    raise ValueError(
      f"canvas is {canvas}; expected image_size, {image_size}, or more."
    )
  crops.check_interpolation(interpolation)
  if canvas is not None and interpolation != "bilinear":
    raise ValueError(
      f"canvas is {canvas}; expected None with interpolation {interpolation}, "
      "which the device does not know."
    )
  crops.check_ranges(crop_scale, crop_ratio)
  crops.check_ranges(
    source_crop_scale, crop_ratio, scale_name="source_crop_scale"
  )
  rule = RandomCrop(
    image_size,
    crop_ratio,
    canvas if split.images is None else None,
    interpolation,
  )
  opened = _open(
    split, rule, reader, decoding=decoding, num_threads=num_threads
  )
  substitutes = substitutes or Substitutes(
    split, name="training", on_error="stop"
  )
  wanted = functools.partial(
    _wanted, plan, scales=(crop_scale, source_crop_scale), ratio=crop_ratio
  )

  batches = _train_batches(
    split, plan, wanted, reader=opened, rule=rule, substitutes=substitutes
  )
  return prefetch(batches, _AHEAD)


def _train_batches(
  split: Split,
  plan: EpochPlan,
  wanted: Callable[[int], tuple[np.ndarray, np.ndarray]],
  *,
  reader: Reader,
  rule: RandomCrop,
  substitutes: Substitutes,
) -> Generator[TrainBatch]:
  """Reads batch by batch; see `train_batches`."""
  with _read(split, reader, map(wanted, range(len(plan)))) as images:
    for step in range(len(plan)):
      rows = [*plan.indices[step].tolist(), *plan.sources[step].tolist()]
      pixels = np.empty((len(rows), rule.side, rule.side, 3), np.uint8)
      block = Crops(pixels, np.empty((len(rows), 2), np.int32))
      replaced = 0
      for i, row in enumerate(rows):
        image = next(images)
        if isinstance(image, Unreadable):
          substitutes.note(row, image.reason)
          image = substitutes.find(reader, row, wanted(step)[1][i])
          replaced += 1
        height, width = block.extents[i] = image.shape[:2]
        block.pixels[i, :height, :width] = image
      size, resized = plan.indices.shape[1], rule.canvas is None
      yield TrainBatch(
        image=_part(block, slice(size), resized=resized),
        label=split.labels[plan.indices[step]],
        source_image=_part(block, slice(size, None), resized=resized),
        source_label=split.labels[plan.sources[step]],
        source_used=plan.used[step],
        replaced=replaced,
      )


def eval_batches(
  split: Split,
  *,
  batch_size: int,
  image_size: int,
  resize_size: int,
  process_index: int = 0,
  process_count: int = 1,
  substitutes: Substitutes | None = None,
  decoding: Decoding = DEFAULT,
  interpolation: str = "bilinear",
  reader: ReaderType | None = None,
  num_threads: int | None = None,
) -> Generator[EvalBatch]:
  """Every image once, in order, with short side resized and centre cropped.

  Args:
    split: n images, in memory or in files.
    batch_size: B of all processes together, >= 1.
    image_size: s, side of the result in pixels, >= 1.
    resize_size: length of the short side before the crop, >= image_size.
    process_index: number of this process, 0 <= process_index < process_count.
      It gives the part of each batch with that number.
    process_count: number of equal contiguous parts of a batch, a divisor of B.
      All processes give the same number of batches.
    substitutes: those of this split, which count the images that can't be read;
      these are masked out. By default the first one stops the iteration. Unused
      for images in memory.
    decoding: how files become RGB.
    interpolation: one of `crops.INTERPOLATIONS`.
    reader: makes the reader of files and records; by default
      `default_reader()`.
    num_threads: threads that decode files; None for one a core.

  Returns:
    A generator of ceil(n / B) EvalBatch, b = B / process_count images. The
    last one is filled up with zeros whose mask is False.

  Raises:
    ValueError: an argument is not allowed; while iterating: names an image that
      can't be read.
  """
  _check_positive("image_size", image_size)
  crops.check_interpolation(interpolation)
  if resize_size < image_size:
    raise ValueError(
      f"resize_size is {resize_size}; expected image_size, {image_size},"
      " or more."
    )
  positions = _eval_positions(
    len(split), batch_size, process_index, process_count
  )
  rule = CentreCrop(image_size, resize_size, interpolation)
  opened = _open(
    split, rule, reader, decoding=decoding, num_threads=num_threads
  )
  substitutes = substitutes or Substitutes(
    split, name="evaluation", on_error="stop"
  )
  width = batch_size // process_count

  def batches() -> Generator[EvalBatch]:
    wanted = ((part, np.empty((len(part), 0))) for part in positions)
    with _read(split, opened, wanted) as images:
      for part in positions:
        pixels = np.zeros((width, image_size, image_size, 3), np.uint8)
        label, mask = np.zeros(width, np.int32), np.zeros(width, bool)
        label[: len(part)] = split.labels[part]
        for i, row in enumerate(part.tolist()):
          image = next(images)
          if isinstance(image, Unreadable):
            substitutes.note(row, image.reason, done="not evaluated")
            continue
          pixels[i], mask[i] = image, True
        yield EvalBatch(pixels, label, mask)

  return prefetch(batches(), _AHEAD)


def prefetch(items: Generator[T], depth: int) -> Generator[T]:
  """Runs a generator ahead in one background thread.

  An exception of the generator is raised where its item would have come.
  Closing the iterator stops the thread and closes the generator.

  Args:
    items: used from the background thread only.
    depth: items made ahead, >= 1.

  Yields:
    The items in order.
  """
  with contextlib.closing(items):
    pool = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
    try:
      ahead = collections.deque(
        pool.submit(next, items, _END) for _ in range(depth)
      )
      while (item := ahead.popleft().result()) is not _END:
        ahead.append(pool.submit(next, items, _END))
        yield cast(T, item)
    finally:
      pool.shutdown(cancel_futures=True)


@functools.cache
def default_reader() -> ReaderType:
  """TfReader if TensorFlow can be used, else PillowReader with a warning.

  They are imported here, because data sets in memory need neither.
  """
  from blt_jax.data import lazy_tensorflow

  try:
    lazy_tensorflow.tensorflow()
    return importlib.import_module("blt_jax.data.reading.tf_reader").TfReader
  except ImportError as error:
    problem = str(error).partition(";")[0]
  _log.warning("%s: Pillow reads images, more slowly", problem)
  module = importlib.import_module("blt_jax.data.reading.pillow_reader")
  return module.PillowReader


def _open(
  split: Split,
  rule: Rule,
  reader: ReaderType | None,
  *,
  decoding: Decoding,
  num_threads: int | None,
) -> Reader:
  """The reader of a split."""
  if num_threads is not None:
    _check_positive("num_threads", num_threads)
  if split.images is not None:
    return ArrayReader(rule)
  return (reader or default_reader())(
    rule,
    decoding,
    encoded=split.paths is None,
    num_threads=cores() if num_threads is None else num_threads,
  )


def _read(
  split: Split, reader: Reader, wanted: Iterable[tuple[np.ndarray, np.ndarray]]
) -> contextlib.closing[Generator[Image]]:
  """Reads rows of a split [n] with their draws [n, d], batch by batch."""
  requests = (
    Request(source, draws)
    for rows, drawn in wanted
    for source, draws in zip(sources(split, rows), drawn, strict=True)
  )
  return contextlib.closing(reader.read(requests))


def _wanted(
  plan: EpochPlan, step: int, *, scales, ratio
) -> tuple[np.ndarray, np.ndarray]:
  """Rows [B + H] of a step's images and slots, and their draws [B + H, 22]."""
  draws = [
    crops.crop_draws(uniforms, scale=scale, ratio=ratio)
    for uniforms, scale in zip(plan.crop_uniforms(step), scales, strict=True)
  ]
  rows = np.concatenate([plan.indices[step], plan.sources[step]])
  return rows, np.concatenate(draws)


def _part(block: Crops, part: slice, *, resized: bool) -> Images:
  """Some images of a block, which are whole canvases if all are resized."""
  crops_of_part = Crops(block.pixels[part], block.extents[part])
  return crops_of_part.pixels if resized else crops_of_part


def _eval_positions(
  length: int, batch_size: int, process_index: int, process_count: int
) -> list[np.ndarray]:
  """Positions in the split of each of a process's batches."""
  width, rest = divmod(batch_size, process_count)
  if rest or width < 1 or not 0 <= process_index < process_count:
    raise ValueError(
      f"batch_size is {batch_size}; expected a multiple of the number of"
      f" processes, {process_count} (this one has number {process_index})."
    )
  starts = range(process_index * width, length + batch_size, batch_size)
  steps = -(-length // batch_size)
  return [
    np.arange(min(start, length), min(start + width, length))
    for start, _ in zip(starts, range(steps), strict=False)
  ]


def _check_positive(name: str, number: int) -> None:
  if number < 1:
    raise ValueError(f"{name} is {number}; expected 1 or more.")
