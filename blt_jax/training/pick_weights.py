"""Picks weights to begin with, where `model.pretrained` is "auto".

They depend on the number and size of the training images and on the device.
Where none can be had, the network is trained from scratch.
"""

import dataclasses

from blt_jax.config import AUTO, Config, with_values
from blt_jax.config.finetuning import from_scratch
from blt_jax.models import BACKBONES, expected_size, pretrained
from blt_jax.training import devices

# Training images from which on the cost of an epoch counts for more than what
# a network knows beforehand.
MANY = 50_000
# Images with a larger short side, pixels, show a ViT enough patches.
LARGE = 128


@dataclasses.dataclass(frozen=True)
class Candidate:
  """Weights that may be picked.

  Attributes:
    name: under which timm has them.
    why: a clause for the user.
  """

  name: str
  why: str

  @property
  def source(self) -> str:
    """As a value of `model.pretrained`."""
    return f"timm:{self.name}"

  @property
  def backbone(self) -> str:
    """The network that they are of."""
    return self.name.partition(".")[0]


# 0.4 GFLOP (multiply-adds) and 4.7 million parameters for an image of 224
# pixels: of the networks here, the one that a CPU fine-tunes in minutes.
LITE0 = Candidate(
  "tf_efficientnet_lite0.in1k", "small enough to be fine-tuned on a CPU"
)
# 4.5 GFLOP. It takes images of any size from 32 pixels on, and has seen the
# 11,821 classes of ImageNet-12k.
CONVNEXT = Candidate(
  "convnext_tiny.in12k_ft_in1k",
  "a convolutional network for images of any size and number",
)
# 22 GFLOP. Learned without labels from 142 million images: its features tell
# classes apart of which there are few images, and hardly have to be changed
# (Oquab et al., 2024; Shi et al., ICML 2024).
DINOV2 = Candidate(
  "vit_base_patch14_reg4_dinov2.lvd142m",
  "its features tell classes apart by few images",
)


def ranked(
  *, num_images: int, short_side: int, image_size: int, on_cpu: bool
) -> list[Candidate]:
  """The weights to try, the best first; a pure function.

  Args:
    num_images: training images.
    short_side: median of their short sides, pixels.
    image_size: that the network is to see; 0 where it is open.
    on_cpu: whether a CPU trains.
  """
  if on_cpu:
    found = [LITE0]
  elif num_images < MANY and short_side > LARGE:
    found = [DINOV2, CONVNEXT, LITE0]
  else:
    found = [CONVNEXT, DINOV2, LITE0]
  return [
    each
    for each in found
    if not image_size or not expected_size(each.backbone, image_size)
  ]


def pick(
  config: Config, *, num_images: int, short_side: int
) -> tuple[Config, list[str]]:
  """Settles `model.pretrained`.

  Args:
    config: with "auto" there.
    num_images: training images.
    short_side: median of their short sides, pixels.

  Returns:
    (the configuration with weights that are on this machine now, or without
    any and with what training from scratch needs; a line that says why).

  Raises:
    ValueError: for a backbone without a candidate, or a part of it that can't
      be trained from scratch.
  """
  on_cpu = devices.devices_of(config)[0].platform == "cpu"
  candidates = _of_backbone(config.model.backbone) or ranked(
    num_images=num_images,
    short_side=short_side,
    image_size=config.dataset.image_size,
    on_cpu=on_cpu,
  )
  missing = ""
  for each in candidates:
    # The hub is asked once; of the others, what is in the cache will do.
    if problem := _problem(each, offline=bool(missing)):
      missing = missing or problem
      continue
    reason = (
      f"{num_images} training images of {short_side} pixels, on a "
      f"{'CPU' if on_cpu else 'GPU'}; {each.why}"
    )
    if missing:
      reason = f"they are in the cache, and {missing}"
    found = with_values(config, {"model.pretrained": each.source})
    return found, [f"picked weights {each.source}: {reason}"]
  return _without(config, candidates[0], missing)


def _problem(candidate: Candidate, *, offline: bool) -> str:
  """Why weights can't be had; "" once they are on this machine."""
  try:
    pretrained.locate(candidate.source, offline=offline)
  except (ValueError, ImportError) as error:
    return str(error).partition("; expected")[0]
  return ""


def _of_backbone(name: str) -> list[Candidate]:
  """Those of a network that is named; [] where it is left open.

  Raises:
    ValueError: there are none of this network.
  """
  found = [e for e in (LITE0, CONVNEXT, DINOV2) if e.backbone == name]
  if found or name not in BACKBONES:
    return found
  raise ValueError(
    f"config.model.pretrained is {AUTO!r}; expected the weights themselves, "
    f"such as timm:resnet50.a1_in1k, with config.model.backbone {name}: none "
    "are known to pick."
  )


def _without(
  config: Config, candidate: Candidate, missing: str
) -> tuple[Config, list[str]]:
  """What `pick` returns where no weights can be had."""
  repository = f"timm/{candidate.name}"
  remedy = (
    f"Where there is a network, `hf download {repository} model.safetensors "
    f"config.json --local-dir weights`; here, then, "
    "--config.model.pretrained=weights/model.safetensors"
  )
  train = config.model.train
  if train not in ("all", AUTO):
    raise ValueError(
      f"config.model.train is {train!r}; expected weights to begin with, but "
      f"{missing}. {remedy}."
    )
  line = (
    "note: no pretrained weights can be had, so the network is trained from "
    f"scratch, with the settings of configs/image_folder.py: {missing}. "
    f"{remedy} and another --workdir"
  )
  return from_scratch(config), [line]
