"""Depthwise convolutions on CPUs, against lax and loops in NumPy."""

import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from blt_jax.models import depthwise
from blt_jax.models.convolution import conv_general_dilated

# Height of the images (their width is 2 more), kernel, strides and padding.
CASES = [
  (6, (3, 3), (1, 1), "SAME"),
  (5, (3, 3), (2, 2), ((1, 1), (1, 1))),
  (3, (5, 5), (1, 1), ((2, 2), (2, 2))),
  (6, (5, 5), (2, 2), "SAME"),
  (9, (7, 7), (1, 1), "SAME"),
  (8, (3, 2), (2, 3), ((0, 2), (4, -1))),
  (5, (1, 1), (2, 2), "VALID"),
  (37, (3, 3), (1, 1), "SAME"),
]


def _plain(images, kernel, strides, padding, **options):
  return lax.conv_general_dilated(
    images,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=images.shape[3],
    **options,
  )


def _ours(images, kernel, strides, padding, **options):
  return conv_general_dilated(
    images,
    kernel,
    strides,
    padding,
    feature_group_count=images.shape[3],
    **options,
  )


def _problem(height, size=(3, 3), count=2, channels=5):
  keys = jax.random.split(jax.random.key(height), 2)
  images = jax.random.normal(keys[0], (count, height, height + 2, channels))
  return images, jax.random.normal(keys[1], (*size, 1, channels))


def _with_gradients(conv, images, kernel, strides, padding):
  """(output, its gradient, gradients of images and kernel)."""

  @jax.jit
  def run(images, kernel):
    out, back = jax.vjp(lambda *a: conv(*a, strides, padding), images, kernel)
    gradient = jnp.sin(jnp.arange(out.size)).reshape(out.shape)
    gradient = gradient.astype(out.dtype)
    return out, gradient, *back(gradient)

  return [np.asarray(each, np.float64) for each in run(images, kernel)]


def _by_loops(images, kernel, strides, padding, gradient):
  """(output, gradients of images and kernel) pixel by pixel in float64."""
  images, kernel = np.float64(images), np.float64(kernel)[:, :, 0]
  (_, height, width, _), size = images.shape, kernel.shape[:2]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads((height, width), size, strides, padding)
  (top, _), (left, _) = padding
  out = np.zeros_like(gradient)
  of_images, of_kernel = np.zeros_like(images), np.zeros_like(kernel)
  for o, p in np.ndindex(*gradient.shape[1:3]):
    for i, j in np.ndindex(*size):
      y, x = o * strides[0] + i - top, p * strides[1] + j - left
      if 0 <= y < height and 0 <= x < width:
        out[:, o, p] += images[:, y, x] * kernel[i, j]
        of_images[:, y, x] += gradient[:, o, p] * kernel[i, j]
        of_kernel[i, j] += (gradient[:, o, p] * images[:, y, x]).sum(0)
  return out, of_images, of_kernel[:, :, None]


@pytest.mark.parametrize("height, size, strides, padding", CASES)
def test_value_and_gradients_equal_loops(height, size, strides, padding):
  problem = _problem(height, size)
  out, gradient, *gradients = _with_gradients(_ours, *problem, strides, padding)
  want = _by_loops(*problem, strides, padding, gradient)
  for ours, right in zip((out, *gradients), want, strict=True):
    np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-4)


