"""Encoded images to uint8 blocks with tf.data. TensorFlow is imported on use.

TensorFlow reads the files and decodes what a crop needs of a JPEG; Pillow reads
the other formats and resizes (or the device does, with the same result), so
that every pixel is the one that the peers of this field train on.
"""

import contextlib
import ctypes
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from blt_jax.data.reading import crops, decode
from blt_jax.data.reading.resize import resize, resize_and_crop

# Draws of an image that is not cropped at random.
_NO_DRAWS = np.empty(0)


@functools.cache
def tensorflow():
  """TensorFlow, with the accelerators hidden from it.

  Raises:
    ImportError: it is not installed.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  try:
    import tensorflow as tf
  except ImportError as error:
    raise ImportError(
      "reading image files needs TensorFlow: pip install tensorflow-cpu"
    ) from error
  # It raises if the program initialised TensorFlow itself; that choice stands.
  with contextlib.suppress(RuntimeError):
    tf.config.set_visible_devices([], "GPU")
  return tf


class UnreadableError(Exception):
  """A block holds an image that can't be read; it does not say which."""


class Block(NamedTuple):
  """Images of one request.

  Attributes:
    pixels: uint8 [n, m, m, 3], an image in the upper left corner of each.
    extents: int32 [n, 2], height and width of the images, 1..m.
  """

  pixels: np.ndarray
  extents: np.ndarray


