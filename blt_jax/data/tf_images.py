"""Image files to uint8 blocks with tf.data. TensorFlow is imported on use."""

import collections
import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import numpy as np

from blt_jax.data.crops import TRIES


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


def training_blocks(
  requests: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
  *,
  block_size: int,
  image_size: int,
  ratio: tuple[float, float],
  num_threads: int,
) -> Iterator[np.ndarray]:
  """Reads, crops and resizes images, a block for each request.

  Args:
    requests: gives an iterator of (paths [n], float64 [n, 22] of
      crops.crop_draws).
    block_size: n >= 1.
    image_size: s, side of the result in pixels.
    ratio: of the crops' fallback, see crops.crop_windows.
    num_threads: threads that decode.

  Returns:
    An iterator of uint8 [n, s, s, 3], in order.

  Raises:
    ValueError: while iterating: names the file that can't be decoded.
  """
  read = functools.partial(_read_crop, image_size=image_size, ratio=ratio)
  return _blocks(
    requests,
    read,
    block_size=block_size,
    image_size=image_size,
    num_threads=num_threads,
  )


def evaluation_blocks(
  requests: Callable[[], Iterable[np.ndarray]],
  *,
  block_size: int,
  image_size: int,
  resize_size: int,
  num_threads: int,
) -> Iterator[np.ndarray]:
  """Reads images, resizes the short side and crops the centre.

  Args:
    requests: gives an iterator of paths [n]; the last may be fewer.
    block_size: n >= 1.
    image_size: s, side of the result in pixels, <= resize_size.
    resize_size: length of the short side before the crop.
    num_threads: threads that decode.

  Returns:
    An iterator of uint8 [n, s, s, 3], in order.

  Raises:
    ValueError: while iterating: names the file that can't be decoded.
  """
  read = functools.partial(
    _read_centre, image_size=image_size, resize_size=resize_size
  )
  return _blocks(
    lambda: ((paths, np.empty((len(paths), 0))) for paths in requests()),
    read,
    block_size=block_size,
    image_size=image_size,
    num_threads=num_threads,
  )


def _blocks(requests, read, *, block_size, image_size, num_threads):
  tf = tensorflow()
  asked: collections.deque[np.ndarray] = collections.deque()

  def generate():
    for paths, draws in requests():
      asked.append(paths)
      yield paths.astype(object), draws

  dataset = tf.data.Dataset.from_generator(
    generate,
    output_signature=(
      tf.TensorSpec([None], tf.string),
      tf.TensorSpec([None, None], tf.float64),
    ),
  )
  # Requests are taken apart into images and batched again, so that the threads
  # share the images of one request.
  dataset = dataset.flat_map(
    lambda *request: tf.data.Dataset.from_tensor_slices(request)
  )
  shape = [image_size, image_size, 3]
  dataset = dataset.map(
    lambda path, draws: tf.ensure_shape(read(path, draws), shape),
    num_parallel_calls=num_threads,
  )
  dataset = dataset.batch(block_size).prefetch(1)
  blocks = iter(dataset.with_options(_options(num_threads)))
  while True:
    try:
      block = next(blocks)
    except StopIteration:
      return
    except tf.errors.OpError as error:
      _raise_with_path(asked[0] if asked else (), error)
    asked.popleft()
    yield block.numpy()


def _options(num_threads: int):
  options = tensorflow().data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  options.threading.private_threadpool_size = num_threads
  return options


def _raise_with_path(paths, error) -> NoReturn:
  """Finds the file of a block that can't be read and names it."""
  tf = tensorflow()
  for path in paths:
    try:
      _decode(tf.io.read_file(path))
    except tf.errors.OpError as cause:
      reason = str(cause.message).split("\n")[0]
      raise ValueError(
        f"{path}: can't be decoded ({reason});"
        " allowed: JPEG, PNG, GIF, BMP, WebP"
      ) from None
  raise error


def _decode(data):
  """Any image to uint8 [h, w, 3]: grey is repeated, alpha dropped."""
  tf = tensorflow()

  def other():
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])

  return tf.cond(
    tf.io.is_jpeg(data),
    lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
    other,
  )


def _read_crop(path, draws, *, image_size: int, ratio):
  tf = tensorflow()
  data = tf.io.read_file(path)

  def jpeg():
    shape = tf.image.extract_jpeg_shape(data)
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
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    window = _place_crop(tf.shape(image), draws, ratio)
    return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], 3])

  image = tf.cond(tf.io.is_jpeg(data), jpeg, other)
  return _resize(image, tf.constant([image_size, image_size]))


def _read_centre(path, draws, *, image_size: int, resize_size: int):
  del draws
  tf = tensorflow()
  image = _decode(tf.io.read_file(path))
  shape = tf.shape(image)[:2]
  shape = resize_size * shape // tf.reduce_min(shape)
  # tf.round, like torchvision, rounds halves to even.
  offset = tf.cast(
    tf.round(tf.cast(shape - image_size, tf.float64) / 2), tf.int32
  )
  image = _resize(image, shape)
  return tf.slice(image, [offset[0], offset[1], 0], [image_size, image_size, 3])


def _resize(image, shape):
  """tf.image.resize, bilinear and antialiased, without its overhead."""
  tf = tensorflow()
  source = tf.cast(tf.shape(image)[:2], tf.float32)
  resized = tf.raw_ops.ScaleAndTranslate(
    images=image[None],
    size=shape,
    scale=tf.cast(shape, tf.float32) / source,
    translation=tf.zeros([2]),
    kernel_type="triangle",
    antialias=True,
  )
  return tf.cast(tf.clip_by_value(tf.round(resized[0]), 0, 255), tf.uint8)


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
