"""A trained network with everything that is needed to use it elsewhere."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.data import augment, five_crop
from blt_jax.data.reading import crops, decode
from blt_jax.deploy.description import Description
from blt_jax.models import create_model

# Images, or crops of them, that `logits` and `predict` compute at a time.
_BATCH_SIZE = 64


class Preprocessing(NamedTuple):
  """What is done to an image before the network sees it.

  Attributes:
    resize_size: length of the short side that it is resized to, pixels.
    image_size: side of the square that is cut out of its centre, pixels.
    mean: of the three channels, subtracted from values of 0..1.
    std: of the three channels, what the difference is divided by.
    interpolation: of the resizing, bilinear or bicubic, antialiased.
    five_crop: whether five such squares are cut out, the corners and the centre
      of the centred square of resize_size, and their logits averaged.
  """

  resize_size: int
  image_size: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  interpolation: str
  five_crop: bool


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
  """A network, its variables, and what it was trained for.

  `predict` and `logits` take images as they are. `logits_fn` is for programs
  that prepare images themselves, for `perturb_images` for example. Logits are
  calibrated by the description's temperature, but for those of `logits_fn`.

  Attributes:
    description: what the network is and was trained for.
    variables: {"params", "batch_stats"} of `module`; the latter is empty for a
      network without batch normalisation.
    own: the network where it is none of blt_jax's, but one that a program
      handed to the run.
  """

  description: Description
  # Printing a network would otherwise print all of its weights.
  variables: Mapping[str, Any] = dataclasses.field(repr=False)
  own: nn.Module | None = dataclasses.field(default=None, repr=False)

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the C classes, in the order of the logits."""
    return self.description.class_names

  @property
  def preprocessing(self) -> Preprocessing:
    """What `prepare` and `normalize` do."""
    about = self.description
    return Preprocessing(
      about.resize_size,
      about.image_size,
      about.mean,
      about.std,
      about.interpolation,
      about.five_crop,
    )

  @property
  def image_size(self) -> int:
    """Side of the square that the network sees, pixels."""
    return self.description.image_size

  @property
  def input_size(self) -> int:
    """Side of a prepared image: image_size, or resize_size for five crops."""
    return self.description.input_size

  def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The likeliest class of each image.

    Args:
      images: as for `logits`.

    Returns:
      int [n], places in `class_names`.
    """
    return self.logits(images).argmax(axis=1)

  def logits(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The calibrated logits of images, prepared as in an evaluation.

    Their softmax says how often the network is right: see `calibrated_fn`.

    Args:
      images: uint8 [n, h, w, 3], or n arrays uint8 [h, w, 3] of any sizes.

    Returns:
      float32 [n, C].

    Raises:
      ValueError: for images of another type or shape.
    """
    pixels = self.prepare(images)
    most = _BATCH_SIZE // self.description.views
    size = min(most, max(len(pixels), 1))
    parts = []
    for start in range(0, len(pixels), size):
      part = pixels[start : start + size]
      # One shape, so that the network is compiled once.
      padding = [(0, size - len(part)), (0, 0), (0, 0), (0, 0)]
      parts.append(
        np.asarray(self._compiled(np.pad(part, padding)))[: len(part)]
      )
    empty = np.zeros((0, len(self.class_names)), np.float32)
    return np.concatenate([empty, *parts])

  def prepare(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Resizes the short side of images and cuts the centre out.

    Args:
      images: as for `logits`.

    Returns:
      uint8 [n, m, m, 3], m = input_size.

    Raises:
      ValueError: for images of another type or shape.
    """
    size, short = self.input_size, self.description.resize_size
    prepared = np.zeros((len(images), size, size, 3), np.uint8)
    for number, given in enumerate(images):
      image = np.asarray(given)
      if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
          f"image {number} is {image.dtype} of shape {image.shape}; expected "
          "uint8 [height, width, 3]."
        )
      if image.shape[:2] != (size, size) or size != short:
        image = crops.resize_and_crop(
          image,
          image_size=size,
          resize_size=short,
          interpolation=self.description.interpolation,
        )
      prepared[number] = image
    return prepared

  def read(self, path: str | os.PathLike) -> np.ndarray:
    """An image file as the network was trained to see it, prepared.

    Returns:
      uint8 [m, m, 3], m = input_size.

    Raises:
      decode.ImageError: it can't be decoded; says why, without the path.
      OSError: it can't be opened.
    """
    data = pathlib.Path(path).read_bytes()
    image = decode.decode_rgb(data, self.description.decoding)
    return self.prepare([image])[0]

  def normalize(self, pixels: jax.Array | np.ndarray) -> jax.Array:
    """What the functions of logits take, float32, of uint8 [n, m, m, 3]."""
    return augment.normalize(
      jnp.asarray(pixels).astype(jnp.float32) / 255.0,
      mean=self.description.mean,
      std=self.description.std,
    )

  def logits_fn(self, images: jax.Array) -> jax.Array:
    """The network in inference mode, adjusted as the run's evaluations are.

    The temperature is no part of it: `perturb_images` wants the confidences
    that the training saw.

    Args:
      images: float32 [n, s, s, 3], normalised, s = image_size.

    Returns:
      float32 [n, C].
    """
    with jax.default_matmul_precision(self.description.precision):
      found: Any = self.module().apply(self.variables, images, train=False)
    logits = found.astype(jnp.float32)
    offset = self.description.logit_offset
    return logits if offset is None else logits + jnp.array([offset])

  def mean_logits_fn(self, images: jax.Array) -> jax.Array:
    """`logits_fn`, or its mean over five crops where the description says so.

    Args:
      images: float32 [n, m, m, 3], normalised, m = input_size.

    Returns:
      float32 [n, C].
    """
    if not self.description.five_crop:
      return self.logits_fn(images)
    return five_crop.mean_logits(self.logits_fn, images, self.image_size)

  def calibrated_fn(self, images: jax.Array) -> jax.Array:
    """`mean_logits_fn` / temperature: what predictions and exports use.

    With z the network's logits, (z + logit_offset) / temperature.
    """
    return self.calibrate(self.mean_logits_fn(images))

  def calibrate(self, logits: jax.Array) -> jax.Array:
    """Logits [n, C] of `mean_logits_fn` divided by the temperature."""
    return logits / self.description.temperature

  def logits_of_pixels(self, pixels: jax.Array) -> jax.Array:
    """`calibrated_fn` of images that are not normalised: uint8 [n, m, m, 3]."""
    return self.calibrated_fn(self.normalize(pixels))

  def uncalibrated(self) -> "TrainedModel":
    """The same network without its temperature."""
    about = dataclasses.replace(self.description, temperature=1.0)
    return dataclasses.replace(self, description=about)

  def module(self) -> nn.Module:
    """The network, for one device."""
    if self.own is not None:
      return self.own
    about = self.description
    return create_model(
      about.backbone,
      len(self.class_names),
      classifier=about.classifier,
      alpha=about.alpha,
      beta=about.beta,
      hidden=about.hidden,
      adapter_width=about.adapter_width,
      dtype=jnp.dtype(about.dtype),
      image_size=about.image_size,
    )

  @functools.cached_property
  def _compiled(self) -> Any:
    return jax.jit(self.logits_of_pixels)
