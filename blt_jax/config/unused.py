"""Fields that have no effect beside the others of a configuration."""

from collections.abc import Callable, Iterable

from blt_jax.config.check import flatten
from blt_jax.config.schema import Config

# Fields of the ascent itself, which images that are only augmented don't need.
_ASCENT = (
  "perturb.targets",
  "perturb.confidence",
  "perturb.confidence_choices",
  "perturb.step_size",
  "perturb.momentum",
)


def _is_perturbed(config: Config) -> bool:
  """Whether a stage that is trained hallucinates."""
  return any(s.epochs and s.perturb for s in (config.stage1, config.stage2))


# (names of fields or their beginnings up to . or _, whether they have an
# effect, why they have none).
_USES: tuple[tuple[tuple[str, ...], Callable[[Config], bool], str], ...] = (
  (("perturb.",), _is_perturbed, "no stage hallucinates"),
  (
    ("perturb.confidence",),
    lambda c: not c.perturb.confidence_choices,
    "perturb.confidence_choices has the values to draw",
  ),
  (_ASCENT, lambda c: c.perturb.max_steps > 0, "perturb.max_steps is 0"),
  (
    ("model.alpha", "model.beta"),
    lambda c: c.model.classifier == "squashing_cosine",
    "the classifier is linear",
  ),
  (
    ("model.focal_gamma",),
    lambda c: c.model.loss == "focal",
    "the loss is not focal",
  ),
  (
    ("model.class_balanced_beta",),
    lambda c: c.model.loss == "class_balanced" or c.model.reweight_epoch > 0,
    "no class has a weight",
  ),
  (
    ("model.logit_adjustment_tau",),
    lambda c: c.model.loss == "logit_adjustment",
    "the loss is not logit_adjustment",
  ),
  (
    ("model.ldam_",),
    lambda c: c.model.loss == "ldam",
    "the loss is not ldam",
  ),
  (
    ("stage1.gamma",),
    lambda c: c.stage1.balanced,
    "stage1.balanced is False",
  ),
  (
    ("stage2.gamma",),
    lambda c: c.stage2.balanced,
    "stage2.balanced is False",
  ),
  (
    ("model.adapter_width",),
    lambda c: c.model.train == "adapters",
    "model.train is not adapters",
  ),
  (
    ("stage1.backbone_rate", "stage2.backbone_rate"),
    lambda c: c.model.train != "classifier" or c.model.hidden > 0,
    "nothing but the classifier is trained",
  ),
  (
    ("optimizer.momentum",),
    lambda c: c.optimizer.name == "sgd",
    "optimizer.name is adamw, which has its own",
  ),
  (
    ("optimizer.layer_decay",),
    lambda c: (
      c.model.train != "classifier"
      and any(s.epochs and s.backbone_rate > 0 for s in (c.stage1, c.stage2))
    ),
    "no block is trained",
  ),
  (
    ("stage1.drop_epochs", "stage2.drop_epochs"),
    lambda c: c.optimizer.schedule == "steps",
    "optimizer.schedule is cosine",
  ),
  (
    ("model.pretrained_sha256",),
    lambda c: c.model.pretrained != "",
    "model.pretrained is empty",
  ),
  (("stage1.",), lambda c: c.stage1.epochs > 0, "stage1.epochs is 0"),
  (("stage2.",), lambda c: c.stage2.epochs > 0, "stage2.epochs is 0"),
  (
    ("stage1.patience",),
    lambda c: c.stage1.patience < c.stage1.epochs - 1,
    "stage1.epochs are over before it can be",
  ),
  (
    ("stage2.patience",),
    lambda c: c.stage2.patience < c.stage2.epochs - 1,
    "stage2.epochs are over before it can be",
  ),
)


def unused(config: Config, given: Iterable[str]) -> list[str]:
  """A line about each field that was given and has no effect.

  Args:
    config: the configuration.
    given: dotted names of the fields that the user has set. One that has its
      default value passes, and so does a number of epochs: 0 is a choice.
  """
  values, defaults = flatten(config), flatten(Config())
  lines = []
  for name in sorted(set(given)):
    if values[name] == defaults[name] or name.endswith(".epochs"):
      continue
    for fields, has_effect, reason in _USES:
      if _is_among(name, fields) and not has_effect(config):
        lines.append(
          f"note: config.{name} is {values[name]!r} and has no effect: {reason}"
        )
        break
  return lines


def _is_among(name: str, fields: Iterable[str]) -> bool:
  """Whether a field is one of some names or has one of the beginnings."""
  return any(
    name.startswith(each) if each[-1] in "._" else name == each
    for each in fields
  )
