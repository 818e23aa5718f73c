"""Convolutions that are fast on a CPU: depthwise ones, gradients in loops."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

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
  XLA on CPU. depthwise.py has faster forms of them and of both gradients. What
  is compiled for another platform, even on a machine without it, has lax's own
  convolutions and gradients there.

  Output and gradients have the precision of `jax.default_matmul_precision`
  where this is called, as those of lax have.

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
  # The gradient may be traced where another precision is the default.
  name = "jax_default_matmul_precision"
  precision = getattr(jax.config, name)
  strides = (strides[0], strides[1])
  return _conv(images, kernel, _Form(strides, pads, groups, precision))


class _Form(NamedTuple):
  """What a convolution is beside its images and kernel.

  Attributes:
    strides: of height and width.
    padding: ((low, high), (low, high)).
    groups: 1, or as many as there are channels.
    precision: as `lax.conv_general_dilated` takes it.
  """

  strides: Strides
  padding: Padding
  groups: int
  precision: str | None


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(images, kernel, form: _Form) -> jax.Array:
  """The output."""
  if form.groups == 1:
    return _of_form(images, kernel, form)

  def of_cpu(images, kernel) -> jax.Array:
    return _depthwise().convolve(images, kernel, form.strides, form.padding)

  of_lax = functools.partial(_of_form, form=form)
  return lax.platform_dependent(images, kernel, cpu=of_cpu, default=of_lax)


def _of_form(images, kernel, form: _Form) -> jax.Array:
  return _of_lax(
    images,
    kernel,
    form.strides,
    form.padding,
    form.groups,
    precision=form.precision,
  )


def _conv_forward(images, kernel, form: _Form):
  """The output, and what `_conv_backward` needs."""
  output = _conv(images.value, kernel.value, form)
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


def _conv_backward(form: _Form, residuals: _Residuals, gradient):
  """Gradients of images and kernel, None for what does not vary."""
  of_images, of_kernel = None, None
  if isinstance(gradient, SymbolicZero):
    return of_images, of_kernel
  arrays = (residuals.images, residuals.kernel, gradient)
  if residuals.wanted[0]:
    of_images = lax.platform_dependent(
      *arrays,
      cpu=functools.partial(_image_gradient, form=form),
      default=functools.partial(_image_gradient_of_lax, form=form),
    )
  if residuals.wanted[1] and form.groups == 1:
    of_kernel = _kernel_gradient_of_lax(*arrays, form=form)
  elif residuals.wanted[1]:
    of_kernel = lax.platform_dependent(
      *arrays,
      cpu=functools.partial(_kernel_gradient, form=form),
      default=functools.partial(_kernel_gradient_of_lax, form=form),
    )
  return of_images, of_kernel


_conv.defvjp(_conv_forward, _conv_backward, symbolic_zeros=True)


def _image_gradient_of_lax(images, kernel, gradient, *, form: _Form):
  (found,) = jax.linear_transpose(
    lambda images: _of_form(images, kernel, form), images
  )(gradient)
  return found


def _kernel_gradient_of_lax(images, kernel, gradient, *, form: _Form):
  (found,) = jax.linear_transpose(
    lambda kernel: _of_form(images, kernel, form), kernel
  )(gradient)
  return found


def _kernel_gradient(images, kernel, gradient, *, form: _Form):
  """That of a depthwise convolution on CPU."""
  return _depthwise().kernel_gradient(
    images, gradient, kernel.shape[:2], form.strides, form.padding
  )


def _image_gradient(images, kernel, gradient, *, form: _Form) -> jax.Array:
  """The gradient of the images from that of the output, on CPU.

  The transposed convolution: the output's gradient, spread by the strides, with
  the kernel turned by 180 degrees and its channels swapped.
  """
  size, (strides, padding) = images.shape[1:3], form[:2]
  if form.groups > 1:
    return _depthwise().image_gradient(gradient, kernel, size, strides, padding)
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
    precision=form.precision,
  )
