"""The small CIFAR-10-LT protocol in PyTorch: a second opinion on our numbers.

    .venv/bin/python -m benchmarks.pytorch_small_cifar10_lt --root=DIR \
        --write_lists=runs/lists
    pip install torch==2.13.0 numpy pillow      # an environment of its own
    python benchmarks/pytorch_small_cifar10_lt.py --root=DIR \
        --lists=runs/lists --method=neither --seed=0

The first command writes down the images that `small_cifar10_lt.py` trains,
validates and tests on; the second trains on them with PyTorch, Pillow and
nothing of blt_jax: what is learnt from the same images by an independent
implementation of algorithm.md (methods neither and blt, alpha 20, momentum 0).
"""

import argparse
import json
import math
import pathlib
import random

import numpy as np

MANY_ABOVE, FEW_UP_TO = 100, 20
NUM_CLASSES, BATCH = 10, 128


def main() -> None:
  """Writes the lists or trains on them."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--root", required=True, help="folder of the images")
  parser.add_argument("--write_lists", help="folder to write the splits to")
  parser.add_argument("--split_seed", type=int, default=0)
  parser.add_argument("--lists", help="folder with the splits")
  parser.add_argument("--method", default="neither", help="neither or blt")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--alpha", type=float, default=20.0)
  parser.add_argument("--output", help="JSON file of the results")
  options = parser.parse_args()
  if options.write_lists:
    write_lists(options)
  else:
    train(options)


def write_lists(options) -> None:
  """The splits of `small_cifar10_lt.py` as lists."""
  from blt_jax.data.sources import load_image_lists

  root = pathlib.Path(options.root)
  dataset = load_image_lists(
    str(root),
    str(root / "train.txt"),
    test_list=str(root / "test.txt"),
    profile="exponential",
    max_per_class=1000,
    imbalance=100.0,
    validation_per_class=50,
    split_seed=options.split_seed,
  )
  folder = pathlib.Path(options.write_lists)
  folder.mkdir(parents=True, exist_ok=True)
  for part in ("train", "validation", "test"):
    split = getattr(dataset, part)
    lines = [
      f"{pathlib.Path(str(path)).relative_to(root).as_posix()} {label}\n"
      for path, label in zip(split.paths, split.labels, strict=True)
    ]
    (folder / f"{part}.txt").write_text("".join(lines))


def train(options) -> None:
  """Both stages, then the test images."""
  import torch
  from torch import nn
  from torch.nn import functional as F

  torch.manual_seed(options.seed)
  torch.set_num_threads(1)
  rng = np.random.default_rng(options.seed)
  draw = random.Random(options.seed)
  images, labels = {}, {}
  for part in ("train", "validation", "test"):
    images[part], labels[part] = read_list(options, part)
  counts = np.bincount(labels["train"], minlength=NUM_CLASSES)
  tail = counts <= FEW_UP_TO
  members = [np.flatnonzero(labels["train"] == c) for c in range(NUM_CLASSES)]

  class Block(nn.Module):
    def __init__(self, inputs, filters, stride):
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
      y = F.relu(self.bn1(self.conv1(x)))
      return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

  class Cosine(nn.Module):
    def __init__(self):
      super().__init__()
      bound = 1 / math.sqrt(512)
      self.weight = nn.Parameter(
        torch.empty(NUM_CLASSES, 512).uniform_(-bound, bound)
      )

    def forward(self, f):
      norm = f.norm(dim=1, keepdim=True).clamp_min(1e-12)
      return (options.alpha * f / (0.5 + norm)) @ F.normalize(self.weight).T

  def new_backbone():
    layers = [
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
    ]
    backbone = nn.Sequential(*layers)
    for module in backbone.modules():
      if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return backbone

  def batch_of(rows, scale=0.08):
    arrays = [augment(images["train"][row], draw, scale) for row in rows]
    return torch.from_numpy(normalize(np.stack(arrays)))

  def predict(backbone, classifier, part):
    backbone.eval()
    found = []
    with torch.no_grad():
      for first in range(0, len(labels[part]), 500):
        x = torch.from_numpy(normalize(images[part][first : first + 500]))
        found.append(classifier(backbone(x)).argmax(1).numpy())
    backbone.train()
    predicted = np.concatenate(found)
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    np.add.at(confusion, (labels[part], predicted), 1)
    return confusion

  def hallucinate(backbone, classifier, rows, confusion, statistics):
    """Perturbs one image after another, as the text has it."""
    drawn = [int(y) for y in labels["train"][rows] if tail[y]]
    chosen = draw.sample(drawn, math.ceil(0.25 * len(drawn)))
    made, kept = [], []
    backbone.eval()
    for y in chosen:
      row = confusion[y].copy()
      row[y] = 0
      if not row.sum():
        continue
      target = rng.choice(NUM_CLASSES, p=row / row.sum())
      x = batch_of([rng.choice(members[y])], scale=0.3)
      threshold = draw.uniform(0.15, 0.25)
      for update in range(16):
        x.requires_grad_(True)
        logits = classifier(backbone(x))
        done = bool(logits.softmax(1)[0, target] > threshold)
        if done or update == 15:
          break
        (gradient,) = torch.autograd.grad(logits[0, target], x)
        x = (x + 0.7 * gradient).detach()
      statistics.append((update, done))
      made.append(x.detach())
      kept.append(y)
    backbone.train()
    return made, kept

  def stage(backbone, classifier, number, confusion):
    epochs, drops = ((35, (25, 32)), (55, (23, 38, 52)))[number - 1]
    rate = (0.1, 0.01)[number - 1]
    optimizer = torch.optim.SGD(
      [
        {"params": backbone.parameters(), "lr": rate},
        {"params": classifier.parameters(), "lr": 0.1},
      ],
      momentum=0.9,
      weight_decay=5e-4,
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops)
    size = len(labels["train"])
    weights = 1 / counts[labels["train"]] ** 0.9
    for epoch in range(1, epochs + 1):
      statistics, total = [], 0.0
      order = rng.permutation(size)
      if number == 2:
        order = rng.choice(size, size, p=weights / weights.sum())
      for step in range(size // BATCH):
        rows = order[step * BATCH : (step + 1) * BATCH]
        x, y = batch_of(rows), list(labels["train"][rows])
        if options.method == "blt" and number == 2 and epoch > 1:
          made, kept = hallucinate(
            backbone, classifier, rows, confusion, statistics
          )
          x, y = torch.cat([x, *made]), y + kept
        loss = F.cross_entropy(classifier(backbone(x)), torch.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
      schedule.step()
      confusion = predict(backbone, classifier, "validation")
      line = f"stage {number} epoch {epoch} loss {total / (step + 1):.3f}"
      print(line, accuracies(confusion, counts), *summary(statistics))
    return confusion

  backbone, classifier = new_backbone(), Cosine()
  confusion = stage(backbone, classifier, 1, None)
  classifier = Cosine()
  stage(backbone, classifier, 2, confusion)
  result = accuracies(predict(backbone, classifier, "test"), counts)
  print(options.method, options.seed, "last epoch, test:", result)
  if options.output:
    pathlib.Path(options.output).write_text(json.dumps(result))


def summary(statistics) -> list[str]:
  """What the ascents of an epoch came to."""
  if not statistics:
    return []
  updates, reached = np.mean(statistics, axis=0)
  return [f"{len(statistics)} images, {updates:.1f} updates, {reached:.2f}"]


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


def read_list(options, part: str) -> tuple[np.ndarray, np.ndarray]:
  """uint8 images [n, 32, 32, 3] and labels [n] of a split."""
  from PIL import Image

  lines = (pathlib.Path(options.lists) / f"{part}.txt").read_text().split("\n")
  paths, labels = zip(*(line.rsplit(" ", 1) for line in lines if line))
  root = pathlib.Path(options.root)
  return (
    np.stack([np.asarray(Image.open(root / path)) for path in paths]),
    np.array([int(label) for label in labels]),
  )


def augment(image: np.ndarray, draw: random.Random, scale: float):
  """Crop, flip, rotation and colour jitter, as torchvision does with Pillow."""
  from PIL import Image, ImageEnhance

  height, width = image.shape[:2]
  for _ in range(10):
    area = height * width * draw.uniform(scale, 1)
    ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      x, y = draw.randint(0, width - w), draw.randint(0, height - h)
      break
  else:
    x, y, w, h = 0, 0, width, height
  picture = Image.fromarray(image).crop((x, y, x + w, y + h))
  picture = picture.resize((32, 32), Image.Resampling.BILINEAR)
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


def normalize(images: np.ndarray) -> np.ndarray:
  """uint8 [n, h, w, 3] to float32 [n, 3, h, w], with ImageNet's moments."""
  mean = np.array([0.485, 0.456, 0.406], np.float32)
  std = np.array([0.229, 0.224, 0.225], np.float32)
  scaled = (images.astype(np.float32) / 255 - mean) / std
  return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


if __name__ == "__main__":
  main()
