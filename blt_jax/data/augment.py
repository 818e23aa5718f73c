"""Augmentation on the device: flip, rotation, colour jitter, normalisation.

Each operation does what torchvision does to Pillow images, the reference of
this field, but results are not rounded to 1/255 between operations. Everything
is pure and has static shapes, so it compiles into the train step. Each image
has a key of its own, so its augmentation does not depend on its batch or
device.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# ITU-R 601-2, the weights of Pillow's conversion to grey.
_LUMA = (0.299, 0.587, 0.114)


def augment(
  rngs: jax.Array,
  images: jax.Array,
  *,
  flip: float = 0.5,
  rotation: float = 10.0,
  brightness: float = 0.4,
  contrast: float = 0.4,
  saturation: float = 0.4,
) -> jax.Array:
  """Flips, rotates and jitters every image by random numbers of its own.

  This is the training augmentation after the crop (docs/method.md): horizontal
  flip, rotation by U(-rotation, rotation), then brightness, contrast and
  saturation in random order, each by a factor of
  U(max(0, 1 - strength), 1 + strength).
  An operation of strength 0 is left out of the program.

  Args:
    rngs: PRNG keys [n], one an image; the same key and image give the same
      result.
    images: uint8 [n, h, w, 3], 0..255.
    flip: probability of the horizontal flip, 0..1.
    rotation: largest angle in degrees, 0..180, to either side.
    brightness: strength, 0 or more.
    contrast: strength, 0 or more.
    saturation: strength, 0 or more.

  Returns:
    float32 [n, h, w, 3], 0..1.

  Raises:
    ValueError: if images are not uint8 [n, h, w, 3], or without a key each.
  """
  if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[3] != 3:
    raise ValueError(
      f"images is {images.dtype} {list(images.shape)}; expected uint8"
      " [n, h, w, 3]."
    )
  if rngs.shape[:1] != images.shape[:1]:
    raise ValueError(
      f"rngs is {list(rngs.shape)}; expected {len(images)} keys, one an image."
    )
  draws = jax.vmap(lambda rng: jax.random.uniform(rng, (8,)))(rngs)
  if flip:
    images = hflip(images, draws[:, 0] < flip)
  if rotation:
    # Flip and rotation work on bytes, a quarter of the memory of float32.
    images = rotate(images, (2.0 * draws[:, 1] - 1.0) * rotation)
  images = images.astype(jnp.float32) / 255.0
  strengths = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
  }
  return _random_jitter(draws[:, 2:], images, strengths=strengths)


def normalize(
  images: jax.Array,
  *,
  mean: Sequence[float] = IMAGENET_MEAN,
  std: Sequence[float] = IMAGENET_STD,
) -> jax.Array:
  """Normalises each channel: (images - mean) / std.

  Args:
    images: float32 [n, h, w, c], 0..1.
    mean: c values, in the images' unit.
    std: c values above 0, in the images' unit.

  Returns:
    float32 [n, h, w, c].
  """
  mean_row = jnp.asarray(mean, images.dtype).reshape(1, 1, 1, -1)
  std_row = jnp.asarray(std, images.dtype).reshape(1, 1, 1, -1)
  return (images - mean_row) / std_row


def hflip(images: jax.Array, flips: jax.Array) -> jax.Array:
  """Mirrors the images [n, h, w, c] whose flag in flips, bool [n], is True."""
  return jnp.where(_per_image(flips), images[:, :, ::-1], images)


def rotate(images: jax.Array, degrees: jax.Array) -> jax.Array:
  """Rotates each image around its centre, counter-clockwise.

  Like Pillow's `Image.rotate` with NEAREST and fill 0: the centre of each pixel
  is rotated back; the result is the pixel that it falls into, or 0 outside the
  image.

  Args:
    images: [n, h, w, c], of any dtype.
    degrees: float32 [n], angles in degrees.

  Returns:
    [n, h, w, c] of the images' dtype.
  """
  height, width = images.shape[1:3]
  angles = jnp.deg2rad(degrees)[:, None, None]
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  x = (jnp.arange(width) + 0.5 - width / 2)[None, None, :]
  y = (jnp.arange(height) + 0.5 - height / 2)[None, :, None]
  source_x = jnp.floor(cos * x - sin * y + width / 2).astype(jnp.int32)
  source_y = jnp.floor(sin * x + cos * y + height / 2).astype(jnp.int32)
  inside = (source_x >= 0) & (source_x < width)
  inside &= (source_y >= 0) & (source_y < height)
  # The gather fills places past the last pixel with 0.
  source = jnp.where(inside, source_y * width + source_x, height * width)
  pixels = images.reshape(len(images), height * width, -1)
  take = jax.vmap(lambda p, i: p.at[i].get(mode="fill", fill_value=0))
  return take(pixels, source.reshape(len(images), -1)).reshape(images.shape)


def color_jitter(
  images: jax.Array,
  operations: Sequence[str],
  *,
  factors: jax.Array,
  order: jax.Array,
) -> jax.Array:
  """Adjusts each image by every operation, in an order of its own.

      clip(factor * image + (1 - factor) * reference, 0, 1)

  The reference of brightness is black, that of contrast the mean of the grey
  image, that of saturation the grey image. So each round is one blend whose
  reference is selected image by image, whatever the order.

  Args:
    images: float32 [n, h, w, 3], 0..1.
    operations: k names out of "brightness", "contrast" and "saturation".
    factors: float32 [n, k], 0 or more, the factor of operations[j] in column
      j; 1 changes nothing.
    order: int [n, k], the index of the operation that each round applies.

  Returns:
    float32 [n, h, w, 3], 0..1.
  """

  def adjust(images: jax.Array, drawn: tuple[jax.Array, jax.Array]):
    chosen, factor = (_per_image(values) for values in drawn)
    reference = _black(images)
    for i, name in enumerate(operations):
      reference = jnp.where(chosen == i, _REFERENCES[name](images), reference)
    return _blend(images, reference, factor), None

  ordered_factors = jnp.take_along_axis(factors, order, axis=1)
  # A loop, because XLA would repeat an inlined round in each later one.
  return jax.lax.scan(adjust, images, (order.T, ordered_factors.T))[0]


def _random_jitter(
  draws: jax.Array, images: jax.Array, *, strengths: dict[str, float]
) -> jax.Array:
  """Turns draws [n, 6] of U(0, 1) into factors and orders, and applies them."""
  strengths = {name: s for name, s in strengths.items() if s}
  if not strengths:
    return images
  factor_draws, order_draws = draws[:, : len(strengths)], draws[:, 3:]
  high = 1.0 + jnp.asarray([list(strengths.values())], jnp.float32)
  low = jnp.maximum(0.0, 2.0 - high)
  return color_jitter(
    images,
    list(strengths),
    factors=low + (high - low) * factor_draws,
    order=jnp.argsort(order_draws[:, : len(strengths)], axis=1),
  )


def _per_image(values: jax.Array) -> jax.Array:
  """[n] -> [n, 1, 1, 1]."""
  return values[:, None, None, None]


def _blend(
  images: jax.Array, reference: jax.Array, factor: jax.Array
) -> jax.Array:
  """The images for factor 1, the reference for factor 0, clipped to 0..1."""
  return jnp.clip(factor * images + (1.0 - factor) * reference, 0.0, 1.0)


def _black(images: jax.Array) -> jax.Array:
  return jnp.zeros((len(images), 1, 1, 1), images.dtype)


def _grey(images: jax.Array) -> jax.Array:
  """[n, h, w, 3] -> [n, h, w, 1]."""
  red, green, blue = (images[..., i : i + 1] for i in range(3))
  return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _mean_grey(images: jax.Array) -> jax.Array:
  """[n, h, w, 3] -> [n, 1, 1, 1]."""
  return jnp.mean(_grey(images), axis=(1, 2, 3), keepdims=True)


_REFERENCES: dict[str, Callable[[jax.Array], jax.Array]] = {
  "brightness": _black,
  "contrast": _mean_grey,
  "saturation": _grey,
}
