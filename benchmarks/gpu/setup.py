"""What is measured: configurations, images of noise, and arithmetic."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from benchmarks import noise_images
from blt_jax.config import Config, check_config, follow, with_values
from blt_jax.data.dataset import Dataset
from blt_jax.models import resnet, vit
from blt_jax.training.run import Run
from configs import cifar10_lt, imagenet_lt

# Fields of each kind of arithmetic; docs/performance.md has what they mean.
ARITHMETIC: dict[str, dict[str, Any]] = {
  "default": {"model.dtype": "float32", "model.precision": "default"},
  "highest": {"model.dtype": "float32", "model.precision": "highest"},
  "bfloat16": {"model.dtype": "bfloat16", "model.precision": "default"},
}
IN_WORDS = {
  "default": "float32, default",
  "highest": "float32, highest",
  "bfloat16": "bfloat16",
}

# Updates of the ascent: with fresh weights no image would reach its confidence.
# In trained runs an image has 6 to 8 on average (docs/results.md).
UPDATES = 7
_ASCENT: dict[str, Any] = {
  "perturb.confidence": (1.0, 1.0),
  "perturb.max_steps": UPDATES,
}
# No augmentation: what is left is the network, as in PyTorch's step beside it.
_BARE: dict[str, Any] = {
  f"dataset.{name}": 0.0
  for name in ("flip", "rotation", "brightness", "contrast", "saturation")
}


@dataclasses.dataclass(frozen=True)
class Setup:
  """What the flags say.

  Attributes:
    folder: of --output.
    tiny: toy sizes.
    cifar: file of --cifar, None without it.
  """

  folder: pathlib.Path
  tiny: bool = False
  cifar: pathlib.Path | None = None

  @property
  def batch(self) -> int:
    """Images of a step and device."""
    return 16 if self.tiny else 256

  @property
  def size(self) -> int:
    """Side of the images, pixels."""
    return 16 if self.tiny else 224

  @property
  def repeats(self) -> int:
    """Timed runs of a program."""
    return 2 if self.tiny else 20

  @property
  def backbone(self) -> str:
    """The network of the paper's main run."""
    return "small_resnet10" if self.tiny else "resnet10"

  def config(
    self,
    arithmetic: str = "default",
    *,
    backbone: str = "",
    batch: int = 0,
    devices: int = 1,
    bare: bool = False,
    **fields: Any,
  ) -> Config:
    """The paper's main run; in small that of CIFAR-10.

    Args:
      arithmetic: one of ARITHMETIC.
      backbone: "" for `self.backbone`.
      batch: images of a device, 0 for `self.batch`.
      devices: number of devices.
      bare: without augmentation, images resized by the host.
      **fields: further ones, "section.field".
    """
    given = cifar10_lt if self.tiny else imagenet_lt
    config = check_config(given.get_config("method=blt"))
    batch = (batch or self.batch) * devices
    values = {
      "num_devices": devices,
      "model.backbone": backbone or self.backbone,
      **ARITHMETIC[arithmetic],
      **_ASCENT,
      "dataset.image_size": self.size,
      "stage1.batch_size": batch,
      "stage2.batch_size": batch,
      **(_BARE | {"dataset.resize_on": "host"} if bare else {}),
      **fields,
    }
    return follow(with_values(config, values))

  def run(self, config: Config) -> Run:
    """The steps and images of a configuration."""
    return Run(config, dataset=self._images(config.dataset.name))

  @functools.cache  # noqa: B019 - one setup lives as long as the program.
  def _images(self, name: str) -> Dataset:
    folder = self.folder / "images"
    folder.mkdir(parents=True, exist_ok=True)
    config = self.config()
    assert config.dataset.name == name
    return noise_images.long_tailed(config, folder)


@contextlib.contextmanager
def networks_of_one_block() -> Iterator[None]:
  """The networks of toy sizes have one block, and compile far sooner."""
  with (
    mock.patch.dict(resnet.CONFIGS["small_resnet10"], stage_sizes=(1,)),
    mock.patch.dict(vit.CONFIGS["vit_tiny_patch16_224"], depth=1),
  ):
    yield