def test_value_and_gradients_of_an_odd_number_equal_lax():
  problem = _problem(8, count=3)
  ours, plain = (
    _with_gradients(conv, *problem, (2, 2), "SAME") for conv in (_ours, _plain)
  )
  for a, b in zip(ours, plain, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_sums_of_bfloat16_are_taken_in_float32():
  images, kernel = (a.astype(jnp.bfloat16) for a in _problem(7, (5, 5)))
  run = jax.jit(lambda *a: _ours(*a, (1, 1), "SAME"))
  assert run(images, kernel).dtype == jnp.bfloat16
  out, gradient, *gradients = _with_gradients(
    _ours, images, kernel, (1, 1), "SAME"
  )
  want = _by_loops(images, kernel, (1, 1), "SAME", gradient)
  for ours, right in zip((out, *gradients), want, strict=True):
    # Only the result is rounded, to 8 bits.
    np.testing.assert_allclose(ours, right, rtol=2**-8, atol=1e-5)


def test_large_images_equal_lax_in_blocks_of_rows(monkeypatch):
  monkeypatch.setattr(depthwise, "_MOST_ROWS", 3)
  monkeypatch.setattr(depthwise, "_SMALL_IMAGE", 0)
  problem = _problem(15, (5, 5))
  _, gradient, *_, of_kernel = _with_gradients(_ours, *problem, (2, 2), "SAME")
  *_, want = _by_loops(*problem, (2, 2), "SAME", gradient)
  np.testing.assert_allclose(of_kernel, want, rtol=1e-4, atol=1e-4)


def _gradients(conv):
  def loss(images, kernel):
    return jnp.sin(conv(images, kernel, (2, 2), "SAME")).sum()

  return jax.grad(loss, argnums=(0, 1))


def test_every_member_of_a_map_has_its_gradients():
  images, kernel = _problem(6)
  stacks = jnp.stack([images, 2 * images]), jnp.stack([kernel, -kernel])
  one_by_one = jax.jit(_gradients(_ours))
  want = [one_by_one(x, k) for x, k in zip(*stacks, strict=True)]
  for map_ in (lambda f: jax.jit(jax.vmap(f)), jax.pmap):
    mapped = map_(_gradients(_ours))(*stacks)
    for i, j in itertools.product(range(2), range(2)):
      np.testing.assert_allclose(mapped[i][j], want[j][i], rtol=1e-4, atol=1e-5)


def test_gradient_of_a_gradient_equals_lax():
  images, kernel = _problem(6)

  def penalty(conv):
    def size(kernel):
      of_images, of_kernel = _gradients(conv)(images, kernel)
      return jnp.square(of_images).mean() + jnp.square(of_kernel).mean()

    return jax.jit(jax.grad(size))(kernel)

  np.testing.assert_allclose(penalty(_ours), penalty(_plain), rtol=1e-3)


def _exported(function, platforms, images, kernel):
  (n,) = jax.export.symbolic_shape("n")
  return jax.export.export(jax.jit(function), platforms=platforms)(
    jax.ShapeDtypeStruct((n, *images.shape[1:]), images.dtype), kernel
  )


def test_program_has_the_convolution_of_its_platform():
  problem = _problem(6)

  def conv(images, kernel):
    return _ours(images, kernel, (1, 1), "SAME")

  def convolutions(*platforms):
    text = _exported(conv, platforms, *problem).mlir_module()
    return text.count("stablehlo.convolution")

  assert convolutions("cpu") == 0
  assert convolutions("cuda") == 1
  assert convolutions("cpu", "cuda") > 0
  exported = _exported(conv, ("cpu", "cuda"), *problem)
  again = jax.export.deserialize(exported.serialize())
  np.testing.assert_allclose(
    again.call(*problem), jax.jit(conv)(*problem), rtol=1e-5, atol=1e-5
  )


def _jaxpr(conv, images, kernel, padding="SAME", **options):
  padding = lax.padtype_to_pads(
    images.shape[1:3], kernel.shape[:2], (1, 1), padding
  )
  return str(
    jax.make_jaxpr(lambda *a: conv(*a, (1, 1), padding, **options))(
      images, kernel
    )
  )


def test_other_backends_take_the_convolution_of_lax(monkeypatch):
  problem = _problem(6)
  assert _jaxpr(_ours, *problem) != _jaxpr(_plain, *problem)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert _jaxpr(_ours, *problem) == _jaxpr(_plain, *problem)


@pytest.mark.parametrize(
  "size, multiplier, options",
  [
    ((3, 3), 1, {"rhs_dilation": (2, 2)}),
    ((3, 3), 2, {}),
    ((9, 9), 1, {}),
  ],
  ids=["dilated", "several filters a channel", "large"],
)
def test_other_convolutions_by_channel_are_those_of_lax(
  size, multiplier, options
):
  images, kernel = _problem(12, size)
  kernel = jnp.tile(kernel, (1, 1, 1, multiplier))
  ours, plain = (
    _jaxpr(conv, images, kernel, **options) for conv in (_ours, _plain)
  )
  assert ours == plain
