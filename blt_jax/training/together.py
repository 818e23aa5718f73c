"""Fields of a configuration that belong together and may not fit: remarks.

What follows from another field is filled in (`config.follow`, training/choose);
what can't work is refused (config/check). The rest is said, a line each.
"""

import re
from collections.abc import Iterator, Sequence

import jax

from blt_jax.config import GIVEN, Config, StageConfig, resize_size
from blt_jax.training import prior
from blt_jax.training.choose import SMALL
from blt_jax.training.devices import devices_of, on_cpu
from blt_jax.training.stages import Stage, rate_scale

# Evaluation usually looks at 7/8 of the side of an image; at less than 2/3,
# half of the image is not seen.
_LARGEST_RATIO = 1.5
# Beyond this size a network without a coarse stem is costly.
_LARGE = 2 * SMALL
# Drops of the learning rates that are all before this part of a stage.
_EARLY = 0.5
# Learning rates from which adamw rarely learns anything, and from which it
# forgets what pretrained kernels know.
_HIGH_FOR_ADAMW, _HIGH_FOR_KERNELS = 0.01, 0.0005


def remarks(
  config: Config, *, stages: Sequence[Stage], num_classes: int
) -> list[str]:
  """What to know about fields that don't go together.

  Args:
    config: the configuration, with nothing left open.
    stages: those that are trained.
    num_classes: C.

  Returns:
    Sentences for the user, one string a remark; for the configurations of
    configs/ as they are, on a CPU, none but that on five crops.
  """
  return [
    *_arithmetic(config),
    *([prior.line(config)] if config.dataset.prior else []),
    *_evaluated_part(config),
    *_five_crop(config),
    *_resizing(config),
    *_stem(config),
    *_all_drops(config, stages),
    *(line for stage in stages for line in _high_rates(config, stage)),
    *_reweighting(config, stages),
    *_hallucination(config, stages),
    *_confidence(config, stages, num_classes),
  ]


def rate_lines(config: Config, stages: Sequence[Stage]) -> list[str]:
  """Says how the learning rates follow the batch sizes, or that they don't."""
  made_for = config.optimizer.rate_batch_size
  if not made_for:
    sizes = " and ".join(dict.fromkeys(str(s.batch_size) for s in stages))
    return [
      f"learning rates as they are given, not scaled to batches of {sizes}: "
      "config.optimizer.rate_batch_size is 0"
    ]
  scales = {s.batch_size: rate_scale(config, s.config) for s in stages}
  return [
    f"learning rates times {scale:g} for batches of {size}: they are given for "
    f"{made_for}"
    for size, scale in scales.items()
    if scale != 1
  ]


def optimizer_lines(config: Config, stages: Sequence[Stage]) -> Iterator[str]:
  """What is not as in the paper about the way the weights are updated."""
  given, backbone = config.optimizer, config.model.backbone
  if given.name == "adamw":
    yield (
      f"adamw: kernels alone have the weight decay of {given.weight_decay:g}, "
      "no biases, normalisations or embeddings"
    )
  if given.warmup_epochs:
    steps = " and ".join(
      str(round(given.warmup_epochs * stage.steps)) for stage in stages
    )
    yield f"learning rates rise in the first {steps} steps of a stage"
  if given.schedule == "cosine":
    yield (
      "learning rates fall to 0 by the end of a stage, along half a cosine; "
      "drop_epochs have no effect"
    )
  if given.layer_decay < 1:
    from blt_jax.models import blocks  # Few runs need it.

    count = blocks.num_blocks(backbone)
    yield (
      f"learning rates times {given.layer_decay:g} for each of the {count} "
      f"blocks of {backbone} from the last one down, and "
      f"{given.layer_decay ** (count + 1):.2g} for its stem"
    )
  if given.ema:
    yield (
      f"validation, test and exports use a moving average of the weights: "
      f"config.optimizer.ema is {given.ema:g}"
    )


def _arithmetic(config: Config) -> Iterator[str]:
  """Says what products of float32 are on a device where they are not that.

  As `jax.lax.Precision` has it. NVIDIA's GPUs have TF32 from the compute
  capability 8.0 on; those of other makers are not known here.
  """
  device, precision = devices_of(config)[0], config.model.precision
  kind = ""
  if device.platform == "gpu" and precision != "highest":
    capability = getattr(device, "compute_capability", "")
    is_nvidia = re.fullmatch(r"\d+\.\d+", capability) is not None
    kind = "TF32" if is_nvidia else "TF32 where the GPU has it"
    if is_nvidia and float(capability) < 8:
      kind = ""
  elif device.platform == "tpu":
    kinds = {"default": "bfloat16", "high": "three products of bfloat16"}
    kind = kinds.get(precision, "")
  if kind:
    yield (
      f"float32 is {kind} in convolutions and matrix products: "
      f"config.model.precision is {precision} (highest: float32)"
    )
  name = "jax_default_matmul_precision"
  given = getattr(jax.config, name)
  if given not in (None, precision):
    yield (
      f"JAX_DEFAULT_MATMUL_PRECISION is {given} and has no effect: "
      f"config.model.precision is {precision}"
    )


def _evaluated_part(config: Config) -> Iterator[str]:
  """Remarks on an evaluation that sees little of an image."""
  size, short = config.dataset.image_size, config.dataset.resize_size
  if short > _LARGEST_RATIO * size:
    yield (
      f"config.dataset.resize_size is {short}, {short / size:.3g} times "
      f"config.dataset.image_size, {size}: evaluation sees "
      f"{100 * size / short:.0f} % of the short side of an image; 0 lets it "
      f"follow ({resize_size(size)})"
    )


