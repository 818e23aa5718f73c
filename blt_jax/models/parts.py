"""Which parameters of a network are trained, and which stay as they are.

The classifier is trained always, and the hidden layer, where there is one. Of
the backbone, by `train`:

    all               everything
    classifier        nothing
    norms_and_biases  scales and biases of normalisations, and all biases
    adapters          the adapters, see vit.py
    last:N            the last N blocks and what is behind them, see blocks.py
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from blt_jax.models import blocks

# The name of a module in a block of a vision transformer.
ADAPTER = "adapter"

# The parameters of normalisations, and biases.
_SMALL = ("scale", "bias")


def adapter_width(backbone: str, num_classes: int) -> int:
  """The width of adapters in LIFT: 2^floor(log2(C / (2 L))), at least 1.

  With L blocks, all adapters together then have about as many parameters as a
  classifier of C classes (Shi et al. 2024, arXiv:2309.10019).

  Args:
    backbone: a vision transformer, one of blt_jax.models.BACKBONES.
    num_classes: C, 1 or more.

  Example:
    >>> adapter_width("vit_base_patch16_clip_224", 1000)
    32
  """
  ratio = num_classes // (2 * blocks.num_blocks(backbone))
  return 1 << max(ratio.bit_length() - 1, 0)


def split(
  backbone: str, params: Mapping[str, Any], *, train: str
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Parts a network's parameters into those trained and those that stay.

  Args:
    backbone: one of blt_jax.models.BACKBONES.
    params: "params" of a model of `models.create_model`.
    train: what is trained, see above; N up to `blocks.num_blocks`.

  Returns:
    (trained, frozen), trees whose leaves have the paths of `params`; {} for
    none.

  Example:
    >>> params = {
    ...   "backbone": {"conv1": {"kernel": 1}, "bn1": {"scale": 2}},
    ...   "classifier": {"kernel": 3},
    ... }
    >>> split("resnet10", params, train="norms_and_biases")[1]
    {'backbone': {'conv1': {'kernel': 1}}}
  """
  if train == "all":
    return dict(params), {}
  kind, _, count = train.partition(":")
  # The depth of the first block that is trained.
  first = blocks.num_blocks(backbone) + 1 - int(count or 0)

  def is_trained(path: tuple[str, ...]) -> bool:
    if path[0] != "backbone":
      return True
    if kind == "last":
      return blocks.depth_of(backbone, path) >= first
    if kind == "norms_and_biases":
      return path[-1] in _SMALL
    return kind == "adapters" and ADAPTER in path

  flat = traverse_util.flatten_dict(dict(params))
  trained = {path: flat[path] for path in flat if is_trained(path)}
  frozen = {path: flat[path] for path in flat if path not in trained}
  return (
    traverse_util.unflatten_dict(trained),
    traverse_util.unflatten_dict(frozen),
  )