class Reader:
  """Turns requests for images into blocks of pixels, on several threads."""

  def __init__(
    self,
    windows: Callable[[np.ndarray, np.ndarray], np.ndarray],
    finish: Callable[[np.ndarray], np.ndarray],
    *,
    encoded: bool,
    canvas: int,
    max_pixels: int,
    num_threads: int,
  ):
    """Made by `training_reader` and `evaluation_reader`.

    Args:
      windows: (shapes int [n, 2], height and width of images; draws) -> int
        [n, 4], what to decode of each: top, left, height, width.
      finish: what is cut out, uint8 [h, w, 3] -> uint8 [h', w', 3], neither
        larger than m.
      encoded: whether sources are contents of files; else they are paths.
      canvas: m, side of the blocks in pixels.
      max_pixels: a larger image counts as unreadable.
      num_threads: threads that read and decode.
    """
    self._windows, self._finish = windows, finish
    self._max_pixels = max_pixels
    self._encoded = encoded
    self._canvas = canvas
    self._num_threads = num_threads

  def blocks(
    self,
    requests: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    *,
    block_size: int,
  ) -> Iterator[Block]:
    """Reads the images of requests, a block for each.

    Args:
      requests: gives an iterator of (sources [n], draws [n, d]), used from
        another thread.
      block_size: n; the last request may be of fewer.

    Yields:
      Blocks of n images, in order.

    Raises:
      UnreadableError: the next block has an image that can't be read.
    """
    tf = tensorflow()
    keep_freed_memory()
    # Pixels are written where they stay: through tf.data they would be copied
    # twice more, each time into fresh memory.
    blocks: dict[int, Block] = {}

    def numbered():
      for number, (sources, draws) in enumerate(requests()):
        blocks[number] = self._empty(len(sources))
        places = [(number, i) for i in range(len(sources))]
        yield sources, draws, np.array(places)

    dataset = tf.data.Dataset.from_generator(
      numbered,
      output_signature=(
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([None, None], tf.float64),
        tf.TensorSpec([None, 2], tf.int64),
      ),
    )
    # Requests are taken apart into images, so that the threads share them.
    dataset = _flatten(dataset)
    dataset = dataset.map(
      _as_it_is(self._open), num_parallel_calls=self._num_threads
    )
    dataset = dataset.batch(block_size).map(_as_it_is(self._place)).prefetch(1)
    dataset = _flatten(dataset).map(
      _as_it_is(functools.partial(self._write, blocks)),
      num_parallel_calls=self._num_threads,
    )
    dataset = dataset.batch(block_size).prefetch(1)
    try:
      for places in dataset.with_options(_options(self._num_threads)):
        yield blocks.pop(int(places[0, 0]))
    except tf.errors.OpError as error:
      raise UnreadableError(str(error.message)) from error

  def problem(self, source: Any, draws: np.ndarray = _NO_DRAWS) -> str | None:
    """Why an image can't be read, or None if it can.

    Args:
      source: a path, or the content of a file.
      draws: as in a request; a damaged file may hold one crop and not another.
    """
    tf = tensorflow()
    try:
      self._read_one(tf.constant(source), tf.constant(draws, tf.float64))
    except tf.errors.OpError:
      return self._reason(source)
    return None

  def _reason(self, source: Any) -> str:
    """What Pillow says about an image that TensorFlow could not read."""
    try:
      data = source
      if not self._encoded:
        data = pathlib.Path(os.fsdecode(source)).read_bytes()
      decode.decode_rgb(data, max_pixels=self._max_pixels)
    except OSError as error:
      return str(error.strerror)
    except decode.ImageError as error:
      return str(error)
    return "damaged JPEG"

  @functools.cached_property
  def _read_one(self):
    """All steps for one image, whose pixels nobody looks at."""
    tf = tensorflow()
    blocks = {0: self._empty(1)}

    def read(source, draws):
      opened = self._open(source, draws, tf.zeros([2], tf.int64))
      placed = self._place(*(column[None] for column in opened))
      return self._write(blocks, *(column[0] for column in placed))

    return tf.function(read, autograph=False)

  def _empty(self, images: int) -> Block:
    pixels = np.empty((images, self._canvas, self._canvas, 3), np.uint8)
    return Block(pixels, np.empty((images, 2), np.int32))

  def _open(self, source, draws, place):
    """Adds the header: int32 [3], zeros for what Pillow has to decode."""
    tf = tensorflow()
    data = source if self._encoded else tf.io.read_file(source)
    shape = tf.cond(
      tf.io.is_jpeg(data),
      lambda: tf.image.extract_jpeg_shape(data),
      lambda: tf.zeros([3], tf.int32),
    )
    # Pillow turns four components into RGB; it is what this field trains on.
    shape = tf.where(shape[2] < 4, shape, 0)
    return data, shape, draws, place

  def _place(self, data, shapes, draws, place):
    """Turns the headers of a block into what to decode of each image."""
    tf = tensorflow()
    areas = tf.numpy_function(self._areas, [shapes, draws], tf.int32)
    areas = tf.ensure_shape(areas, [None, 6])
    pixels = tf.reduce_prod(tf.cast(shapes[:, :2], tf.int64), axis=1)
    too_many = tf.reduce_max(pixels) > self._max_pixels
    tf.debugging.Assert(~too_many, ["too many pixels"])
    return data, areas, draws, place

  def _areas(self, shapes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Top, left, height, width to decode; left, width to cut out of that."""
    sizes = np.maximum(shapes[:, :2], 1)  # Whatever for those of Pillow.
    y, x, h, w = self._windows(sizes, draws).T
    # Two columns more on both sides: JPEG stores colour at half the width and
    # the outermost columns are smoothed with their neighbours.
    left, right = np.maximum(x - 2, 0), np.minimum(x + w + 2, sizes[:, 1])
    areas = np.stack([y, left, h, right - left, x - left, w], axis=1)
    areas[shapes[:, 0] == 0] = 0
    return areas.astype(np.int32)

  def _write(self, blocks, data, area, draws, place):
    """Decodes, finishes and writes an image to its place in the blocks."""
    tf = tensorflow()

    def jpeg():
      return tf.image.decode_and_crop_jpeg(
        data, area[:4], channels=3, dct_method="INTEGER_ACCURATE"
      )

    def other():
      image = tf.numpy_function(self._decode_other, [data, draws], tf.uint8)
      tf.debugging.Assert(tf.size(image) > 0, ["unreadable"])
      return tf.ensure_shape(image, [None, None, 3])

    def write(image, area, place):
      left, width = area[4:].tolist()
      if width:
        image = image[:, left : left + width]
      image = self._finish(image)
      height, width = image.shape[:2]
      number, i = place.tolist()
      pixels, extents = blocks[number]
      pixels[i, :height, :width] = image
      extents[i] = height, width
      return place

    image = tf.cond(area[3] > 0, jpeg, other)
    done = tf.numpy_function(write, [image, area, place], tf.int64)
    return tf.ensure_shape(done, [2])

  def _decode_other(self, data: bytes, draws: np.ndarray) -> np.ndarray:
    """Pillow's decoding of a window; no pixel if the image is unreadable."""
    # An exception in here would print its traceback.
    try:
      image = decode.decode_rgb(data, max_pixels=self._max_pixels)
    except decode.ImageError:
      return np.empty((0, 0, 3), np.uint8)
    (window,) = self._windows(np.array([image.shape[:2]]), draws[None])
    y, x, h, w = window.tolist()
    return np.ascontiguousarray(image[y : y + h, x : x + w])


def training_reader(
  *,
  encoded: bool,
  image_size: int,
  canvas: int | None,
  ratio: tuple[float, float],
  max_pixels: int,
  num_threads: int,
) -> Reader:
  """Random crops: draws are float64 [n, 22] of crops.crop_draws.

  Args:
    encoded: whether sources are contents of files; else they are paths.
    image_size: s, side of the result in pixels.
    canvas: m >= s: crops that fit into m pixels in both directions stay as they
      are, others are resized to s; None resizes all of them.
    ratio: of the crops' fallback, see crops.crop_windows.
    max_pixels: a larger image counts as unreadable.
    num_threads: threads that read and decode.
  """

  def windows(shapes, draws):
    return crops.place_crops(shapes[:, 0], shapes[:, 1], draws, ratio=ratio)

  def finish(image):
    if canvas is not None and max(image.shape[:2]) <= canvas:
      return image
    return resize(image, image_size, image_size)

  return Reader(
    windows,
    finish,
    encoded=encoded,
    canvas=image_size if canvas is None else canvas,
    max_pixels=max_pixels,
    num_threads=num_threads,
  )


def evaluation_reader(
  *,
  encoded: bool,
  image_size: int,
  resize_size: int,
  max_pixels: int,
  num_threads: int,
) -> Reader:
  """Short side resized and centre cropped: draws are empty, float64 [n, 0].

  Args:
    encoded: whether sources are contents of files; else they are paths.
    image_size: s, side of the result in pixels, <= resize_size.
    resize_size: length of the short side before the crop.
    max_pixels: a larger image counts as unreadable.
    num_threads: threads that read and decode.
  """
  return Reader(
    lambda shapes, draws: np.concatenate([0 * shapes, shapes], axis=1),
    functools.partial(
      resize_and_crop, image_size=image_size, resize_size=resize_size
    ),
    encoded=encoded,
    canvas=image_size,
    max_pixels=max_pixels,
    num_threads=num_threads,
  )


def keep_freed_memory() -> None:
  """Has the C library keep what is freed for the next image.

  By default glibc gives memory back to the system after every image and gets it
  anew, zeroed, for the next: a tenth of the time of the whole pipeline. Other C
  libraries are left as they are.
  """
  if sys.platform != "linux":
    return
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    for option, size in ((-3, 32 << 20), (-1, 1 << 30), (-2, 1 << 24)):
      mallopt(option, size)  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD.


def _options(num_threads: int):
  options = tensorflow().data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  options.threading.private_threadpool_size = num_threads
  return options


def _as_it_is(function):
  """Without AutoGraph, which has nothing to convert here."""
  return tensorflow().autograph.experimental.do_not_convert(function)


def _flatten(dataset):
  """The rows of a data set's elements, one by one."""
  tf = tensorflow()
  return dataset.flat_map(
    _as_it_is(lambda *columns: tf.data.Dataset.from_tensor_slices(columns))
  )
