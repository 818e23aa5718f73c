"""Reads images with tf.data, which decodes only a crop's part of a JPEG.

Pillow decodes the other formats and resizes (or the device does, with the same
result), so every pixel is the one that Pillow alone would give.
"""

import collections
import ctypes
import functools
import itertools
import struct
import sys
from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np

from blt_jax.data.lazy_tensorflow import tensorflow
from blt_jax.data.reading import decode
from blt_jax.data.reading.decode import Decoding
from blt_jax.data.reading.reader import (
  Image,
  Request,
  Rule,
  Unreadable,
  crop,
  decode_source,
)

# Requests that go to TensorFlow together, and images that come back together.
_CHUNK = 16
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_NO_SHAPE = 0, 0, 0
# Of a JPEG's header: marker and length of a segment; bits of a colour, height,
# width and number of colours; markers of that segment, for pixels coded in the
# ways that all decoders know; markers of tables, remarks and EXIF data.
_SEGMENT, _SIZE = struct.Struct(">BH"), struct.Struct(">BHHB")
_SIZES = frozenset((0xC0, 0xC1, 0xC2))
_SKIPPED = frozenset((0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))


class TfReader:
  """Implements `reader.Reader`."""

  def __init__(
    self, rule: Rule, decoding: Decoding, *, encoded: bool, num_threads: int
  ):
    """See PillowReader."""
    self._rule, self._decoding = rule, decoding
    self._encoded, self._num_threads = encoded, num_threads

  def read(self, requests: Iterable[Request]) -> Generator[Image]:
    """See Reader."""
    keep_freed_memory()
    # The data set leaves out images that can't be read. So the requests wait
    # here until the number of the next image tells which ones are missing.
    waiting: collections.deque[Request] = collections.deque()
    failure: list[Exception] = []

    def chunks():
      remaining = iter(requests)
      try:
        while chunk := list(itertools.islice(remaining, _CHUNK)):
          waiting.extend(chunk)
          sources, draws = zip(*chunk, strict=True)
          yield np.array(sources, object), np.stack(draws)
      except Exception as error:  # TensorFlow would only print it.
        failure.append(error)

    done = 0
    for places, images in self._dataset(chunks).as_numpy_iterator():
      for (number, h, w), image in zip(places.tolist(), images, strict=True):
        for _ in range(done, number):
          yield self.read_one(waiting.popleft())
        waiting.popleft()
        yield image[:h, :w]
        done = number + 1
    while waiting:
      yield self.read_one(waiting.popleft())
    if failure:
      raise failure[0]

  def read_one(self, request: Request) -> Image:
    """See Reader."""
    tf = tensorflow()
    try:
      return self._compiled_image(request.source, request.draws).numpy()
    except tf.errors.OpError:
      return self._reason(request.source)

  def _dataset(self, chunks: Callable[[], Iterator]):
    """Chunks of requests -> batches of `_placed_image`, errors left out."""
    tf = tensorflow()
    dataset = tf.data.Dataset.from_generator(
      chunks,
      output_signature=(
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([None, None], tf.float64),
      ),
    )
    # `unbatch` crashes where there are no draws (TensorFlow 2.21).
    dataset = dataset.flat_map(
      _as_it_is(lambda *chunk: tf.data.Dataset.from_tensor_slices(chunk))
    )
    dataset = dataset.enumerate().map(
      _as_it_is(self._placed_image),
      # More than there are threads: one image that takes long does not stop
      # the threads, although the images keep their order.
      num_parallel_calls=4 * self._num_threads,
      deterministic=True,
    )
    side = self._rule.side
    dataset = dataset.ignore_errors()
    # Images that are handed over one by one take longer than their resizing.
    dataset = dataset.padded_batch(_CHUNK, ([3], [side, side, 3])).prefetch(1)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = self._num_threads
    return dataset.with_options(options)

  def _reason(self, source: bytes) -> Unreadable:
    """Pillow's reason why an image that TensorFlow refused can't be read."""
    image = decode_source(source, self._decoding, encoded=self._encoded)
    if isinstance(image, Unreadable):
      return image
    return Unreadable("damaged JPEG")

  def _placed_image(self, number, request):
    """(int64 [3]: number, height, width; the image)."""
    tf = tensorflow()
    image = self._image(*request)
    size = tf.shape(image, tf.int64)
    return tf.stack([number, size[0], size[1]]), image

  @functools.cached_property
  def _compiled_image(self):
    tf = tensorflow()
    return tf.function(
      self._image,
      input_signature=(
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([None], tf.float64),
      ),
      autograph=False,
    )

  def _image(self, source, draws):
    """A path or the content of a file, draws [d] -> uint8 [h, w, 3]."""
    tf = tensorflow()
    data = source if self._encoded else tf.io.read_file(source)
    area = tf.numpy_function(self._area, [data, draws], tf.int32)
    area = tf.ensure_shape(area, [6])
    image = tf.cond(
      area[2] > 0,
      lambda: self._jpeg(data, area),
      lambda: self._other(data, draws),
    )
    return tf.ensure_shape(image, [None, None, 3])

  def _jpeg(self, data, area):
    tf = tensorflow()
    decoded = tf.image.decode_and_crop_jpeg(
      data, area[:4], channels=3, dct_method="INTEGER_ACCURATE"
    )
    cut = decoded[:, area[4] : area[5]]
    finished = functools.partial(
      tf.numpy_function, self._rule.finish, [cut], tf.uint8
    )
    if self._rule.canvas is None:
      return finished()
    # `finish` does not change such a crop, so the call into Python is spared.
    fits = tf.reduce_max(tf.shape(cut)) <= self._rule.canvas
    return tf.cond(fits, lambda: cut, finished)

  def _area(self, data: bytes, draws: np.ndarray) -> np.ndarray:
    """The part of a JPEG to decode.

    Returns:
      int32 [6]: top, left, height and width to decode; of that part, the first
      column to use and the one after the last. All are 0 if Pillow is to decode
      the image: it is no JPEG, too large, to be turned, or of four components,
      which Pillow decodes as is usual in this field.
    """
    height, full_width, components = jpeg_shape(data)
    if components not in (1, 3) or (
      height * full_width > self._decoding.max_pixels
      or (self._decoding.exif_orientation and decode.is_turned(data))
    ):
      return np.zeros(6, np.int32)
    y, x, h, w = self._rule.window(height, full_width, draws)
    # Two columns more on both sides: JPEG stores colour at half the width and
    # the outermost columns are smoothed with their neighbours.
    left, right = max(x - 2, 0), min(x + w + 2, full_width)
    area = y, left, h, right - left, x - left, x - left + w
    return np.array(area, np.int32)

  def _other(self, data, draws):
    tf = tensorflow()
    image = tf.numpy_function(self._decode_other, [data, draws], tf.uint8)
    tf.debugging.Assert(tf.size(image) > 0, ["unreadable"])
    return image

  def _decode_other(self, data: bytes, draws: np.ndarray) -> np.ndarray:
    """Pillow's decoding; no pixels if the image is unreadable."""
    image = decode_source(data, self._decoding, encoded=True)
    if isinstance(image, Unreadable):
      return _NO_PIXELS  # TensorFlow would print the traceback of an exception.
    return crop(image, draws, rule=self._rule)


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
  """Height, width and components of a JPEG that has the usual header.

  TensorFlow finds them, too, but of a damaged header it prints what libjpeg
  says, without the name of the file.

  Args:
    data: content of a file of any kind.

  Returns:
    Zeros for anything else, which Pillow may be able to read.
  """
  shape, place = _NO_SHAPE, 2
  if data[:2] != b"\xff\xd8":
    return _NO_SHAPE
  while place + 10 <= len(data) and data[place] == 0xFF:
    marker, length = _SEGMENT.unpack_from(data, place + 1)
    if marker == 0xDA:  # The pixels begin.
      return shape
    if marker in _SIZES and shape is _NO_SHAPE:
      bits, *found = _SIZE.unpack_from(data, place + 4)
      if bits != 8 or not all(found):
        break
      shape = tuple(found)
    elif marker not in _SKIPPED:
      break
    place += 2 + length
  return _NO_SHAPE


def keep_freed_memory() -> None:
  """Makes glibc keep freed memory for the next image.

  By default glibc returns memory to the system after every image and gets it
  back, zeroed, for the next one. That takes a fifth of the time if the host
  resizes. Other C libraries are left as they are.
  """
  if sys.platform != "linux":
    return
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    for option, size in ((-3, 32 << 20), (-1, 1 << 30), (-2, 1 << 24)):
      mallopt(option, size)  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD.


def _as_it_is(function):
  """Keeps AutoGraph away from a function that it need not convert."""
  return tensorflow().autograph.experimental.do_not_convert(function)
