"""The small CIFAR-10-LT protocol in PyTorch: a second opinion on our numbers.

    .venv/bin/python -m benchmarks.cifar10_lists --root=DIR --protocol=LISTS
    pip install torch==2.13.0 numpy pillow      # an environment of its own
    python benchmarks/pytorch_small_cifar10_lt.py --root=DIR --lists=LISTS \
        --method=neither --seed=0

LISTS names the very images that `small_cifar10_lt.py` trains, validates and
tests on. This program trains on them as the paper does (methods neither and
blt), with PyTorch and Pillow and without blt_jax. So it shows what an
independent implementation learns from the same images.
"""

import argparse
import json
import math
import pathlib
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import nn

BILINEAR = Image.Resampling.BILINEAR
NUM_CLASSES, BATCH, SIZE, RESIZE = 10, 128, 32, 36
MANY_ABOVE, FEW_UP_TO = 100, 20
BETA, GAMMA, P, STEP, MAX_UPDATES = 0.5, 0.9, 0.25, 0.7, 15
STAGES = {  # Epochs, epochs after which the rates drop, rate of the backbone.
  1: (35, (25, 32), 0.1),
  2: (55, (23, 38, 52), 0.01),
}


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, inputs: int, filters: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(filters)
    self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(filters)
    self.shortcut = nn.Sequential()
    if stride != 1 or inputs != filters:
      self.shortcut = nn.Sequential(
        nn.Conv2d(inputs, filters, 1, stride, bias=False),
        nn.BatchNorm2d(filters),
      )

  def forward(self, x):
    """[n, inputs, h, w] to [n, filters, h / stride, w / stride]."""
    y = torch.relu(self.bn1(self.conv1(x)))
    return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Cosine(nn.Module):
  """The squashing-cosine classifier."""

  def __init__(self, alpha: float):
    super().__init__()
    self.alpha = alpha
    bound = 1 / math.sqrt(512)
    self.weight = nn.Parameter(
      torch.empty(NUM_CLASSES, 512).uniform_(-bound, bound)
    )

  def forward(self, f):
    """Features [n, 512] to logits."""
    norm = f.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return (
      self.alpha * f / (BETA + norm) @ nn.functional.normalize(self.weight).T
    )


