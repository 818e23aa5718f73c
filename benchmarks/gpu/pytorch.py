"""Part f: a plain step in PyTorch beside those of parts a and e.

The same images, loss and optimizer; images are normalised and on the device
already, and are not augmented, as in the steps "without augmentation" of ours.
"""

import functools
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.gpu import setup, steps, timing
from benchmarks.gpu.rows import LeftOutError, Row
from benchmarks.gpu.setup import Setup

_CLASSES = 1000


def rows(given: Setup) -> Iterator[Row]:
  """A row for each network and kind of arithmetic."""
  if importlib.util.find_spec("torch") is None:
    raise LeftOutError("PyTorch is not installed; expected the package torch.")
  chosen = [(given.backbone, name) for name in setup.ARITHMETIC]
  if not given.tiny:
    chosen += [
      (backbone, name)
      for name in ("bfloat16", "default")
      for backbone in steps.NETWORKS
      if _can_be_made(backbone)
    ]
  for backbone, arithmetic in chosen:
    settings = {
      "backbone": backbone,
      "arithmetic": arithmetic,
      "batch": given.batch,
      "image_size": given.size,
      "repeats": given.repeats,
      "compiled": not given.tiny,
    }
    measure = functools.partial(_measure, given, backbone, arithmetic)
    yield Row("f", f"{backbone}-{arithmetic}", settings, measure)


def _can_be_made(backbone: str) -> bool:
  """Whether PyTorch's network is here; PyTorch has none of our adapters."""
  if backbone.startswith("resnet"):
    return True
  has_timm = importlib.util.find_spec("timm") is not None
  return has_timm and not backbone.startswith("vit")


def _measure(given: Setup, backbone: str, arithmetic: str) -> dict[str, Any]:
  """Steps as they are and compiled, channels last, in turns."""
  import torch

  where = "cuda" if torch.cuda.is_available() else "cpu"
  tf32 = arithmetic == "default"
  torch.backends.cuda.matmul.allow_tf32 = tf32
  torch.backends.cudnn.allow_tf32 = tf32
  torch.backends.cudnn.benchmark = True
  found: dict[str, Any] = {}
  programs: dict[str, Callable[[], None]] = {}
  for kind in ("eager",) if given.tiny else ("eager", "compiled"):
    try:
      start = time.perf_counter()
      program = _step(
        given, backbone, where, arithmetic, is_compiled=kind == "compiled"
      )
      program()
    except Exception as error:  # torch.compile fails in many ways.
      if kind == "eager":
        raise
      print(f"torch.compile: {_first_line(error)}", flush=True)
      found["compile_error"] = _first_line(error)
      continue
    found[kind] = {"first_seconds": time.perf_counter() - start}
    programs[kind] = program
  if where == "cuda":
    torch.cuda.reset_peak_memory_stats()
  times = timing.take_turns(programs, repeats=given.repeats, warm_up=3)
  for kind, each in times.items():
    found[kind] |= each
  best = min(each["seconds"] for each in times.values())
  found |= {
    "images_per_second": given.batch / best,
    "arithmetic": arithmetic,
    "backbone": backbone,
    "batch": given.batch,
    "torch": torch.__version__,
    "device": torch.cuda.get_device_name() if where == "cuda" else "CPU",
  }
  if where == "cuda":
    found["peak_bytes"] = torch.cuda.max_memory_allocated()
  return found


def _first_line(error: Exception) -> str:
  return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _step(
  given: Setup, backbone: str, where: str, arithmetic: str, *, is_compiled: bool
) -> Callable[[], None]:
  """A step of SGD that waits for its end."""
  import torch

  network = _network(backbone).to(where, memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(
    network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4
  )
  forward = torch.compile(network) if is_compiled else network
  shape = (given.batch, 3, given.size, given.size)
  images = torch.randn(shape, device=where)
  images = images.to(memory_format=torch.channels_last)
  labels = torch.arange(given.batch, device=where) % _CLASSES

  def step() -> None:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(
      where, torch.bfloat16, enabled=arithmetic == "bfloat16"
    ):
      loss = torch.nn.functional.cross_entropy(forward(images), labels)
    loss.backward()
    optimizer.step()
    if where == "cuda":
      torch.cuda.synchronize()

  return step


def _network(backbone: str) -> Any:
  """A network as torchvision or timm has it, with 1000 classes."""
  from blt_jax.models import resnet

  if backbone in resnet.CONFIGS:
    from benchmarks.gpu import pytorch_resnet

    return pytorch_resnet.make(**resnet.CONFIGS[backbone], classes=_CLASSES)
  import timm

  return timm.create_model(backbone, num_classes=_CLASSES)
