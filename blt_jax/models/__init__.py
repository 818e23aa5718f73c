"""Models by name: backbone, hidden layer and classifier."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from blt_jax.models import classifiers, densenet, efficientnet, resnet

_BACKBONES: dict[str, Callable[..., nn.Module]] = {
  name: functools.partial(module, **config)
  for module, configs in (
    (resnet.ResNet, resnet.CONFIGS),
    (densenet.DenseNet, densenet.CONFIGS),
    (efficientnet.EfficientNet, efficientnet.CONFIGS),
  )
  for name, config in configs.items()
}
BACKBONES: tuple[str, ...] = tuple(_BACKBONES)
CLASSIFIERS: tuple[str, ...] = ("squashing_cosine", "linear")


class Network(nn.Module):
  """Backbone -> global average pool -> Dense -> ReLU -> classifier.

  Attributes:
    backbone: images to pooled features: (images, train=, mask=, image_rngs=).
    hidden: the layer between features and classifier.
    classifier: outputs of the hidden layer to logits.
  """

  backbone: nn.Module
  hidden: nn.Module
  classifier: nn.Module

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
  ) -> jax.Array:
    """Logits of the images.

    Args:
      images: float [n, h, w, 3], normalised.
      train: normalise by the batch and update the running statistics
        (collection "batch_stats", to be passed as mutable).
      mask: bool or float [n]; 0 keeps an image out of the batch statistics.
      image_rngs: PRNG keys [n], one an image, for what the backbone drops at
        random in training; EfficientNet needs them there, no other backbone
        uses them. Inference ignores them.

    Returns:
      float32 [n, num_classes].
    """
    features = self.features(
      images, train=train, mask=mask, image_rngs=image_rngs
    )
    return self.classifier(nn.relu(self.hidden(features)))

  def features(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
  ) -> jax.Array:
    """The backbone's pooled features, float32 [n, d]; as `__call__`."""
    return self.backbone(images, train=train, mask=mask, image_rngs=image_rngs)


def create_model(
  name: str,
  num_classes: int,
  *,
  classifier: str = "squashing_cosine",
  alpha: float = 20.0,
  beta: float = 0.5,
  hidden: int = 512,
  dtype: jnp.dtype = jnp.float32,
  axis_name: str | None = None,
) -> nn.Module:
  """A model whose parameters are "backbone", "hidden" and "classifier".

  Args:
    name: one of BACKBONES.
    num_classes: 1 or more.
    classifier: one of CLASSIFIERS.
    alpha: scale of the squashing-cosine logits, above 0.
    beta: squashing of the squashing-cosine classifier, above 0.
    hidden: width of the layer before the classifier, 1 or more.
    dtype: what backbone and hidden layer compute in; parameters, batch
      statistics, pooled features and logits are float32 in any case.
    axis_name: the mapped axis to sum batch statistics over, or None.

  Returns:
    A module to be called with (images, train=, mask=None, image_rngs=None);
    see Network.

  Raises:
    ValueError: if the backbone or the classifier is unknown.

  Example:
    >>> model = create_model("resnet10", num_classes=7)
    >>> images = jnp.zeros((1, 224, 224, 3))
    >>> init = functools.partial(model.init, train=False)
    >>> variables = jax.eval_shape(init, jax.random.key(0), images)
    >>> variables["params"]["classifier"]["kernel"].shape
    (512, 7)
  """
  if classifier not in CLASSIFIERS:
    raise ValueError(
      f"classifier is {classifier!r}, allowed: {', '.join(CLASSIFIERS)}"
    )
  head: nn.Module
  if classifier == "linear":
    head = classifiers.Linear(num_classes)
  else:
    head = classifiers.SquashingCosine(num_classes, alpha=alpha, beta=beta)
  return Network(
    backbone=create_backbone(name, dtype=dtype, axis_name=axis_name),
    hidden=classifiers.Linear(hidden, dtype=dtype),
    classifier=head,
  )


def create_backbone(
  name: str,
  *,
  dtype: jnp.dtype = jnp.float32,
  axis_name: str | None = None,
) -> nn.Module:
  """The backbone alone: images to pooled features [n, d]; as Network.features.

  Args:
    name: one of BACKBONES.
    dtype: what it computes in; the features are float32.
    axis_name: the mapped axis to sum batch statistics over, or None.

  Returns:
    A module.

  Raises:
    ValueError: if the name is unknown.
  """
  if name not in BACKBONES:
    raise ValueError(f"backbone is {name!r}, allowed: {', '.join(BACKBONES)}")
  return _BACKBONES[name](dtype=dtype, axis_name=axis_name)
