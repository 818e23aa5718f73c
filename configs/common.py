"""Every field of a configuration, and the variants that all of them share.

A data set's file calls `default()`, sets what is different there and ends with
`variant(config, arg)`, which applies the `key=value` pairs behind the colon of
`--config=configs/digits_lt.py:method=blt_softmax,seed=1`.
"""

import ml_collections

METHODS = (
  "plain",
  "sampling",
  "blt",
  "blt_softmax",
  "blt_entire_batch",
  "blt_uniform",
  "augmentations",
  "neither",
  "static_targeted",
  "static_random",
)
PRESETS = ("default", "release", "tuned")
VARIANT_KEYS = (
  "method",
  "preset",
  "backbone",
  "batch",
  "lr",
  "p",
  "gamma",
  "alpha",
  "beta",
  "momentum",
  "confidence",
  "loss",
  "reweight",
  "seed",
)


def default() -> ml_collections.ConfigDict:
  """The paper's settings (supplement, section 2) without a data set."""
  config = ml_collections.ConfigDict()
  config.seed = 0  # Initialisation, sampling, augmentation: everything random.
  config.method = "blt"  # Name of the compared method; set it by `:method=`.
  config.num_devices = 0  # Devices to train on; 0 takes all of them.

  config.dataset = dataset = ml_collections.ConfigDict()
  dataset.name = ""  # Name in results and reports; for TFDS the builder's name.
  dataset.source = ""  # A name of blt_jax.config_check.SOURCES.
  dataset.root = ""  # Folder of the images (TFDS: data_dir), or the .npz file.
  dataset.manual_dir = ""  # TFDS: archives that it can't download itself.
  dataset.train_list = ""  # Lines "path label", or iNaturalist's JSON.
  dataset.validation_list = ""  # Empty: validation_per_class out of training.
  dataset.test_list = ""  # Empty: the validation images are the test, too.
  dataset.class_names = ""  # Lists: file of names, see docs/data.md.
  dataset.class_folders = False  # image_list: a folder is a class: check it.
  dataset.flat_folders = ()  # image_list: val/cat/1.jpg may be val/1.jpg here.
  dataset.drop_below = 0  # Lists: drops classes left with fewer images.
  dataset.profile = "natural"  # Training counts: natural, exponential or step.
  dataset.max_per_class = 0  # Images of the largest class of a profile.
  dataset.imbalance = 100.0  # Largest class of a profile / smallest one.
  dataset.validation_per_class = 0  # Images a class held out for validation.
  dataset.test_per_class = 0  # image_folder without test/: held out for test.
  dataset.split_seed = 0  # Which images a profile or a held-out split takes.
  dataset.on_error = "replace"  # Unreadable image: another of its class; stop.
  dataset.max_pixels = 178_956_970  # A larger image counts as unreadable.
  dataset.many_above = 100  # A class with more training images is many-shot.
  dataset.few_up_to = 20  # At most so many: few-shot, the tail.
  dataset.image_size = 224  # Side of the square that the network sees, pixels.
  dataset.resize_size = 256  # Short side before the evaluation's centre crop.
  dataset.crop_scale = (0.08, 1.0)  # Area of a training crop / image area.
  dataset.resize_on = "auto"  # Training crops: host, device; auto: not CPUs.
  dataset.crop_ratio = (3 / 4, 4 / 3)  # Width / height of a training crop.
  dataset.flip = 0.5  # Probability of a horizontal flip.
  dataset.rotation = 10.0  # Largest rotation either way, degrees.
  dataset.brightness = 0.4  # Factor drawn from 1 - 0.4 .. 1 + 0.4.
  dataset.contrast = 0.4  # Likewise.
  dataset.saturation = 0.4  # Likewise.
  dataset.mean = (0.485, 0.456, 0.406)  # Of red, green, blue in 0..1.
  dataset.std = (0.229, 0.224, 0.225)  # Likewise; ImageNet's.

  config.model = model = ml_collections.ConfigDict()
  model.backbone = "resnet10"  # A name of blt_jax.models.BACKBONES.
  model.classifier = "squashing_cosine"  # Or linear.
  model.hidden = 512  # Width of the layer between backbone and classifier.
  model.alpha = 20.0  # Scale of the squashing-cosine classifier.
  model.beta = 0.5  # Its squashing constant.
  model.loss = "cross_entropy"  # A name of blt_jax.losses.LOSSES.
  model.margin = 0.0  # cross_entropy: subtracted from the true class's logit.
  model.focal_gamma = 2.0  # focal: the higher, the less sure images weigh.
  model.class_balanced_beta = 0.9999  # Class weights: 0: equal; 1: 1 / count.
  model.logit_adjustment_tau = 1.0  # Strength of logit_adjustment.
  model.ldam_max_margin = 0.5  # ldam: the smallest class's margin, of a cosine.
  model.ldam_scale = 30.0  # ldam: scale of the cosines, in place of alpha.
  model.reweight_epoch = 0  # Class weights from this epoch of stage 2; 0: off.
  model.posthoc_tau = 0.0  # Logit adjustment at evaluation; 0: none.
  model.dtype = "float32"  # Arithmetic: float32 or bfloat16.
  model.init_from = ""  # safetensors file of backbone weights to begin with.

  config.optimizer = optimizer = ml_collections.ConfigDict()
  optimizer.momentum = 0.9  # Of SGD.
  optimizer.weight_decay = 5e-4  # L2 on every parameter.
  optimizer.rate_batch_size = 0  # Rates are for it and scaled; 0: not.

  config.perturb = perturb = ml_collections.ConfigDict()
  perturb.p = 0.25  # Share of a batch's tail draws to hallucinate for.
  perturb.rounding = "ceil"  # Of p * draws: ceil (text) or floor (release).
  perturb.classes = "tail"  # Which classes to hallucinate for: tail or all.
  perturb.targets = "confusion"  # Target class: confusion matrix or random.
  perturb.static = False  # Hallucinate once as stage 2 begins, then reuse.
  perturb.confidence = (0.15, 0.25)  # Range of the drawn target confidence.
  perturb.confidence_choices = ()  # If not empty: one of these instead.
  perturb.step_size = 0.7  # Of the gradient ascent.
  perturb.max_steps = 15  # Most updates of an image; 0: augmented only.
  perturb.momentum = 0.0  # Of the ascent; 0 is the text, 1 the release.
  perturb.crop_scale = (0.3, 1.0)  # Area of a source image's crop.
  perturb.start_epoch = 2  # First epoch of a stage that hallucinates.

  config.checkpoint = checkpoint = ml_collections.ConfigDict()
  checkpoint.every_minutes = 10.0  # Beside every epoch's end; 0: only there.

  config.stage1 = stage1 = ml_collections.ConfigDict()
  stage1.epochs = 35  # 0 leaves the stage out.
  stage1.batch_size = 256  # Real images a step, over all devices.
  stage1.balanced = False  # False: natural sampling, shuffled.
  stage1.gamma = 0.0  # Of the balanced sampler, with replacement.
  stage1.perturb = False  # Hallucinate in this stage.
  stage1.backbone_rate = 0.1  # Learning rate of all but the classifier.
  stage1.classifier_rate = 0.1  # Learning rate of the classifier.
  stage1.drop_epochs = (25, 32)  # Both rates times 0.1 after these epochs.
  stage1.reuse = ""  # Work directory to take an equal stage 1 over from.

  config.stage2 = stage2 = ml_collections.ConfigDict()
  stage2.epochs = 55
  stage2.batch_size = 256
  stage2.balanced = True
  stage2.gamma = 0.9  # 0: natural frequencies, 1: classes balanced.
  stage2.perturb = True
  stage2.backbone_rate = 0.01
  stage2.classifier_rate = 0.1
  stage2.drop_epochs = (23, 38, 52)
  stage2.new_classifier = True  # Begin with a fresh classifier.
  return config


