"""Encoded images to uint8 blocks with tf.data. TensorFlow is imported on use.

TensorFlow reads the files and decodes what a crop needs of a JPEG; Pillow reads
the other formats and resizes, so that every pixel is the one that the peers of
this field train on.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from blt_jax.data import image_formats
from blt_jax.data.array_images import resize
from blt_jax.data.crops import TRIES

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


class Reader:
  """Turns requests for images into blocks of pixels, on several threads."""

  def __init__(
    self,
    pixels: Callable[[Any, Any], Any],
    *,
    encoded: bool,
    image_size: int,
    max_pixels: int,
    num_threads: int,
  ):
    """Made by `training_reader` and `evaluation_reader`.

    Args:
      pixels: (content of a file, draws) -> uint8 [s, s, 3], in TensorFlow.
      encoded: whether sources are contents of files; else they are paths.
      image_size: s.
      max_pixels: of an image that `pixels` reads.
      num_threads: threads that read and decode.
    """
    self._pixels = pixels
    self._max_pixels = max_pixels
    self._encoded = encoded
    self._shape = [image_size, image_size, 3]
    self._num_threads = num_threads

  def blocks(
    self,
    requests: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    *,
    block_size: int,
  ) -> Iterator[np.ndarray]:
    """Reads the images of requests, a block for each.

    Args:
      requests: gives an iterator of (sources [n], draws [n, d]), used from
        another thread.
      block_size: n; the last request may be of fewer.

    Yields:
      uint8 [n, s, s, 3], in order.

    Raises:
      UnreadableError: the next block has an image that can't be read.
    """
    tf = tensorflow()
    dataset = tf.data.Dataset.from_generator(
      requests,
      output_signature=(
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([None, None], tf.float64),
      ),
    )
    # Requests are taken apart into images and batched again, so that the
    # threads share the images of one request.
    dataset = dataset.flat_map(
      lambda *request: tf.data.Dataset.from_tensor_slices(request)
    )
    dataset = dataset.map(self._read, num_parallel_calls=self._num_threads)
    dataset = dataset.batch(block_size).prefetch(1)
    try:
      for block in dataset.with_options(_options(self._num_threads)):
        yield block.numpy()
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
      self._function(tf.constant(source), tf.constant(draws, tf.float64))
    except tf.errors.OpError:
      return self._reason(source)
    return None

  def _reason(self, source: Any) -> str:
    """What Pillow says about an image that TensorFlow could not read."""
    try:
      data = source if self._encoded else pathlib.Path(source).read_bytes()
      image_formats.decode_rgb(data, max_pixels=self._max_pixels)
    except OSError as error:
      return str(error.strerror)
    except image_formats.ImageError as error:
      return str(error)
    return "damaged JPEG"

  @functools.cached_property
  def _function(self):
    return tensorflow().function(self._read)

  def _read(self, source, draws):
    tf = tensorflow()
    data = source if self._encoded else tf.io.read_file(source)
    return tf.ensure_shape(self._pixels(data, draws), self._shape)


def training_reader(
  *,
  encoded: bool,
  image_size: int,
  ratio: tuple[float, float],
  max_pixels: int,
  num_threads: int,
) -> Reader:
  """Random crops: draws are float64 [n, 22] of crops.crop_draws.

  Args:
    encoded: whether sources are contents of files; else they are paths.
    image_size: s, side of the result in pixels.
    ratio: of the crops' fallback, see crops.crop_windows.
    max_pixels: a larger image counts as unreadable.
    num_threads: threads that read and decode.
  """

  def pixels(data, draws):
    image = _window(data, draws, ratio=ratio, max_pixels=max_pixels)
    return _resize(image, image_size, image_size)

  return Reader(
    pixels,
    encoded=encoded,
    image_size=image_size,
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
  tf = tensorflow()

  def pixels(data, draws):
    del draws
    image = _whole(data, max_pixels=max_pixels)
    shape = tf.shape(image)[:2]
    shape = resize_size * shape // tf.reduce_min(shape)
    # tf.round, like torchvision, rounds halves to even.
    offset = tf.cast(
      tf.round(tf.cast(shape - image_size, tf.float64) / 2), tf.int32
    )
    image = _resize(image, shape[0], shape[1])
    return tf.slice(
      image, [offset[0], offset[1], 0], [image_size, image_size, 3]
    )

  return Reader(
    pixels,
    encoded=encoded,
    image_size=image_size,
    max_pixels=max_pixels,
    num_threads=num_threads,
  )


def _options(num_threads: int):
  options = tensorflow().data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  options.threading.private_threadpool_size = num_threads
  return options


def _is_plain_jpeg(data):
  """Whether TensorFlow decodes it as Pillow does: JPEG, grey or RGB."""
  tf = tensorflow()
  return tf.cond(
    tf.io.is_jpeg(data),
    lambda: tf.image.extract_jpeg_shape(data)[2] < 4,
    lambda: tf.constant(False),
  )


def _whole(data, *, max_pixels: int):
  """An image of any format: uint8 [h, w, 3]."""
  tf = tensorflow()

  def jpeg():
    _check_pixels(tf.image.extract_jpeg_shape(data), max_pixels)
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")

  return tf.cond(
    _is_plain_jpeg(data), jpeg, lambda: _decode_other(data, max_pixels)
  )


def _window(data, draws, *, ratio, max_pixels: int):
  """The window of an image that a crop takes: uint8 [h, w, 3]."""
  tf = tensorflow()

  def jpeg():
    shape = tf.image.extract_jpeg_shape(data)
    _check_pixels(shape, max_pixels)
    y, x, h, w = tf.unstack(_place_crop(shape, draws, ratio))
    # Two columns more on both sides: JPEG stores colour at half the width and
    # the outermost columns are smoothed with their neighbours.
    left, right = tf.maximum(x - 2, 0), tf.minimum(x + w + 2, shape[1])
    image = tf.image.decode_and_crop_jpeg(
      data,
      tf.stack([y, left, h, right - left]),
      channels=3,
      dct_method="INTEGER_ACCURATE",
    )
    return image[:, x - left : x - left + w]

  def other():
    image = _decode_other(data, max_pixels)
    window = _place_crop(tf.shape(image), draws, ratio)
    return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], 3])

  return tf.cond(_is_plain_jpeg(data), jpeg, other)


def _check_pixels(shape, max_pixels: int) -> None:
  """Fails the graph for an image of more pixels than allowed."""
  tf = tensorflow()
  pixels = tf.cast(shape[0], tf.int64) * tf.cast(shape[1], tf.int64)
  tf.debugging.Assert(pixels <= max_pixels, ["too many pixels", pixels])


def _decode_other(data, max_pixels: int):
  """Pillow's decoding: uint8 [h, w, 3]; fails the graph if there is none."""
  tf = tensorflow()

  def decode(data: bytes) -> np.ndarray:
    # An exception in here would print its traceback.
    try:
      return image_formats.decode_rgb(data, max_pixels=max_pixels)
    except image_formats.ImageError:
      return np.empty((0, 0, 3), np.uint8)

  image = tf.numpy_function(decode, [data], tf.uint8)
  tf.debugging.Assert(tf.size(image) > 0, ["unreadable"])
  return tf.ensure_shape(image, [None, None, 3])


