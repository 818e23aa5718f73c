"""The convolutions of a backbone, and how long each takes by itself."""

import collections
import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import step_measure
from benchmarks.step_problem import Problem
from blt_jax.models import convolution, create_backbone
from blt_jax.training import build

# What a convolution is timed for: its value and its two gradients.
KINDS = ("forward", "of_images", "of_kernel")

# An accelerator gets so much work before the clock is read again, seconds.
_AT_ONCE = 0.01

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Convolution:
  """A convolution of NHWC images.

  Attributes:
    images: n, h, w and c of what it takes.
    kernel: kh, kw, c / groups and filters.
    output: h' and w' of what it returns.
    strides: of height and width.
    padding: ((top, bottom), (left, right)), pixels.
    groups: of channels.
    dtype: name of what it computes in.
    trained_before: whether its images come from trained layers, so that a
      training step needs their gradient; not so for the network's input.
  """

  images: tuple[int, ...]
  kernel: tuple[int, ...]
  output: tuple[int, int]
  strides: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  groups: int
  dtype: str
  trained_before: bool

  @property
  def flops(self) -> int:
    """FLOPs of any one of KINDS; multiplying a padding's zeros counts."""
    return 2 * self.images[0] * math.prod(self.output) * math.prod(self.kernel)

  @property
  def needed(self) -> tuple[str, ...]:
    """Those of KINDS that a training step computes."""
    return KINDS if self.trained_before else (KINDS[0], KINDS[2])


def find(
  backbone: str, *, image_size: int, batch: int, dtype: str = "float32"
) -> dict[Convolution, int]:
  """The convolutions of a training step's forward pass, found by tracing it.

  Args:
    backbone: one of blt_jax.models.BACKBONES.
    image_size: side of the images, pixels.
    batch: number of images.
    dtype: what the network computes in, "float32" or "bfloat16".

  Returns:
    How often each comes, in the order of the first time.

  Raises:
    ValueError: if there is no such backbone.
  """
  model = create_backbone(backbone, dtype=jnp.dtype(dtype))
  images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
  init = functools.partial(model.init, train=False)
  variables = dict(jax.eval_shape(init, jax.random.key(0), images))
  params = variables.pop("params")

  def forward(params, rest, images):
    keys = jax.random.split(jax.random.key(0), batch)
    return model.apply(
      {"params": params, **rest},
      images,
      train=True,
      image_rngs=keys,
      mutable=["batch_stats"],
    )

  traced = jax.make_jaxpr(forward)(params, variables, images).jaxpr
  count = len(jax.tree.leaves(params))
  trained = [number < count for number in range(len(traced.invars))]
  return dict(collections.Counter(_convolutions(traced, trained)))


def _convolutions(jaxpr: Any, trained: Sequence[bool]) -> Iterator[Convolution]:
  """Convolutions of a traced function; `trained` tells which arguments are."""
  constants = [False] * len(jaxpr.constvars)
  variables = [*jaxpr.constvars, *jaxpr.invars]
  known = dict(zip(variables, [*constants, *trained], strict=True))
  for equation in jaxpr.eqns:
    # A literal has a value and no name.
    flags = [not hasattr(v, "val") and known[v] for v in equation.invars]
    if equation.primitive.name == "conv_general_dilated":
      yield _convolution(equation, trained_before=flags[0])
    for inner in _inner(equation):
      yield from _convolutions(inner, flags[-len(inner.invars) :])
    known |= dict.fromkeys(equation.outvars, any(flags))


def _inner(equation: Any) -> Iterator[Any]:
  """The functions that an equation calls."""
  for value in equation.params.values():
    function = getattr(value, "jaxpr", value)
    if hasattr(function, "eqns") and function.invars:
      yield function


def _convolution(equation: Any, *, trained_before: bool) -> Convolution:
  images, kernel = (variable.aval for variable in equation.invars)
  params = equation.params
  return Convolution(
    images=images.shape,
    kernel=kernel.shape,
    output=equation.outvars[0].aval.shape[1:3],
    strides=tuple(params["window_strides"]),
    padding=tuple(params["padding"]),
    groups=params["feature_group_count"],
    dtype=str(images.dtype),
    trained_before=trained_before,
  )