def variant(
  config: ml_collections.ConfigDict, arg: str | None
) -> ml_collections.ConfigDict:
  """Applies the `key=value,...` pairs behind the colon of --config.

  Args:
    config: the data set's configuration; changed in place.
    arg: the pairs, or None. The keys are VARIANT_KEYS. `method` and `preset`
      are applied first, wherever they stand, so that single values win over
      them.

  Returns:
    config.

  Raises:
    ValueError: for an unknown key, method or preset, a repeated key or a value
      of the wrong type.
  """
  pairs = _parse(arg or "")
  _set_preset(config, pairs.pop("preset", "default"))
  _set_method(config, pairs.pop("method", config.method))
  for key, value in pairs.items():
    _SETTERS[key](config, value)
  return config


def _parse(arg: str) -> dict[str, str]:
  """Splits `a=1,b=2` into a dict and refuses keys that do not exist."""
  pairs: dict[str, str] = {}
  for item in filter(None, arg.split(",")):
    key, equals, value = item.partition("=")
    if key not in VARIANT_KEYS or not equals:
      raise ValueError(
        f"config variant {item!r}: expected key=value with a key of "
        f"{', '.join(VARIANT_KEYS)}."
      )
    if key in pairs:
      raise ValueError(f"config variant {key!r} is given twice.")
    pairs[key] = value
  return pairs


