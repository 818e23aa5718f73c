"""Which parts of a network are trained, and whether it has them."""

from blt_jax.config.rules import AUTO
from blt_jax.config.schema import ModelConfig
from blt_jax.models import BACKBONES, blocks, takes_adapters


def check(model: ModelConfig) -> None:
  """Refuses a part of a network that can't be trained alone.

  Args:
    model: its `train` is not "all"; its backbone may be open.

  Raises:
    ValueError: names the field.
  """
  if not model.pretrained:
    raise ValueError(
      f"config.model.train is {model.train!r}; expected 'all' without "
      "config.model.pretrained: the rest of the backbone would stay random."
    )
  if model.backbone not in BACKBONES:
    return
  if model.train == "adapters" and not takes_adapters(model.backbone):
    raise ValueError(
      "config.model.train is 'adapters'; expected all, classifier, "
      "norms_and_biases or last:N with config.model.backbone "
      f"{model.backbone}: adapters are for vision transformers."
    )
  kind, _, count = model.train.partition(":")
  if kind == "last" and int(count) > (
    most := blocks.num_blocks(model.backbone)
  ):
    raise ValueError(
      f"config.model.train is {model.train!r}; expected at most last:{most}, "
      f"the blocks of config.model.backbone {model.backbone}."
    )


def check_file_is_needed(model: ModelConfig) -> None:
  """Refuses a new place of weights that a finished epoch does without.

  Raises:
    ValueError: checkpoints of the run hold all its weights.
  """
  if model.train == "all":
    raise ValueError(
      f"config.model.pretrained is {model.pretrained!r}; expected none: the "
      "checkpoints of the run hold all its weights."
    )


def usual_part(backbone: str) -> str:
  """What pays to be trained of a pretrained network: a `model.train`.

  Of a vision transformer it is adapters: to train more costs the tail (Shi et
  al., ICML 2024). Of other networks it is normalisations and biases: on few
  images that beats all weights by far (docs/pretrained.md). It stays open where
  the backbone is.
  """
  if backbone not in BACKBONES:
    return AUTO
  return "adapters" if takes_adapters(backbone) else "norms_and_biases"