def new_backbone() -> nn.Sequential:
  """small_resnet10 and the 512-wide layer."""
  backbone = nn.Sequential(
    nn.Conv2d(3, 16, 3, 1, 1, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    Block(16, 16, 1),
    Block(16, 32, 2),
    Block(32, 64, 2),
    Block(64, 128, 2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(128, 512),
    nn.ReLU(),
  )
  for module in backbone.modules():
    if isinstance(module, nn.Conv2d):
      nn.init.kaiming_normal_(module.weight, mode="fan_out")
  return backbone


class Images:
  """A split in memory: uint8 images [n, 32, 32, 3] and labels [n]."""

  def __init__(self, root: pathlib.Path, file: pathlib.Path):
    lines = file.read_text().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines]
    self.pixels = np.stack(
      [np.asarray(Image.open(root / path)) for path, _ in pairs]
    )
    self.labels = np.array([int(label) for _, label in pairs])

  def __len__(self) -> int:
    return len(self.labels)

  def augmented(self, rows, draw: random.Random, scale: float = 0.08):
    """Normalised, augmented images of some rows: [len(rows), 3, 32, 32]."""
    pixels = [augment(self.pixels[row], draw, scale) for row in rows]
    return normalize(np.stack(pixels))

  def evaluation(self, first: int, count: int):
    """Normalised images as they are evaluated."""
    low = (RESIZE - SIZE) // 2
    resized = [
      np.asarray(Image.fromarray(pixels).resize((RESIZE, RESIZE), BILINEAR))
      for pixels in self.pixels[first : first + count]
    ]
    return normalize(np.stack(resized)[:, low:, low:][:, :SIZE, :SIZE])


class Trainer:
  """Both stages of one run."""

  def __init__(self, splits: dict[str, Images], options):
    torch.manual_seed(options.seed)
    self.rng = np.random.default_rng(options.seed)
    self.draw = random.Random(options.seed)
    self.splits, self.options = splits, options
    self.train = splits["train"]
    self.counts = np.bincount(self.train.labels, minlength=NUM_CLASSES)
    self.backbone, self.classifier = new_backbone(), Cosine(options.alpha)
    self.confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)

  def logits(self, x):
    """Normalised images to logits."""
    return self.classifier(self.backbone(x))

  def run(self) -> dict[str, float]:
    """Trains both stages; returns the test accuracies of the last epoch."""
    for number in STAGES:
      if number == 2:
        self.classifier = Cosine(self.options.alpha)
      self.stage(number)
    return accuracies(self.evaluate("test"), self.counts)

  def stage(self, number: int) -> None:
    """Trains one stage."""
    epochs, drops, rate = STAGES[number]
    optimizer = torch.optim.SGD(
      [
        {"params": self.backbone.parameters(), "lr": rate},
        {"params": self.classifier.parameters(), "lr": 0.1},
      ],
      momentum=0.9,
      weight_decay=5e-4,
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops)
    for epoch in range(1, epochs + 1):
      perturb = self.options.method == "blt" and number == 2 and epoch > 1
      loss, ascents = self.epoch(optimizer, number, perturb)
      schedule.step()
      self.confusion = self.evaluate("validation")
      print(
        f"stage {number} epoch {epoch} loss {loss:.3f}",
        accuracies(self.confusion, self.counts),
        *summary(ascents),
        flush=True,
      )

  def epoch(self, optimizer, number: int, perturb: bool):
    """One epoch; returns its mean loss, (updates, reached) of each ascent."""
    size, losses = len(self.train), []
    ascents: list[tuple[int, float]] = []
    order = self.rng.permutation(size)
    if number == 2:
      weights = 1 / self.counts[self.train.labels] ** GAMMA
      order = self.rng.choice(size, size, p=weights / weights.sum())
    for step in range(size // BATCH):
      rows = order[step * BATCH : (step + 1) * BATCH]
      x, y = self.train.augmented(rows, self.draw), self.train.labels[rows]
      if perturb:
        made, labels = self.hallucinate(y, ascents)
        x, y = torch.cat([x, *made]), np.concatenate([y, labels])
      loss = nn.functional.cross_entropy(self.logits(x), torch.as_tensor(y))
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()
      losses.append(loss.item())
    return np.mean(losses), ascents

  def hallucinate(self, labels: np.ndarray, ascents: list):
    """Perturbs one image after another, for a share of the tail's draws."""
    drawn = [int(y) for y in labels if self.counts[y] <= FEW_UP_TO]
    made, kept = [], []
    self.backbone.eval()
    for y in self.draw.sample(drawn, math.ceil(P * len(drawn))):
      row = np.where(np.arange(NUM_CLASSES) == y, 0, self.confusion[y])
      if row.sum():
        target = self.rng.choice(NUM_CLASSES, p=row / row.sum())
        source = self.rng.choice(np.flatnonzero(self.train.labels == y))
        x = self.train.augmented([source], self.draw, 0.3)
        made.append(self.ascend(x, target, ascents))
        kept.append(y)
    self.backbone.train()
    return made, np.array(kept, int)

  def ascend(self, x, target: int, ascents: list):
    """The gradient ascent on one image."""
    confidence = self.draw.uniform(0.15, 0.25)
    for updates in range(MAX_UPDATES + 1):
      x.requires_grad_(True)
      logits = self.logits(x)
      reached = bool(logits.softmax(1)[0, target] > confidence)
      if reached or updates == MAX_UPDATES:
        ascents.append((updates, reached))
        return x.detach()
      (gradient,) = torch.autograd.grad(logits[0, target], x)
      x = (x + STEP * gradient).detach()
    raise AssertionError

  def evaluate(self, split: str) -> np.ndarray:
    """The confusion matrix [true, predicted] of a split."""
    images = self.splits[split]
    self.backbone.eval()
    with torch.no_grad():
      predicted = np.concatenate(
        [
          self.logits(images.evaluation(first, 500)).argmax(1).numpy()
          for first in range(0, len(images), 500)
        ]
      )
    self.backbone.train()
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    np.add.at(confusion, (images.labels, predicted), 1)
    return confusion


def summary(ascents: list) -> list[str]:
  """Number of the ascents of an epoch, their mean updates, share reached."""
  if not ascents:
    return []
  updates, reached = np.mean(ascents, axis=0)
  return [f"{len(ascents)} images {updates:.1f} updates {reached:.2f} reached"]


def accuracies(confusion: np.ndarray, counts: np.ndarray) -> dict[str, float]:
  """Means of per-class accuracies by shot group, in percent."""
  each = 100 * confusion.diagonal() / confusion.sum(1)
  groups = {
    "many": counts > MANY_ABOVE,
    "medium": (counts <= MANY_ABOVE) & (counts > FEW_UP_TO),
    "few": counts <= FEW_UP_TO,
    "overall": counts > 0,
  }
  return {k: round(float(each[v].mean()), 1) for k, v in groups.items()}


def augment(pixels: np.ndarray, draw: random.Random, scale: float):
  """Crop, flip, rotation and colour jitter, torchvision's chain on Pillow."""
  height, width = pixels.shape[:2]
  for _ in range(10):
    area = height * width * draw.uniform(scale, 1)
    ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      x, y = draw.randint(0, width - w), draw.randint(0, height - h)
      break
  else:
    x, y, w, h = 0, 0, width, height
  picture = Image.fromarray(pixels).crop((x, y, x + w, y + h))
  picture = picture.resize((SIZE, SIZE), BILINEAR)
  if draw.random() < 0.5:
    picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  picture = picture.rotate(draw.uniform(-10, 10))
  operations = [
    ImageEnhance.Brightness,
    ImageEnhance.Contrast,
    ImageEnhance.Color,
  ]
  draw.shuffle(operations)
  for operation in operations:
    picture = operation(picture).enhance(draw.uniform(0.6, 1.4))
  return np.asarray(picture)


def normalize(pixels: np.ndarray):
  """uint8 [n, h, w, 3] to float32 [n, 3, h, w], with ImageNet's moments."""
  mean = np.array([0.485, 0.456, 0.406], np.float32)
  std = np.array([0.229, 0.224, 0.225], np.float32)
  scaled = (pixels.astype(np.float32) / 255 - mean) / std
  return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def main() -> None:
  """Trains a run and prints its test accuracies."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--root", type=pathlib.Path, required=True)
  parser.add_argument("--lists", type=pathlib.Path, required=True)
  parser.add_argument("--method", choices=("neither", "blt"), required=True)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--alpha", type=float, default=20.0)
  parser.add_argument("--output", type=pathlib.Path, help="JSON file to write")
  options = parser.parse_args()
  torch.set_num_threads(1)
  splits = {
    part: Images(options.root, options.lists / f"{part}.txt")
    for part in ("train", "validation", "test")
  }
  result = Trainer(splits, options).run()
  print(options.method, options.seed, "last epoch, test:", result)
  if options.output:
    options.output.write_text(json.dumps(result))


if __name__ == "__main__":
  main()