def _set_method(config: ml_collections.ConfigDict, method: str) -> None:
  """One of the methods compared in the paper (algorithm.md)."""
  if method not in METHODS:
    raise ValueError(
      f"method={method!r}: expected one of {', '.join(METHODS)}."
    )
  config.method = method
  if method in ("plain", "sampling", "blt_softmax"):
    config.model.classifier = "linear"
  if method in ("plain", "sampling", "neither"):
    config.stage2.perturb = False
  if method == "plain":
    config.stage2.balanced = False
  if method == "blt_uniform":
    config.stage2.gamma = 0.0
  if method == "blt_entire_batch":
    config.perturb.classes = "all"
  if method == "augmentations":
    config.perturb.max_steps = 0
  if method in ("static_targeted", "static_random"):
    config.perturb.static = True
  if method == "static_random":
    config.perturb.targets = "random"


def _set_preset(config: ml_collections.ConfigDict, preset: str) -> None:
  """Settings that belong together: the text's, the release's or our own."""
  if preset not in PRESETS:
    raise ValueError(
      f"preset={preset!r}: expected one of {', '.join(PRESETS)}."
    )
  if preset == "release":
    config.model.alpha = 16.0
    config.perturb.momentum = 1.0
    config.perturb.rounding = "floor"
    config.perturb.confidence_choices = (0.15, 0.2, 0.25)
  if preset == "tuned":  # The search on CIFAR-10-LT in docs/results.md.
    config.model.alpha = 10.0
    config.perturb.p = 0.5
    config.perturb.momentum = 1.0
    config.perturb.confidence = (0.3, 0.5)


def _set_batch(config: ml_collections.ConfigDict, value: str) -> None:
  for stage in (config.stage1, config.stage2):
    stage.batch_size = _number("batch", value, int)


def _set_rates(config: ml_collections.ConfigDict, value: str) -> None:
  """The learning-rate policies of the supplement's Table 1."""
  if value not in ("base", "small"):
    raise ValueError(f"lr={value!r}: expected base or small (a tenth of base).")
  if value == "small":
    for stage in (config.stage1, config.stage2):
      stage.backbone_rate /= 10
      stage.classifier_rate /= 10


def _set_confidence(config: ml_collections.ConfigDict, value: str) -> None:
  """`0.2` is a constant, `0.15-0.25` a range."""
  low, dash, high = value.partition("-")
  bounds = (low, high if dash else low)
  config.perturb.confidence = tuple(
    _number("confidence", bound, float) for bound in bounds
  )
  config.perturb.confidence_choices = ()


def _set_loss(config: ml_collections.ConfigDict, value: str) -> None:
  """A loss of docs/losses.md; LDAM's scale is meant for cosines."""
  config.model.loss = value
  if value == "ldam":
    config.model.classifier = "squashing_cosine"


def _field(key: str, section: str, name: str, kind: type):
  """A setter for the pair `key=value` of one field."""

  def set_field(config: ml_collections.ConfigDict, value: str) -> None:
    holder = config[section] if section else config
    holder[name] = _number(key, value, kind)

  return set_field


def _number(key: str, value: str, kind: type):
  try:
    return kind(value)
  except ValueError:
    wanted = {int: "a whole number", float: "a number"}[kind]
    raise ValueError(f"{key}={value!r}: expected {wanted}.") from None


def _set_backbone(config: ml_collections.ConfigDict, value: str) -> None:
  config.model.backbone = value


_SETTERS = {
  "backbone": _set_backbone,
  "batch": _set_batch,
  "lr": _set_rates,
  "p": _field("p", "perturb", "p", float),
  "gamma": _field("gamma", "stage2", "gamma", float),
  "alpha": _field("alpha", "model", "alpha", float),
  "beta": _field("beta", "model", "beta", float),
  "momentum": _field("momentum", "perturb", "momentum", float),
  "confidence": _set_confidence,
  "loss": _set_loss,
  "reweight": _field("reweight", "model", "reweight_epoch", int),
  "seed": _field("seed", "", "seed", int),
}
