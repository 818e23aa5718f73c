"""ResNets in PyTorch, for where torchvision is not installed."""

import torch
from torch import nn


def make(
  *,
  stage_sizes: tuple[int, ...],
  classes: int,
  bottleneck: bool = False,
  filters: int = 64,
  small_stem: bool = False,
) -> nn.Module:
  """The network that `blt_jax.models.resnet` makes, and a linear classifier."""
  stem = [_conv(3, filters, 3 if small_stem else 7, 1 if small_stem else 2)]
  if not small_stem:
    stem.append(nn.MaxPool2d(3, 2, 1))
  block: type[nn.Module] = Bottleneck if bottleneck else BasicBlock
  blocks, inputs = [], filters
  for stage, size in enumerate(stage_sizes):
    for index in range(size):
      outputs = filters * 2**stage * (4 if bottleneck else 1)
      stride = 2 if stage and not index else 1
      blocks.append(block(inputs, outputs, stride))
      inputs = outputs
  pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
  return nn.Sequential(*stem, *blocks, pool, nn.Linear(inputs, classes))


def _conv(
  inputs: int, outputs: int, size: int, stride: int, *, relu: bool = True
) -> nn.Sequential:
  layers: list[nn.Module] = [
    nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
    nn.BatchNorm2d(outputs),
  ]
  return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class _Block(nn.Module):
  """Convolutions and a shortcut."""

  def __init__(self, inner: nn.Module, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.inner = inner
    self.shortcut: nn.Module = nn.Identity()
    if stride != 1 or inputs != outputs:
      self.shortcut = _conv(inputs, outputs, 1, stride, relu=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
    return torch.relu(self.inner(x) + self.shortcut(x))


class BasicBlock(_Block):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    """A block of so many channels."""
    inner = nn.Sequential(
      _conv(inputs, outputs, 3, stride),
      _conv(outputs, outputs, 3, 1, relu=False),
    )
    super().__init__(inner, inputs, outputs, stride)


class Bottleneck(_Block):
  """1x1, 3x3 (with the stride) and 1x1 convolutions and a shortcut."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    """A block of so many channels; a quarter of them inside."""
    inner = nn.Sequential(
      _conv(inputs, outputs // 4, 1, 1),
      _conv(outputs // 4, outputs // 4, 3, stride),
      _conv(outputs // 4, outputs, 1, 1, relu=False),
    )
    super().__init__(inner, inputs, outputs, stride)
