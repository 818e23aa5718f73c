"""Finds JPEG images whose pixels are damaged, by what libjpeg says of them.

Pillow decodes such an image as far as it goes and says nothing, and so does
TensorFlow, but its libjpeg prints a line without the file's name. So TensorFlow
decodes the images of a check, to the same bits as Pillow, while something
listens to what is printed.
"""

import threading
from typing import Protocol

import numpy as np

from blt_jax.data.lazy_tensorflow import tensorflow
from blt_jax.data.reading import decode
from blt_jax.data.reading.tf_reader import jpeg_shape


class Listener(Protocol):
  """Hears what libjpeg prints; system/nameless_lines.py has one."""

  def listen(self) -> bool:
    """Begins to listen; returns False where that is not possible."""

  def position(self) -> int:
    """How many bytes were printed so far, by any thread."""

  def damage(self, position: int) -> str:
    """The first line about damage that was printed after a position, or ""."""


class JpegDecoder:
  """Decodes JPEG images with TensorFlow, and tells which are damaged.

  Attributes:
    missing: why nothing can be told, or "".
  """

  def __init__(self, listener: Listener | None):
    """Imports nothing yet; without a listener nothing can be told."""
    self.missing = ""
    self._listener = listener
    self._begun = False
    self._lock = threading.Lock()

  def begin(self) -> bool:
    """Imports TensorFlow, once; returns whether it can be told of damage."""
    if self._listener is None:
      return False
    with self._lock:
      if not self._begun:
        self._begun = True
        try:
          tensorflow()
          if not self._listener.listen():
            self.missing = "what libjpeg prints can't be heard here"
        except ImportError as error:
          self.missing = str(error)
    return not self.missing

  def decode(
    self, data: bytes, decoding: decode.Decoding, *, turned: bool
  ) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG file as the readers do.

    Args:
      data: content of the file.
      decoding: how it becomes RGB.
      turned: whether EXIF data ask for another orientation.

    Returns:
      uint8 [h, w, 3], and whether something was printed meanwhile: about this
      image, or about one of another thread.

    Raises:
      ImageError: it can't be read.
    """
    position = self._position()
    pixels = self._pixels(data)
    printed = self._position() > position
    # Of four components, or with an odd header: as in the readers.
    if pixels is None or jpeg_shape(data)[2] not in (1, 3):
      pixels = decode.decode_rgb(data, decoding)
    elif turned and decoding.exif_orientation:
      pixels = decode.upright(pixels, data)
    return pixels, printed

  def damage(self, data: bytes) -> str:
    """What libjpeg says of an image, or "" if nothing is damaged.

    No other thread may decode meanwhile.
    """
    position = self._position()
    self._pixels(data)
    return "" if self._listener is None else self._listener.damage(position)

  def _position(self) -> int:
    return 0 if self._listener is None else self._listener.position()

  def _pixels(self, data: bytes) -> np.ndarray | None:
    tf = tensorflow()
    try:
      return tf.io.decode_jpeg(
        data, channels=3, dct_method="INTEGER_ACCURATE"
      ).numpy()
    except tf.errors.OpError:
      return None