def measure(
  convolutions: dict[Convolution, int], *, repeats: int
) -> list[Report]:
  """Times every convolution by itself, as the network computes it.

  Args:
    convolutions: from `find`.
    repeats: times of each, 1 or more, of which the median counts.

  Returns:
    For each its fields, "count", "flops", "needed" and, by the names of KINDS,
    "seconds".
  """
  return [
    dataclasses.asdict(one)
    | {
      "count": count,
      "flops": one.flops,
      "needed": one.needed,
      "seconds": _seconds(one, repeats),
    }
    for one, count in convolutions.items()
  ]


def step_seconds(problem: Problem, *, repeats: int) -> list[float]:
  """Seconds of plain training steps, as benchmarks.step_time measures them.

  Args:
    problem: from `step_problem.make_problem`; only its first batch is used.
    repeats: timed steps, 1 or more; one more comes before them.
  """
  batch = next(iter(step_measure.placed(problem, "plain")))
  program, _ = step_measure.compile_step(
    build.build_train_step(problem.config),
    step_measure.fresh_state(problem, 0),
    batch,
  )
  seconds = []
  for _ in range(repeats + 1):
    state = step_measure.fresh_state(problem, 0)
    seconds.append(_timed(functools.partial(program, state, batch)))
  return seconds[1:]


def total(rows: Sequence[Report]) -> float:
  """Seconds of all convolutions that a training step computes.

  Args:
    rows: from `measure`, or the peer's with "count" and "needed".
  """
  return sum(
    row["count"] * row["seconds"][kind]
    for row in rows
    for kind in row["needed"]
  )


def _seconds(one: Convolution, repeats: int) -> dict[str, float]:
  """Median seconds of each of KINDS, taken in turn."""
  calls = timed_calls(one)
  once = {}
  for kind, call in calls.items():
    jax.block_until_ready(call())  # Compiles.
    once[kind] = _timed(call)
  # A CPU might run several calls side by side; an accelerator does not, and
  # needs some in its queue, else the time of starting them is measured.
  on_cpu = jax.default_backend() == "cpu"
  many = {k: 1 if on_cpu else 1 + int(_AT_ONCE / v) for k, v in once.items()}
  seconds: dict[str, list[float]] = {kind: [] for kind in calls}
  for _ in range(repeats):
    for kind, call in calls.items():
      taken = _timed(functools.partial(_last, call, many[kind]))
      seconds[kind].append(taken / many[kind])
  return {kind: statistics.median(times) for kind, times in seconds.items()}


def timed_calls(one: Convolution) -> dict[str, Callable[[], jax.Array]]:
  """What `measure` times: each of KINDS, on arrays that lie on the device."""
  convolve = functools.partial(
    convolution.conv_general_dilated,
    strides=one.strides,
    padding=one.padding,
    feature_group_count=one.groups,
  )
  n, filters = one.images[0], one.kernel[-1]
  images, kernel, gradient = (
    _normal(number, shape, one.dtype)
    for number, shape in enumerate(
      (one.images, one.kernel, (n, *one.output, filters))
    )
  )

  def of_images(images, kernel, gradient):
    return jax.vjp(lambda x: convolve(x, kernel), images)[1](gradient)[0]

  def of_kernel(images, kernel, gradient):
    return jax.vjp(lambda k: convolve(images, k), kernel)[1](gradient)[0]

  forward = jax.jit(convolve)
  backward = (jax.jit(of_images), jax.jit(of_kernel))
  calls = (
    functools.partial(forward, images, kernel),
    *(functools.partial(f, images, kernel, gradient) for f in backward),
  )
  return dict(zip(KINDS, calls, strict=True))


def _normal(seed: int, shape: tuple[int, ...], dtype: str) -> jax.Array:
  values = np.random.default_rng(seed).standard_normal(shape, np.float32)
  return jnp.asarray(values, dtype)


def _last(call: Callable[[], Any], times: int) -> Any:
  """What a function returns when it is called for the last time."""
  for _ in range(times - 1):
    call()
  return call()


def _timed(call: Callable[[], Any]) -> float:
  """Seconds until what a call returns is there."""
  start = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - start
