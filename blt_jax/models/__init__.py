"""Models by name: backbone, hidden layer and classifier.

The functions import Flax when they are called, so that a configuration can be
checked against the names quickly.
"""

import importlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
  import flax.linen as nn

# Backbone -> the module and class that make it; only that module is imported.
# Its CONFIGS has the arguments of the class.
_BACKBONES = {
  "resnet10": "resnet:ResNet",
  "resnet18": "resnet:ResNet",
  "resnet34": "resnet:ResNet",
  "resnet50": "resnet:ResNet",
  "resnet101": "resnet:ResNet",
  "resnet152": "resnet:ResNet",
  "resnext50_32x4d": "resnet:ResNet",
  "small_resnet10": "resnet:ResNet",
  "densenet121": "densenet:DenseNet",
  "efficientnet_b0": "efficientnet:EfficientNet",
  "tf_efficientnet_lite0": "efficientnet:EfficientNet",
  "vit_tiny_patch16_224": "vit:ViT",
  "vit_small_patch16_224": "vit:ViT",
  "vit_base_patch16_224": "vit:ViT",
  "vit_large_patch16_224": "vit:ViT",
  "vit_base_patch16_clip_224": "vit:ViT",
  "vit_base_patch16_clip_quickgelu_224": "vit:ViT",
  "vit_small_patch14_dinov2": "vit:ViT",
  "vit_base_patch14_dinov2": "vit:ViT",
  "vit_small_patch14_reg4_dinov2": "vit:ViT",
  "vit_base_patch14_reg4_dinov2": "vit:ViT",
  "convnext_atto": "convnext:ConvNeXt",
  "convnext_nano": "convnext:ConvNeXt",
  "convnext_tiny": "convnext:ConvNeXt",
  "convnext_small": "convnext:ConvNeXt",
  "convnext_base": "convnext:ConvNeXt",
}
BACKBONES: tuple[str, ...] = tuple(_BACKBONES)
CLASSIFIERS: tuple[str, ...] = ("squashing_cosine", "linear")
# Mean and standard deviation of ImageNet's red, green and blue in 0..1.
IMAGENET: tuple[tuple[float, float, float], tuple[float, float, float]] = (
  (0.485, 0.456, 0.406),
  (0.229, 0.224, 0.225),
)
# Weights in a repository of a hub, and a name that stays the same there.
_REPOSITORY = re.compile(
  r"(?:hf:(?P<owner>[\w.-]+)/|timm:)(?P<name>[\w.-]+)(?:@(?P<revision>[^@\s]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# In the name of a backbone that cuts images into patches: their side, pixels.
_PATCH = re.compile(r"_patch(\d+)_")
# A ConvNeXt makes one pixel of as many in each direction.
_LEAST_CONVNEXT = 32


def create_model(
  name: str,
  num_classes: int,
  *,
  classifier: str = "squashing_cosine",
  alpha: float = 20.0,
  beta: float = 0.5,
  hidden: int = 512,
  dtype: Any = np.float32,
  axis_name: str | None = None,
  steady: bool = False,
  adapter_width: int = 0,
  image_size: int | None = None,
) -> "nn.Module":
  """A model whose parameters are "backbone", "hidden" and "classifier".

  Args:
    name: one of BACKBONES.
    num_classes: 1 or more.
    classifier: one of CLASSIFIERS.
    alpha: scale of the squashing-cosine logits, above 0.
    beta: squashing of the squashing-cosine classifier, above 0.
    hidden: width of the layer before the classifier; 0 for none, so that the
      backbone's features go to the classifier.
    dtype: type that backbone and hidden layer compute in; parameters, batch
      statistics, pooled features and logits are float32 in any case.
    axis_name: the mapped axis to sum batch statistics over, or None.
    steady: whether the backbone is in inference mode in training, too.
    adapter_width: of the adapters in a vision transformer's blocks, see
      vit.Adapter; 0 for none.
    image_size: see `create_backbone`.

  Returns:
    A module to be called with (images, train=, mask=None, image_rngs=None);
    see Network.

  Raises:
    ValueError: if the backbone or the classifier is unknown, or the backbone
      takes no adapters.

  Example:
    >>> import functools, jax
    >>> model = create_model("resnet10", num_classes=7)
    >>> init = functools.partial(model.init, train=False)
    >>> images = np.zeros((1, 224, 224, 3))
    >>> variables = jax.eval_shape(init, jax.random.key(0), images)
    >>> variables["params"]["classifier"]["kernel"].shape
    (512, 7)
  """
  from blt_jax.models import classifiers, network

  if classifier not in CLASSIFIERS:
    raise ValueError(
      f"classifier is {classifier!r}; expected one of {', '.join(CLASSIFIERS)}."
    )
  head: nn.Module
  if classifier == "linear":
    head = classifiers.Linear(num_classes)
  else:
    head = classifiers.SquashingCosine(num_classes, alpha=alpha, beta=beta)
  return network.Network(
    backbone=create_backbone(
      name,
      dtype=dtype,
      axis_name=axis_name,
      adapter_width=adapter_width,
      image_size=image_size,
    ),
    hidden=classifiers.Linear(hidden, dtype=dtype) if hidden else None,
    classifier=head,
    steady=steady,
  )


def create_backbone(
  name: str,
  *,
  dtype: Any = np.float32,
  axis_name: str | None = None,
  adapter_width: int = 0,
  image_size: int | None = None,
) -> "nn.Module":
  """The backbone alone: images to pooled features [n, d]; as Network.features.

  Args:
    name: one of BACKBONES.
    dtype: type of the computation; the features are float32.
    axis_name: the mapped axis to sum batch statistics over, or None.
    adapter_width: of the adapters in a vision transformer's blocks, see
      vit.Adapter; 0 for none.
    image_size: side of the images that the fresh position embeddings of a
      vision transformer are for, a multiple of its patch; None for those of its
      name. It takes others as well.

  Returns:
    A module.

  Raises:
    ValueError: if the name is unknown, or the backbone takes no adapters.
  """
  if name not in _BACKBONES:
    raise ValueError(
      f"backbone is {name!r}; expected one of {', '.join(BACKBONES)}."
    )
  module_name, _, class_name = _BACKBONES[name].partition(":")
  module = importlib.import_module(f"{__name__}.{module_name}")
  backbone = getattr(module, class_name)
  options = dict(module.CONFIGS[name])
  if adapter_width:
    if not takes_adapters(name):
      raise ValueError(
        f"backbone is {name!r}; expected a vision transformer, with adapters."
      )
    options["adapter_width"] = adapter_width
  if image_size and takes_adapters(name):
    options["native_size"] = image_size
  return backbone(**options, dtype=dtype, axis_name=axis_name)


def takes_adapters(name: str) -> bool:
  """Whether a backbone, one of BACKBONES, can have adapters."""
  return _BACKBONES[name] == "vit:ViT"


def fitting_sizes(name: str, size: int) -> tuple[int, ...]:
  """The nearest image sizes that a backbone takes: (size,) if it takes that.

  A vision transformer takes multiples of its patch, a ConvNeXt 32 pixels or
  more, as timm's do; the others take any size.

  Args:
    name: one of BACKBONES.
    size: side of the images, pixels, 1 or more.

  Returns:
    One or two sizes in rising order.
  """
  if name.startswith("convnext_"):
    return (max(size, _LEAST_CONVNEXT),)
  patch = _PATCH.search(name)
  step = int(patch[1]) if patch else 1
  below = size // step * step
  if below == size:
    return (size,)
  return (below, below + step) if below else (step,)


def expected_size(name: str, size: int) -> str:
  """What a backbone expects instead of images of `size`; "" if it takes them.

  Example:
    >>> expected_size("vit_tiny_patch16_224", 100)
    '96 or 112, multiples of the 16 pixels of a patch'
  """
  fitting = fitting_sizes(name, size)
  if fitting == (size,):
    return ""
  patch = _PATCH.search(name)
  if not patch:
    return f"{fitting[0]} or more"
  numbers = " or ".join(map(str, fitting))
  return f"{numbers}, multiples of the {patch[1]} pixels of a patch"


def repository(source: str) -> tuple[str, str] | None:
  """What `hf:OWNER/NAME[@REVISION]` or `timm:NAME[@REVISION]` names.

  Returns:
    (OWNER/NAME, revision or ""); None for the name of a file.

  Example:
    >>> repository("timm:resnet50.a1_in1k")
    ('timm/resnet50.a1_in1k', '')
  """
  found = _REPOSITORY.fullmatch(source)
  if not found:
    return None
  return f"{found['owner'] or 'timm'}/{found['name']}", found["revision"] or ""


def is_commit(revision: str) -> bool:
  """Whether a revision is a whole commit, which never changes."""
  return _COMMIT.fullmatch(revision) is not None


def is_settled(source: str) -> bool:
  """Whether weights are a file, or written as hf:OWNER/NAME@COMMIT."""
  found = repository(source)
  return found is None or (source.startswith("hf:") and is_commit(found[1]))
