"""Convolutions that are fast on a CPU: depthwise ones, gradients in loops."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

Strides = tuple[int, int]
Padding = tuple[tuple[int, int], tuple[int, int]]


def conv_general_dilated(
  images: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  *,
  feature_group_count: int = 1,
  **options: Any,
) -> jax.Array:
  """`lax.conv_general_dilated` for NHWC images; pass it to `nn.Conv`.

  XLA on CPU hands a convolution to Eigen only if its kernel lies as HWIO. It
  brings kernels into that order in a program's outermost computation, but not
  in the body of a loop: there the gradient with respect to the images ran
  through naive loops, more than six times slower (small_resnet10, jax 0.10.2).
  So on CPU the gradient's convolution is given its transposed kernel here.

  Depthwise convolutions, with one filter a channel, are always naive loops in
  XLA on CPU. depthwise.py has faster forms of them and of both gradients; a
  program that is compiled for several platforms has lax's for the others.

  Values, gradients and their gradients are those of `lax.conv_general_dilated`;
  on CPU, forward-mode derivatives (jvp) of one group, and of depthwise
  convolutions, do not exist. On any other default backend of JAX this is
  `lax.conv_general_dilated`.

  Args:
    images: [n, h, w, c].
    kernel: [kh, kw, c / feature_group_count, filters].
    strides: of height and width.
    padding: ((low, high), (low, high)) in pixels, or "SAME" or "VALID".
    feature_group_count: groups; if neither 1 nor c, left to lax.
    **options: further arguments of `lax.conv_general_dilated`; a convolution
      with any that is not the default is left to lax, too.

  Returns:
    [n, h', w', filters].
  """
  options.pop("dimension_numbers", None)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      images.shape[1:3], kernel.shape[:2], strides, padding
    )
  given = {k: v for k, v in options.items() if not _is_default(k, v)}
  groups = feature_group_count
  (top, bottom), (left, right) = padding
  pads = ((top, bottom), (left, right))
  ours = jax.default_backend() == "cpu" and not given
  if ours and groups > 1:
    ours = _depthwise().applies(images, kernel, strides, pads, groups)
  if not ours:
    return _of_lax(images, kernel, strides, pads, groups, **given)
  return _conv(images, kernel, (strides[0], strides[1]), pads, groups)


def _depthwise() -> Any:
  """The module; few networks need it."""
  from blt_jax.models import depthwise

  return depthwise


def _of_lax(images, kernel, strides, padding, groups: int, **options):
  return lax.conv_general_dilated(
    images,
    kernel,
    strides,
    padding,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
    **options,
  )


def _is_default(name: str, value: Any) -> bool:
  """Whether an option of lax.conv_general_dilated changes nothing."""
  if name.endswith("_dilation"):
    return value is None or set(value) == {1}
  return value is None


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(
  images, kernel, strides: Strides, padding: Padding, groups: int
) -> jax.Array:
  """One group, or as many as there are channels."""

  def of_lax(images, kernel) -> jax.Array:
    return _of_lax(images, kernel, strides, padding, groups)

  if groups == 1:
    return of_lax(images, kernel)

  def of_cpu(images, kernel) -> jax.Array:
    return _depthwise().convolve(images, kernel, strides, padding)

  return lax.platform_dependent(images, kernel, cpu=of_cpu, default=of_lax)


def _conv_forward(
  images, kernel, strides: Strides, padding: Padding, groups: int
):
  """The output, and what `_conv_backward` needs."""
  output = _conv(images.value, kernel.value, strides, padding, groups)
  wanted = (images.perturbed, kernel.perturbed)
  return output, _Residuals(wanted, images.value, kernel.value)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["images", "kernel"],
  meta_fields=["wanted"],
)
@dataclasses.dataclass
class _Residuals:
  """Inputs of a convolution, and which of them (images, kernel) vary."""

  wanted: tuple[bool, bool]
  images: jax.Array
  kernel: jax.Array


def _conv_backward(
  strides: Strides,
  padding: Padding,
  groups: int,
  residuals: _Residuals,
  gradient,
):
  """Gradients of images and kernel, None for what does not vary."""
  images, kernel = residuals.images, residuals.kernel
  of_images, of_kernel = None, None
  if isinstance(gradient, SymbolicZero):
    return of_images, of_kernel
  size = (images.shape[1], images.shape[2])
  if residuals.wanted[0]:
    take = _image_gradient if groups == 1 else _depthwise().image_gradient
    of_images = take(gradient, kernel, size, strides, padding)
  if residuals.wanted[1] and groups > 1:
    of_kernel = _depthwise().kernel_gradient(
      images, gradient, kernel.shape[:2], strides, padding
    )
  elif residuals.wanted[1]:
    transposed = jax.linear_transpose(
      lambda kernel: _of_lax(images, kernel, strides, padding, groups), kernel
    )
    (of_kernel,) = transposed(gradient)
  return of_images, of_kernel


_conv.defvjp(_conv_forward, _conv_backward, symbolic_zeros=True)


def _image_gradient(
  gradient: jax.Array,
  kernel: jax.Array,
  size: tuple[int, int],
  strides: Strides,
  padding: Padding,
) -> jax.Array:
  """The gradient [n, *size, c] of the images from that of the output.

  The transposed convolution: the output's gradient, spread by the strides, with
  the kernel turned by 180 degrees and its channels swapped.
  """
  turned = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
  pads = []
  for axis in range(2):
    low = kernel.shape[axis] - 1 - padding[axis][0]
    spread = (gradient.shape[1 + axis] - 1) * strides[axis] + 1
    high = size[axis] + kernel.shape[axis] - 1 - spread - low
    pads.append((low, high))
  return lax.conv_general_dilated(
    gradient,
    turned,
    (1, 1),
    pads,
    lhs_dilation=strides,
    dimension_numbers=_DIMENSIONS,
  )
