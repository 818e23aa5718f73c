"""Builds the parts of a run from a configuration.

The parts themselves take plain arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from blt_jax.config import GIVEN, Config
from blt_jax.data import augment, sources
from blt_jax.data.dataset import Dataset
from blt_jax.data.input_pipeline import Crops
from blt_jax.data.reading.decode import Decoding, grey_range
from blt_jax.method import hallucinate, optimizer, rng, train_step
from blt_jax.method.train_step import TrainState
from blt_jax.models import create_model
from blt_jax.training import devices
from blt_jax.training.objective import build_objective
from blt_jax.training.stages import Stage, rate_scale

if TYPE_CHECKING:
  from blt_jax.models.given import Given

# Fewest images that ascend at a time on an accelerator. With fewer, the time
# goes into starting the kernels.
_NARROWEST = 4


def decoding(config: Config) -> Decoding:
  """How the files of a configuration's data set become RGB."""
  dataset = config.dataset
  return Decoding(
    max_pixels=dataset.max_pixels,
    background=dataset.background,
    exif_orientation=dataset.exif_orientation,
    grey_range=grey_range(dataset.grey_range),
  )


def build_dataset(config: Config) -> Dataset:
  """Finds the images of a configuration and splits them.

  Raises:
    ValueError: when a file is missing or malformed; names it.
  """
  dataset = config.dataset
  if dataset.source == GIVEN:
    raise ValueError(
      f"config.dataset.source is {GIVEN!r}, and no data set is handed in; "
      "expected blt_jax.train(config, workdir, dataset=...) in a program."
    )

  def fields(kind):
    """An object of a dataclass whose fields are named as in the config."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: getattr(dataset, name) for name in names})

  return sources.load(
    dataset.source,
    dataset.name,
    files=fields(sources.SourceFiles),
    options=fields(sources.SplitOptions),
    columns=fields(sources.Columns),
  )


def build_model(
  config: Config, num_classes: int, *, own: nn.Module | None = None
) -> "nn.Module | Given":
  """The network of a configuration, or around `own`, the caller's."""
  model = config.model
  if own is not None or model.backbone == GIVEN:
    from blt_jax.training import own_network  # Few runs need it.

    return own_network.network(config, own, num_classes)
  return create_model(
    model.backbone,
    num_classes,
    classifier=model.classifier,
    alpha=model.alpha,
    beta=model.beta,
    hidden=model.hidden,
    dtype=jnp.dtype(model.dtype),
    axis_name=devices.AXIS,
    steady=model.train != "all",
    adapter_width=adapter_width(config, num_classes),
    image_size=config.dataset.image_size,
  )


def adapter_width(config: Config, num_classes: int) -> int:
  """The width of a network's adapters, 0 where it has none."""
  model = config.model
  if model.train != "adapters":
    return 0
  if model.adapter_width:
    return model.adapter_width
  from blt_jax.models import parts  # Few runs need it.

  return parts.adapter_width(model.backbone, num_classes)


def init_state(
  config: Config,
  model: "nn.Module | Given",
  num_classes: int,
  *,
  draw: int = 0,
) -> TrainState:
  """A fresh state; another `draw` is another initialisation of the seed."""
  size = config.dataset.image_size
  images = jnp.zeros((1, size, size, 3), jnp.float32)
  # Full optimisation gives the same bits and takes three times as long.
  options = {"xla_backend_optimization_level": 1}
  variables = jax.jit(
    functools.partial(model.init, train=False),
    compiler_options=options if devices.on_cpu(config) else None,
  )(rng.init_key(config.seed, draw=draw), images)
  key = rng.run_key(config.seed)
  return state_of(config, variables, model, num_classes, key=key)


def state_shapes(
  config: Config, model: "nn.Module | Given", num_classes: int
) -> TrainState:
  """A state of shapes and types alone, for a checkpoint to fill.

  Nothing is computed or compiled for it; its key is a real one.
  """
  size = config.dataset.image_size

  def init(key: jax.Array) -> TrainState:
    images = jnp.zeros((1, size, size, 3), jnp.float32)
    variables = model.init(key, images, train=False)
    return state_of(config, variables, model, num_classes, key=key)

  key = rng.run_key(config.seed)
  return jax.eval_shape(init, key).replace(rng=key)


def state_of(
  config: Config,
  variables: Mapping[str, Any],
  model: "nn.Module | Given",
  num_classes: int,
  *,
  key: jax.Array,
) -> TrainState:
  """A state at step 0 with an empty confusion matrix."""
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    params={},
    batch_stats={},
    opt_state=(),
    confusion=jnp.zeros((num_classes, num_classes), jnp.int32),
    rng=key,
    apply_fn=model.apply,
  )
  state = with_variables(config, state, variables)
  return with_new_optimizer(config, state)


def with_variables(
  config: Config, state: TrainState, variables: Mapping[str, Any]
) -> TrainState:
  """A state with these variables of the network, trained and frozen ones.

  Running statistics are frozen where parameters are: see `Network.steady`.
  """
  params, stats = variables["params"], variables.get("batch_stats", {})
  if config.model.train == "all":
    return state.replace(params=params, batch_stats=stats)
  from blt_jax.models import parts  # Few runs need it.

  params, frozen = parts.split(
    config.model.backbone, params, train=config.model.train
  )
  frozen = {"params": frozen, "batch_stats": stats}
  return state.replace(params=params, batch_stats={}, frozen=frozen)


def restored(
  config: Config, template: TrainState, arrays: Mapping[str, Any]
) -> TrainState:
  """The state of a checkpoint.

  Args:
    config: of the run.
    template: its `state_shapes`.
    arrays: what the checkpoint holds.

  Raises:
    ValueError: what is frozen can't be read from the file that holds it.
  """
  state = template.with_arrays(arrays)
  if not state.frozen:
    return state
  from blt_jax.training import frozen  # Few runs need it.

  return frozen.with_frozen(config, state)


