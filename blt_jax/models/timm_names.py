"""timm's names of tensors as torchvision's.

timm calls a ResNet's and a DenseNet's tensors as torchvision does, but for
their last layer; EfficientNet's have names of their own.
"""

import re

# timm's "blocks.S.B.": torchvision has "features.S+1.B.block.".
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
# Parts of a block that expands (torchvision's MBConv with 4 of them) and of the
# first one, which does not (3 of them).
_EXPANDING = {
  "conv_pw": "0.0",
  "bn1": "0.1",
  "conv_dw": "1.0",
  "bn2": "1.1",
  "se.conv_reduce": "2.fc1",
  "se.conv_expand": "2.fc2",
  "conv_pwl": "3.0",
  "bn3": "3.1",
}
_FIRST = {
  "conv_dw": "0.0",
  "bn1": "0.1",
  "se.conv_reduce": "1.fc1",
  "se.conv_expand": "1.fc2",
  "conv_pw": "2.0",
  "bn2": "2.1",
}
_OUTER = {
  "conv_stem": "features.0.0",
  "bn1": "features.0.1",
  "conv_head": "features.8.0",
  "bn2": "features.8.1",
}


def to_torchvision(name: str, key: str) -> str:
  """Torchvision's name of a tensor of timm's.

  Args:
    name: of the backbone, one of blt_jax.models.BACKBONES.
    key: of the tensor; torchvision's own names are returned as they are.
  """
  if not name.startswith("efficientnet"):
    return key
  module, _, leaf = key.rpartition(".")
  if module in _OUTER:
    return f"{_OUTER[module]}.{leaf}"
  block = _BLOCK.fullmatch(module)
  if not block:
    return key
  stage, number, part = int(block[1]), block[2], block[3]
  parts = _EXPANDING if stage else _FIRST
  if part not in parts:
    return key
  return f"features.{stage + 1}.{number}.block.{parts[part]}.{leaf}"
