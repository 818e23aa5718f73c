"""The step benchmark's problem in PyTorch, as its users would run it.

    pip install torch==2.13.0 numpy pillow      # an environment of its own
    .venv/bin/python -m benchmarks.step_time --save=FILE ...
    python -m benchmarks.peer_pytorch --problem=FILE --variant=release

does the work of our steps on the same weights, images, targets and confidences,
with nothing of blt_jax. Variants:

  release   as the authors' release works: eager, images to hallucinate from
            are prepared one by one with Pillow, finished images leave the batch
            each round, and every backward pass computes all weights' gradients
  best      what a good PyTorch engineer would do: channels_last, preparation of
            a whole batch on the device, frozen parameters in the ascent, a
            fused optimizer
  compiled  the same, and torch.compile

Left out of every variant, in its favour: reading, decoding and cropping. The
real images of a batch are prepared before the clock starts, as a loader would
do beside the step, and the time that takes is told apart ("prepare"). The
release's defects are left out, too: every image keeps its target and label.
`momentum` is the problem's; 1 is the release.
"""

import argparse
import json
import pathlib
import statistics
import time
from typing import Any

import torch
from torch import nn

from benchmarks import problem_file
from benchmarks.peer_network import Batched, Network, OneByOne

VARIANTS = ("release", "best", "compiled")


class Peer:
  """A variant's network and optimizer, and its steps."""

  def __init__(self, problem: problem_file.ProblemFile, variant: str):
    """Builds the network with the problem's weights.

    Args:
      problem: the problem.
      variant: one of VARIANTS.

    Raises:
      ValueError: for a problem that the peer can't solve.
    """
    self.settings, self.arrays = problem.settings, problem.arrays
    if self.settings["margin"]:
      raise ValueError("the peer knows no margin")
    self.release = variant == "release"
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    self.model = Network(self.settings, len(self.arrays["class_counts"]))
    self.weights = {
      name: torch.from_numpy(value) for name, value in problem.weights.items()
    }
    self.model.to(self.device)
    prepare = OneByOne if self.release else Batched
    self.prepare = prepare(self.settings, self.device)
    if not self.release:
      self.model.to(memory_format=torch.channels_last)
      torch.backends.cudnn.benchmark = True
      torch.backends.cuda.matmul.allow_tf32 = True
    self.optimizer = self._optimizer()
    self.train_logits = self.ascent_logits = self.model
    if variant == "compiled":
      self.train_logits = torch.compile(self.model, dynamic=True)
      self.ascent_logits = torch.compile(self.model, dynamic=True)
    self.reset()

  def _optimizer(self) -> torch.optim.Optimizer:
    head = list(self.model.classifier.parameters())
    ids = set(map(id, head))
    rest = [p for p in self.model.parameters() if id(p) not in ids]
    return torch.optim.SGD(
      [
        {"params": rest, "lr": self.settings["backbone_rate"]},
        {"params": head, "lr": self.settings["classifier_rate"]},
      ],
      momentum=self.settings["sgd_momentum"],
      weight_decay=self.settings["weight_decay"],
      fused=None if self.release else True,
    )

  def reset(self) -> None:
    """Takes the problem's weights again, as every step begins with them."""
    self.model.load_state_dict(self.weights)

  def images(self, pixels):
    """Augmented, normalised images in the variant's memory layout."""
    x = self.prepare(pixels)
    if self.release:
      return x
    return x.to(memory_format=torch.channels_last)

  def autocast(self):
    """The arithmetic of the problem."""
    enabled = self.settings["dtype"] == "bfloat16"
    return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

  def train(self, x, labels):
    """One update; returns the loss."""
    self.model.train()
    self.optimizer.zero_grad()
    with self.autocast():
      logits = self.train_logits(x)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    self.optimizer.step()
    return loss

  def train_blt(self, x, labels, row: int):
    """Hallucinates and makes one update; returns the numbers of updates."""
    used = self.arrays["used"][row]
    pixels = self.arrays["source_image"][row][used]
    if not len(pixels):
      self.train(x, labels)
      return torch.zeros(0)
    targets, confidences, extra_labels = (
      torch.from_numpy(self.arrays[name][row][used]).to(self.device)
      for name in ("target", "confidence", "source_label")
    )
    self.model.eval()
    self.model.requires_grad_(self.release)
    extra, updates = self.ascend(
      self.images(pixels), targets.long(), confidences
    )
    self.model.requires_grad_(True)
    labels = torch.cat([labels, extra_labels.long()])
    self.train(torch.cat([x, extra]), labels)
    return updates

  def ascend(self, images, targets, confidences, *, max_steps=None):
    """The gradient ascent; finished images leave the batch each round.

    Args:
      images: [n, 3, h, w], normalised.
      targets: int64 [n].
      confidences: float32 [n].
      max_steps: most updates; None takes the problem's.

    Returns:
      (images [n, 3, h, w], updates int64 [n]).
    """
    updates = torch.zeros(len(images), dtype=torch.long, device=self.device)
    active = torch.arange(len(images), device=self.device)
    x, velocity = images, torch.zeros_like(images)
    images = images.clone()
    if max_steps is None:
      max_steps = self.settings["max_steps"]
    for made in range(max_steps + 1):
      x = x.detach().requires_grad_()
      with self.autocast():
        logits = self.ascent_logits(x)
      chosen = logits.gather(1, targets[:, None])[:, 0]
      reached = logits.detach().softmax(1).gather(1, targets[:, None])[:, 0]
      left = (reached <= confidences).nonzero()[:, 0]
      if not len(left) or made == max_steps:
        break
      gradient = self.gradient(chosen[left].sum(), x)[left]
      velocity = self.settings["momentum"] * velocity[left] + gradient
      x = x.detach()[left] + self.settings["step_size"] * velocity
      active, targets = active[left], targets[left]
      confidences = confidences[left]
      images[active] = x
      updates[active] += 1
    return images, updates

  def gradient(self, total, x):
    """Gradient of a sum of logits; the release computes the weights' too."""
    if self.release:
      total.backward()
      return x.grad
    return torch.autograd.grad(total, x)[0]

  def warm_up(self) -> None:
    """Meets every size that an ascent can have, and every batch.

    Libraries choose, and compilers compile, when they see a new size.
    """
    if self.release and self.device.type == "cpu":
      return
    sources = self.arrays["source_image"]
    for size in range(1, sources.shape[1] + 1):
      x = self.images(sources[0][:size])
      targets = torch.zeros(size, dtype=torch.long, device=self.device)
      self.model.eval()
      self.model.requires_grad_(self.release)
      never = torch.full((size,), 2.0, device=self.device)
      self.ascend(x, targets, never, max_steps=1)
      self.model.requires_grad_(True)
    for row, labels in enumerate(self.arrays["label"]):
      x = self.images(self.arrays["image"][row])
      self.train_blt(x, torch.from_numpy(labels).long().to(self.device), row)
      self.reset()

  def synchronize(self) -> None:
    """Waits until the device has done its work."""
    if self.device.type == "cuda":
      torch.cuda.synchronize()


