"""The network and the augmentation of peer_pytorch.py, in PyTorch."""

import math
import random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import nn

# Blocks of each stage, filters of the first, whether the stem is the small one.
BACKBONES = {
  "small_resnet10": ((1, 1, 1, 1), 16, True),
  "resnet10": ((1, 1, 1, 1), 64, False),
  "resnet18": ((2, 2, 2, 2), 64, False),
  "resnet34": ((3, 4, 6, 3), 64, False),
}

_LUMA = (0.299, 0.587, 0.114)


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, inputs: int, filters: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(filters)
    self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(filters)
    self.downsample = None
    if stride != 1 or inputs != filters:
      self.downsample = nn.Sequential(
        nn.Conv2d(inputs, filters, 1, stride, bias=False),
        nn.BatchNorm2d(filters),
      )

  def forward(self, x):
    """[n, inputs, h, w] to [n, filters, h / stride, w / stride]."""
    shortcut = x if self.downsample is None else self.downsample(x)
    y = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
    y = self.bn2(self.conv2(y))
    return nn.functional.relu(y + shortcut, inplace=True)


class Network(nn.Module):
  """Backbone, hidden layer and classifier, with torchvision's names."""

  def __init__(self, settings: dict[str, Any], num_classes: int):
    super().__init__()
    if settings["backbone"] not in BACKBONES:
      raise ValueError(
        f"backbone {settings['backbone']}: the peer has {', '.join(BACKBONES)}"
      )
    sizes, filters, small = BACKBONES[settings["backbone"]]
    stem = (3, 1, 1) if small else (7, 2, 3)
    self.conv1 = nn.Conv2d(3, filters, *stem, bias=False)
    self.bn1 = nn.BatchNorm2d(filters)
    self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
    inputs = filters
    for stage, size in enumerate(sizes):
      outputs = filters * 2**stage
      blocks = [Block(inputs, outputs, 2 if stage else 1)]
      blocks += [Block(outputs, outputs, 1) for _ in range(size - 1)]
      self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
      inputs = outputs
    self.hidden = nn.Linear(inputs, settings["hidden"])
    self.cosine = settings["classifier"] == "squashing_cosine"
    self.classifier = nn.Linear(
      settings["hidden"], num_classes, bias=not self.cosine
    )
    self.alpha, self.beta = settings["alpha"], settings["beta"]

  def forward(self, x):
    """Logits, float32 [n, C], of normalised images [n, 3, h, w]."""
    x = self.pool(nn.functional.relu(self.bn1(self.conv1(x)), inplace=True))
    x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
    f = nn.functional.relu(self.hidden(x.mean((2, 3)))).float()
    if not self.cosine:
      return self.classifier(f).float()
    with torch.autocast(f.device.type, enabled=False):
      norm = f.norm(dim=1, keepdim=True).clamp_min(1e-12)
      directions = nn.functional.normalize(self.classifier.weight)
      return self.alpha * (f / (self.beta + norm)) @ directions.T


class OneByOne:
  """Augments images one after another with Pillow, as torchvision does."""

  def __init__(self, settings: dict[str, Any], device: torch.device):
    self.settings, self.device = settings, device
    self.draw = random.Random(0)
    self.mean = np.array(settings["mean"], np.float32)
    self.std = np.array(settings["std"], np.float32)

  def __call__(self, images: np.ndarray):
    """uint8 [n, h, w, 3] to normalised [n, 3, h, w] on the device."""
    prepared = [self.one(image) for image in images]
    return torch.stack(prepared).to(self.device)

  def one(self, pixels: np.ndarray):
    """One image, uint8 [h, w, 3] to float32 [3, h, w]."""
    settings, draw = self.settings, self.draw
    picture = Image.fromarray(pixels)
    if draw.random() < settings["flip"]:
      picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if settings["rotation"]:
      rotation = settings["rotation"]
      picture = picture.rotate(draw.uniform(-rotation, rotation))
    operations = [
      (ImageEnhance.Brightness, settings["brightness"]),
      (ImageEnhance.Contrast, settings["contrast"]),
      (ImageEnhance.Color, settings["saturation"]),
    ]
    draw.shuffle(operations)
    for operation, strength in operations:
      if strength:
        factor = draw.uniform(max(0, 1 - strength), 1 + strength)
        picture = operation(picture).enhance(factor)
    scaled = (np.asarray(picture, np.float32) / 255 - self.mean) / self.std
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


class Batched:
  """Augments a whole batch on the device."""

  def __init__(self, settings: dict[str, Any], device: torch.device):
    self.settings, self.device = settings, device
    shape = (1, 3, 1, 1)
    self.mean = torch.tensor(settings["mean"], device=device).view(shape)
    self.std = torch.tensor(settings["std"], device=device).view(shape)
    self.luma = torch.tensor(_LUMA, device=device).view(shape)

  @torch.no_grad()
  def __call__(self, images: np.ndarray):
    """uint8 [n, h, w, 3] to normalised [n, 3, h, w] on the device."""
    x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
    x = x.float() / 255
    if self.settings["flip"] or self.settings["rotation"]:
      x = self.flip_and_rotate(x)
    x = self.jitter(x)
    return (x - self.mean) / self.std

  def flip_and_rotate(self, x):
    """One nearest-neighbour sampling for both."""
    n = len(x)
    degrees = self.settings["rotation"] * self.uniform(n, -1.0, 1.0)
    angle = degrees * (math.pi / 180)
    flip = 1 - 2 * (self.uniform(n, 0.0, 1.0) < self.settings["flip"]).float()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [
      torch.stack([flip * cos, -flip * sin, zero], 1),
      torch.stack([sin, cos, zero], 1),
    ]
    grid = nn.functional.affine_grid(
      torch.stack(rows, 1), list(x.shape), align_corners=False
    )
    return nn.functional.grid_sample(
      x, grid, mode="nearest", align_corners=False
    )

  def jitter(self, x):
    """Brightness, contrast and saturation, in an order of each image's own."""
    names = ("brightness", "contrast", "saturation")
    strengths = [self.settings[name] for name in names]
    if not any(strengths):
      return x
    order = torch.rand(len(x), 3, device=self.device).argsort(1)
    high = 1 + torch.tensor(strengths, device=self.device)
    low = (2 - high).clamp_min(0)
    factors = low + (high - low) * torch.rand(len(x), 3, device=self.device)
    for turn in range(3):
      chosen = order[:, turn].view(-1, 1, 1, 1)
      factor = factors.gather(1, order[:, turn : turn + 1]).view(-1, 1, 1, 1)
      grey = (x * self.luma).sum(1, keepdim=True)
      reference = torch.where(chosen == 2, grey, 0.0)
      mean = grey.mean((2, 3), keepdim=True)
      reference = torch.where(chosen == 1, mean, reference)
      x = (factor * x + (1 - factor) * reference).clamp(0, 1)
    return x

  def uniform(self, count: int, low: float, high: float):
    """Random numbers on the device."""
    return low + (high - low) * torch.rand(count, device=self.device)