def _resize(image, height, width):
  """Pillow's resizing: uint8 [height, width, 3]."""
  tf = tensorflow()
  resized = tf.numpy_function(resize, [image, height, width], tf.uint8)
  return tf.ensure_shape(resized, [None, None, 3])


def _place_crop(shape, draws, ratio: tuple[float, float]):
  """crops.place_crops for one image, the same arithmetic: int32 [4]."""
  tf = tensorflow()
  full = tf.cast(shape[:2], tf.float64)
  side = tf.sqrt(full[0] * full[1])
  last_w = tf.clip_by_value(tf.round(full[0] * ratio[1]), 1, full[1])
  last_h = tf.clip_by_value(tf.round(full[1] / ratio[0]), 1, full[0])
  w = tf.concat([tf.round(side * draws[:TRIES]), [last_w]], axis=0)
  h = tf.concat([tf.round(side * draws[TRIES : 2 * TRIES]), [last_h]], axis=0)
  choice = tf.argmax((w > 0) & (w <= full[1]) & (h > 0) & (h <= full[0]))
  window = tf.stack([h[choice], w[choice]])
  room = full - window
  spread = tf.minimum(tf.floor(draws[2 * TRIES :] * (room + 1)), room)
  offset = tf.where(choice == TRIES, tf.floor(room / 2), spread)
  return tf.cast(tf.concat([offset, window], axis=0), tf.int32)
