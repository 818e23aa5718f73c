"""A whole network: backbone, hidden layer and classifier."""

from typing import Any

import flax.linen as nn
import jax

from blt_jax.models import efficientnet


class Network(nn.Module):
  """Backbone -> pooled features -> Dense -> ReLU -> classifier.

  Without a hidden layer the pooled features go to the classifier as they are.

  Attributes:
    backbone: images to pooled features: (images, train=, mask=); an
      EfficientNet is given image_rngs as well.
    hidden: the layer between features and classifier, or None.
    classifier: outputs of the hidden layer, or features, to logits.
    steady: whether the backbone is in inference mode in training, too: it
      normalises by running statistics, which stay as they are, and drops
      nothing. For backbones that are not trained as a whole.
  """

  backbone: nn.Module
  hidden: nn.Module | None
  classifier: nn.Module
  steady: bool = False

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
        (collection "batch_stats", to be passed as mutable; a vision transformer
        has none).
      mask: bool or float [n]; 0 keeps an image out of the batch statistics.
      image_rngs: PRNG keys [n], one an image, for what EfficientNet drops at
        random in training. The other backbones and inference need none.

    Returns:
      float32 [n, num_classes].
    """
    inputs = self.inputs(images, train=train, mask=mask, image_rngs=image_rngs)
    return self.classifier(inputs)

  def inputs(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
  ) -> jax.Array:
    """What the classifier takes, [n, d]; arguments as in `__call__`."""
    features = self.features(
      images, train=train, mask=mask, image_rngs=image_rngs
    )
    if self.hidden is None:
      return features
    return nn.relu(self.hidden(features))

  def features(
    self,
    images: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None = None,
    image_rngs: jax.Array | None = None,
  ) -> jax.Array:
    """The backbone's pooled features, float32 [n, d]; as `__call__`."""
    options: dict[str, Any] = {}
    if isinstance(self.backbone, efficientnet.EfficientNet):
      options["image_rngs"] = image_rngs
    train = train and not self.steady
    return self.backbone(images, train=train, mask=mask, **options)