def logits_differ(peer: Peer) -> float:
  """Largest difference from our logits, without augmentation."""
  expected = torch.from_numpy(peer.arrays["logits"])
  pixels = torch.from_numpy(peer.arrays["image"][0][: len(expected)])
  mean, std = (
    torch.tensor(peer.settings[name]).view(1, 3, 1, 1)
    for name in ("mean", "std")
  )
  x = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
  peer.model.eval()
  with torch.no_grad(), peer.autocast():
    logits = peer.model(x.to(peer.device)).cpu()
  return float((logits - expected).abs().max())


def measure(peer: Peer, *, steps: int, warmup: int) -> dict[str, Any]:
  """Times plain and BLT steps in turn, with the names of step_time's report."""
  batches = []
  seconds: dict[str, list[float]] = {"prepare": [], "plain": [], "blt": []}
  for pixels, labels in zip(
    peer.arrays["image"], peer.arrays["label"], strict=True
  ):
    taken, x = _timed(peer, lambda pixels=pixels: peer.images(pixels))
    seconds["prepare"].append(taken)
    batches.append((x, torch.from_numpy(labels).long().to(peer.device)))
  peer.warm_up()
  updates, losses = [], []
  for number in range(-warmup, steps):
    row = number % len(batches)
    x, y = batches[row]
    peer.reset()
    plain, loss = _timed(peer, lambda x=x, y=y: peer.train(x, y))
    peer.reset()
    blt, made = _timed(
      peer, lambda x=x, y=y, row=row: peer.train_blt(x, y, row)
    )
    if number >= 0:
      seconds["plain"].append(plain)
      seconds["blt"].append(blt)
      losses.append(float(loss.detach()))
      updates.append(made.cpu().numpy())
  report: dict[str, Any] = {k: _times(v) for k, v in seconds.items()}
  report["plain"]["loss"] = losses[0]
  count = sum(map(len, updates))
  report["blt"] |= {
    "hallucinated": count / steps,
    "updates": float(sum(u.sum() for u in updates)) / max(count, 1),
    "largest_updates": statistics.mean(int(u.max(initial=0)) for u in updates),
  }
  return report


def _timed(peer: Peer, work) -> tuple[float, Any]:
  """(seconds, result) of some work."""
  peer.synchronize()
  start = time.perf_counter()
  result = work()
  peer.synchronize()
  return time.perf_counter() - start, result


def _times(seconds: list[float]) -> dict[str, Any]:
  low, middle, high = statistics.quantiles([*seconds, *seconds], n=4)
  return {"seconds": middle, "quartiles": [low, high]}


def main() -> None:
  """Measures a variant and writes what it found."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--problem", required=True)
  parser.add_argument("--variant", choices=VARIANTS, required=True)
  parser.add_argument("--steps", type=int, default=32)
  parser.add_argument("--warmup", type=int, default=3)
  parser.add_argument("--threads", type=int, default=0, help="0: as it likes")
  parser.add_argument("--json", type=pathlib.Path)
  options = parser.parse_args()
  if options.threads:
    torch.set_num_threads(options.threads)
  torch.manual_seed(0)
  peer = Peer(problem_file.load(options.problem), options.variant)
  report = {"variant": options.variant, "logits_differ": logits_differ(peer)}
  report |= measure(peer, steps=options.steps, warmup=options.warmup)
  report |= {
    "torch": torch.__version__,
    "threads": torch.get_num_threads(),
    "device": torch.cuda.get_device_name()
    if peer.device.type == "cuda"
    else "cpu",
  }
  text = json.dumps(report, indent=2)
  print(text)
  if options.json:
    options.json.write_text(text + "\n")


if __name__ == "__main__":
  main()