def _five_crop(config: Config) -> Iterator[str]:
  """Says which evaluations go by five crops."""
  if config.dataset.five_crop:
    yield (
      "config.dataset.five_crop is True: the final test, evaluate, predict and "
      "export average the logits of five crops of an image, in five times the "
      "time; validation after each epoch sees the centre crop alone"
    )


def _resizing(config: Config) -> Iterator[str]:
  """Says that the host resizes what the device would else resize."""
  dataset = config.dataset
  if (dataset.interpolation, dataset.resize_on) == ("bicubic", "auto") and (
    not on_cpu(config)
  ):
    yield (
      "config.dataset.interpolation is bicubic: the host resizes the training "
      "crops, as the device knows bilinear alone"
    )


def _stem(config: Config) -> Iterator[str]:
  """Remarks on a network that is made for images of another size."""
  name, size = config.model.backbone, config.dataset.image_size
  is_small = name.startswith("small_")
  if not name.startswith(("small_", "vit_", GIVEN)) and size <= SMALL:
    yield (
      f"config.model.backbone {name} makes one pixel of 32 x 32: of "
      f"config.dataset.image_size {size} little is left; small_resnet10 is for "
      "such images"
    )
  if is_small and size > _LARGE:
    yield (
      f"config.model.backbone {name} is for images up to {SMALL} pixels: with "
      f"config.dataset.image_size {size} it takes a multiple of the time and "
      f"memory of {name.removeprefix('small_')}"
    )


def _all_drops(config: Config, stages: Sequence[Stage]) -> Iterator[str]:
  """Remarks on the epochs in which rates drop, where they do."""
  if config.optimizer.schedule == "steps":
    for stage in stages:
      yield from _drops(stage.number, stage.config)


def _high_rates(config: Config, stage: Stage) -> Iterator[str]:
  """Remarks on learning rates of sgd that adamw has."""
  names = ["classifier_rate"]
  if config.model.train != "classifier" or config.model.hidden:
    names.append("backbone_rate")
  for name in names:
    given = getattr(stage.config, name)
    rate = given * rate_scale(config, stage.config)
    high, usual = _HIGH_FOR_ADAMW, "0.00001 to 0.001 are usual"
    if name == "backbone_rate" and _trains_kernels(config):
      high = _HIGH_FOR_KERNELS
      usual = "0.00001 to 0.0003 are usual for pretrained kernels"
    if config.optimizer.name == "adamw" and rate >= high:
      yield (
        f"config.stage{stage.number}.{name} is {given:g}, {rate:g} for a batch "
        f"of {stage.batch_size}: a step of adamw changes each weight by about "
        f"as much, and {usual}"
      )


def _trains_kernels(config: Config) -> bool:
  """Whether kernels of others are trained further."""
  kind = config.model.train.partition(":")[0]
  return bool(config.model.pretrained) and kind in ("all", "last")


def _drops(number: int, section: StageConfig) -> Iterator[str]:
  """Remarks on rates that drop after the end of a stage, or early in it."""
  drops, epochs = section.drop_epochs, section.epochs
  field = f"config.stage{number}.drop_epochs is {drops}"
  kept = [epoch for epoch in drops if epoch < epochs]
  if len(kept) < len(drops):
    yield (
      f"{field}, and config.stage{number}.epochs {epochs}: the learning rates "
      f"drop {len(kept)} of {len(drops)} times"
    )
  elif drops and drops[-1] <= _EARLY * epochs:
    yield (
      f"{field}, and config.stage{number}.epochs {epochs}: the last "
      f"{epochs - drops[-1]} epochs are trained with {0.1 ** len(drops):g} of "
      "the learning rates"
    )


def _reweighting(config: Config, stages: Sequence[Stage]) -> Iterator[str]:
  """Remarks on class weights that never begin."""
  first, last = config.model.reweight_epoch, stages[-1]
  if first > last.epochs:
    yield (
      f"config.model.reweight_epoch is {first}, and config.stage{last.number}."
      f"epochs {last.epochs}: no epoch has class weights"
    )
  elif _may_end_before(last, first):
    yield (
      f"config.model.reweight_epoch is {first}, and config.stage{last.number}."
      f"patience {last.config.patience}: the stage may end before it"
    )


def _hallucination(config: Config, stages: Sequence[Stage]) -> Iterator[str]:
  """Remarks on stages that end before they hallucinate."""
  first = config.perturb.start_epoch
  for stage in stages:
    if stage.config.perturb and first > stage.epochs:
      yield (
        f"config.perturb.start_epoch is {first}, and config.stage"
        f"{stage.number}.epochs {stage.epochs}: nothing is hallucinated in it"
      )
    elif stage.config.perturb and _may_end_before(stage, first):
      yield (
        f"config.perturb.start_epoch is {first}, and config.stage"
        f"{stage.number}.patience {stage.config.patience}: the stage may end "
        "before it"
      )


def _may_end_before(stage: Stage, epoch: int) -> bool:
  """Whether a stage's patience can end it before an epoch begins."""
  return 0 < stage.config.patience < epoch - 1


def _confidence(
  config: Config, stages: Sequence[Stage], num_classes: int
) -> Iterator[str]:
  """Remarks on confidences that a network without any opinion has."""
  perturb = config.perturb
  choices = perturb.confidence_choices
  name = "confidence_choices" if choices else "confidence"
  chance = 1 / num_classes
  if (
    min(choices or perturb.confidence) <= chance
    and perturb.max_steps
    and any(stage.config.perturb for stage in stages)
  ):
    yield (
      f"config.perturb.{name} is {choices or perturb.confidence}, not above "
      f"chance for {num_classes} classes, {chance:.3g}: images that the "
      "network is unsure of are hallucinated without a change; expected more"
    )
