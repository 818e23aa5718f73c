import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from blt_jax.models.convolution import conv_general_dilated

# Size of the images, kernel, stride and padding of every convolution that the
# backbones have, and some that they don't.
CASES = [
  (8, 3, 1, 1),
  (8, 3, 2, 1),
  (7, 3, 2, 1),
  (8, 1, 1, 0),
  (8, 1, 2, 0),
  (7, 1, 2, 0),
  (9, 7, 2, 3),
  (6, 3, 1, 0),
]


def _problem(size, kernel):
  keys = jax.random.split(jax.random.key(size + kernel), 2)
  images = jax.random.normal(keys[0], (2, size, size + 1, 3))
  return images, jax.random.normal(keys[1], (kernel, kernel, 3, 4))


def _loss(conv, stride, padding, **options):
  def loss(images, kernel):
    out = conv(
      images, kernel, (stride, stride), [(padding, padding)] * 2, **options
    )
    return (jnp.sin(out) * jnp.arange(out.size).reshape(out.shape)).sum()

  return loss


def _plain(*arguments, **options):
  return lax.conv_general_dilated(
    *arguments, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
  )


@pytest.mark.parametrize("size, kernel, stride, padding", CASES)
def test_value_and_gradients_equal_lax(size, kernel, stride, padding):
  problem = _problem(size, kernel)
  ours, plain = (
    jax.jit(jax.value_and_grad(_loss(conv, stride, padding), argnums=(0, 1)))(
      *problem
    )
    for conv in (conv_general_dilated, _plain)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
    ours,
    plain,
  )


def test_groups_equal_lax():
  images, kernel = _problem(8, 3)
  images = jnp.concatenate([images, images], axis=3)
  ours, plain = (
    jax.grad(_loss(conv, 2, 1, feature_group_count=2))(images, kernel)
    for conv in (conv_general_dilated, _plain)
  )
  np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


def test_gradient_of_a_gradient_equals_lax():
  images, kernel = _problem(6, 3)

  def penalty(conv):
    gradient = jax.grad(_loss(conv, 2, 1))
    return jax.grad(lambda k: jnp.square(gradient(images, k)).mean())(kernel)

  ours, plain = penalty(conv_general_dilated), penalty(_plain)
  np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-3)


def test_vmap_of_the_gradient_equals_one_after_the_other():
  images, kernel = _problem(6, 3)
  gradient = jax.grad(_loss(conv_general_dilated, 1, 1))
  stack = jnp.stack([images, 2 * images])
  mapped = jax.vmap(gradient, in_axes=(0, None))(stack, kernel)
  for one, x in zip(mapped, stack, strict=True):
    np.testing.assert_allclose(one, gradient(x, kernel), rtol=1e-4, atol=1e-4)


def _convolutions(text):
  """The convolutions of a StableHLO text without the names of values."""
  return [
    re.sub(r"%\w+(:\d+)?(#\d+)?", "%", line.partition("=")[2])
    for line in text.splitlines()
    if "stablehlo.convolution" in line
  ]


def test_gradient_of_images_alone_needs_two_convolutions():
  images, kernel = _problem(8, 3)
  gradient = jax.grad(_loss(conv_general_dilated, 2, 1))
  text = jax.jit(gradient).lower(images, kernel).as_text()
  assert len(_convolutions(text)) == 2


def test_kernel_of_the_gradient_lies_as_the_forward_one_inside_a_loop():
  images, kernel = _problem(8, 3)
  gradient = jax.grad(_loss(conv_general_dilated, 2, 1))
  program = jax.jit(
    lambda x, k: lax.fori_loop(0, 3, lambda _, x: gradient(x, k), x)
  )
  text = program.lower(images, kernel).compile().as_text()
  labels = [
    line.split("dim_labels=")[1].split(",")[0]
    for line in text.splitlines()
    if " convolution(" in line
  ]
  assert labels == ["b01f_01io->b01f"] * 2


def test_other_backends_take_the_convolution_of_lax(monkeypatch):
  images, kernel = _problem(8, 3)

  def program(conv):
    return str(jax.make_jaxpr(jax.grad(_loss(conv, 2, 1)))(images, kernel))

  assert program(conv_general_dilated) != program(_plain)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert program(conv_general_dilated) == program(_plain)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_program_for_a_gpu_has_the_gradients_of_lax(groups):
  images, kernel = _problem(8, 3)
  kernel = kernel[:, :, :1, :3] if groups == 3 else kernel

  def convolutions(conv, platform):
    loss = _loss(conv, 2, 1, feature_group_count=groups)
    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(images, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    return sorted(_convolutions(text))

  plain = convolutions(_plain, "cuda")
  assert len(plain) == 3
  assert convolutions(conv_general_dilated, "cuda") == plain
  assert convolutions(conv_general_dilated, "cpu") != plain


@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_have_the_precision_of_the_output(groups):
  images, kernel = _problem(8, 3)
  kernel = kernel[:, :, :1, :3] if groups == 3 else kernel

  def precise(*arguments, **options):
    with jax.default_matmul_precision("highest"):
      return conv_general_dilated(*arguments, **options)

  # Gradients are traced after the precision was left.
  loss = _loss(precise, 2, 1, feature_group_count=groups)
  gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))
  for platform in ("cuda", "cpu"):
    traced = gradients.trace(images, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = _convolutions(text)
    # Depthwise ones are sums of products on a CPU, in float32.
    assert len(found) == (0 if (groups, platform) == (3, "cpu") else 3)
    assert all(line.count("precision HIGHEST") == 2 for line in found)