def with_new_optimizer(config: Config, state: TrainState) -> TrainState:
  """A state as a stage begins: the optimizer, and any average, start anew."""
  rate = optax.constant_schedule(0.0)
  average = None
  if config.optimizer.ema:
    from blt_jax.method import averaging  # Few runs need it.

    average = averaging.begin(state.params, state.batch_stats)
  return state.replace(
    opt_state=_optimizer(config, rate, rate).init(state.params),
    average=average,
  )


def build_optimizer(
  config: Config, stage: Stage
) -> optax.GradientTransformation:
  """The optimizer with the learning rates of a stage."""
  rates = (stage.config.backbone_rate, stage.config.classifier_rate)
  return _optimizer(config, *(_schedule(config, stage, r) for r in rates))


def _schedule(config: Config, stage: Stage, rate: float) -> optax.Schedule:
  """The learning rate over the steps of a stage."""
  rate *= rate_scale(config, stage.config)
  warmup = round(config.optimizer.warmup_epochs * stage.steps)
  if config.optimizer.schedule == "cosine":
    schedule = optimizer.cosine_schedule(
      rate, steps=stage.epochs * stage.steps, warmup_steps=warmup
    )
  else:
    schedule = optimizer.step_schedule(
      rate, stage.config.drop_epochs, steps_per_epoch=stage.steps
    )
  return optimizer.warmed_up(schedule, warmup)


def _optimizer(
  config: Config,
  backbone_rate: optax.Schedule,
  classifier_rate: optax.Schedule,
) -> optax.GradientTransformation:
  """The optimizer of a configuration."""
  weight_decay = config.optimizer.weight_decay
  factor_fn = _factor_fn(config)
  if config.optimizer.name == "adamw":
    return optimizer.adamw(
      backbone_rate,
      classifier_rate,
      weight_decay=weight_decay,
      factor_fn=factor_fn,
    )
  return optimizer.sgd(
    backbone_rate,
    classifier_rate,
    momentum=config.optimizer.momentum,
    weight_decay=weight_decay,
    factor_fn=factor_fn,
  )


def _factor_fn(config: Config) -> optimizer.FactorFn | None:
  """The factors of `optimizer.layer_decay`; None for 1."""
  decay, backbone = config.optimizer.layer_decay, config.model.backbone
  if decay == 1:
    return None
  from blt_jax.models import blocks  # Few runs need it.

  last = blocks.num_blocks(backbone) + 1
  return lambda path: decay ** (last - blocks.depth_of(backbone, path))


def build_train_step(
  config: Config,
  stage: Stage,
  class_counts: np.ndarray,
  *,
  target: np.ndarray | None,
  reweighted: bool = False,
) -> Callable:
  """`train_step` of a stage, mapped over the devices.

  Args:
    config: the configuration.
    stage: the stage.
    class_counts: int [C], training images of each class.
    target: float64 [C] or None, `prior.target_shares` of `dataset.prior`.
    reweighted: whether the mean over a batch has the deferred weights.

  Returns:
    (state, batch) -> (state, metrics); the state is donated.

  Raises:
    ValueError: when the loss needs images of a class that has none.
  """
  objective = build_objective(
    config,
    class_counts,
    target=target,
    gamma=stage.gamma,
    reweighted=reweighted,
  )
  step = functools.partial(
    train_step.train_step,
    tx=build_optimizer(config, stage),
    preprocess_fn=build_preprocess(config),
    hallucinate_fn=hallucinate.reuse
    if config.perturb.static
    else build_hallucinate(config),
    loss_fn=objective.loss_fn,
    class_weights=objective.class_weights,
    average_decay=config.optimizer.ema,
    axis_name=devices.AXIS,
  )
  return devices.over_devices(step, config, donate_argnums=(0,))


def build_hallucinate(config: Config) -> Callable:
  """`hallucinate` with the settings of a configuration."""
  perturb = config.perturb
  return functools.partial(
    hallucinate.hallucinate,
    preprocess_fn=build_preprocess(config),
    confidence=perturb.confidence,
    confidence_choices=perturb.confidence_choices,
    targets=perturb.targets,
    ascent={
      "step_size": perturb.step_size,
      "max_steps": perturb.max_steps,
      "momentum": perturb.momentum,
    },
    narrowest=1 if devices.on_cpu(config) else _NARROWEST,
  )


def build_preprocess(config: Config) -> Callable:
  """(rngs [n], images) -> augmented, normalised float32 images.

  The images are uint8 of the network's size, or Crops that are resized here.
  """
  dataset = config.dataset
  normalize_fn = functools.partial(
    augment.normalize, mean=dataset.mean, std=dataset.std
  )

  @jax.named_scope("augment")
  def preprocess(rngs: jax.Array, images: jax.Array | Crops) -> jax.Array:
    if isinstance(images, Crops):
      from blt_jax.data import device_resize  # Accelerators alone need it.

      images = device_resize.resize_crops(*images, dataset.image_size)
    augmented = augment.augment(
      rngs,
      images,
      flip=dataset.flip,
      rotation=dataset.rotation,
      brightness=dataset.brightness,
      contrast=dataset.contrast,
      saturation=dataset.saturation,
    )
    return normalize_fn(augmented)

  return preprocess


def build_normalize(config: Config) -> Callable:
  """uint8 images -> normalised float32 images, for evaluation."""
  dataset = config.dataset
  return lambda images: augment.normalize(
    images.astype(jnp.float32) / 255.0, mean=dataset.mean, std=dataset.std
  )
