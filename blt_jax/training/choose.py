"""Picks what a configuration leaves open, from the images of its data set.

Fields that may be left open, and how, are `config_check.LEFT_OPEN`. They are
picked once, before a run begins; its config.json holds the picked values.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from blt_jax.config import LEFT_OPEN, RULES, check_config, left_open
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.reading.decode import ImageError, read_header
from blt_jax.training import build
from blt_jax.training import devices as mapping
from blt_jax.workdir import directory

# Images whose size is looked at.
_SAMPLE = 200
# The beginning of a file, where most formats tell the size, bytes.
_HEAD = 1 << 18

# Short sides up to this many pixels are small: the network has no coarse stem.
_SMALL = 48
# Training images from which on a deeper network pays: the paper trains
# ResNet-10 on the 115,846 of ImageNet-LT, deeper ones on iNaturalist's 437,513.
_MANY_IMAGES = 200_000


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
  """What a data set's training images are like.

  Attributes:
    num_images: training images.
    shapes: int [k, 2], height and width in pixels of k >= 1 of them.
  """

  num_images: int
  shapes: np.ndarray

  @property
  def short_side(self) -> int:
    """Median of the short sides, pixels."""
    return int(np.median(self.shapes.min(axis=1)))

  @property
  def one_size(self) -> bool:
    """Whether all have the same height and width."""
    return bool((self.shapes == self.shapes[0]).all())


@dataclasses.dataclass(frozen=True, eq=False)
class Picked:
  """A configuration with nothing left open.

  Attributes:
    config: the configuration; that which was given where nothing was open.
    dataset: its data set if the images were looked at, or None.
    reasons: a line for each value that was picked now.
  """

  config: ml_collections.ConfigDict
  dataset: Dataset | None = None
  reasons: Sequence[str] = ()


def resolve(
  config: ml_collections.ConfigDict,
  *,
  workdir: pathlib.Path | None = None,
  devices: int | None = None,
) -> Picked:
  """Fills in what a configuration leaves open.

  What a work directory's config.json holds is taken from there, so that a run
  goes on as it began. The rest is picked, see `pick`.

  Args:
    config: passed `check_config`; it is not changed.
    workdir: of the run, which need not exist.
    devices: that a batch is dealt to; None: those of the configuration.

  Returns:
    A Picked.

  Raises:
    ValueError: when the data set can't be loaded, or no image of it be read.
  """
  config = _as_begun(config, workdir)
  if not left_open(config):
    return Picked(config)
  dataset = build.build_dataset(config)
  if devices is None:
    devices = len(mapping.devices_of(config))
  config, reasons = pick(config, look(dataset.train), devices=devices)
  check_config(config)
  return Picked(config, dataset, reasons)


def pick(
  config: ml_collections.ConfigDict, seen: Look, *, devices: int
) -> tuple[ml_collections.ConfigDict, list[str]]:
  """Picks every value that is left open; a pure function.

  Args:
    config: the configuration; it is not changed.
    seen: what the images are like.
    devices: that a batch is dealt to, 1 or more.

  Returns:
    (configuration, a line for each pick with its reason).
  """
  config = config.copy_and_resolve_references()
  is_open = left_open(config)
  dataset, model = config.dataset, config.model
  reasons = []
  if "dataset.image_size" in is_open:
    dataset.image_size = image_size(seen)
    if dataset.resize_size:
      dataset.image_size = min(dataset.image_size, dataset.resize_size)
    reasons.append(
      f"picked image size {dataset.image_size}: the short sides of the images "
      f"have a median of {seen.short_side} pixels ({len(seen.shapes)} looked "
      "at)"
    )
  if "dataset.resize_size" in is_open:
    dataset.resize_size = dataset.image_size * 256 // 224
  if "model.backbone" in is_open:
    model.backbone = backbone(dataset.image_size, seen.num_images)
    reasons.append(
      f"picked backbone {model.backbone}: {seen.num_images} training images "
      f"of {dataset.image_size} pixels"
    )
  size = batch_size(seen.num_images, devices)
  stages = {"stage1": config.stage1, "stage2": config.stage2}
  unsized = [s for name, s in stages.items() if f"{name}.batch_size" in is_open]
  for stage in unsized:
    stage.batch_size = size
  if unsized:
    reasons.append(
      f"picked batch size {size}: {seen.num_images // size} steps an epoch"
    )
  return config, reasons


def image_size(seen: Look) -> int:
  """Side of the square that the network is to see, pixels.

  Small images that are all alike keep their size, from 16 pixels on; others
  become 32. Larger ones give the largest multiple of 32, from 64 to 224, that
  their median short side reaches: no more than that is in them.
  """
  short = seen.short_side
  if short <= _SMALL:
    return max(short, 16) if seen.one_size else 32
  return min(max(short // 32 * 32, 64), 224)


def backbone(size: int, num_images: int) -> str:
  """The network for images of a size and for their number."""
  if size <= _SMALL:
    return "small_resnet10"
  return "resnet10" if num_images < _MANY_IMAGES else "resnet34"


def batch_size(num_images: int, devices: int) -> int:
  """Images of a step, over all devices.

  Some 8 steps an epoch where that can be: the largest power of two up to an
  eighth of the training images, from 8 to the paper's 256, and never more than
  there are; then a multiple of the devices.
  """
  most = min(max(num_images // 8, 8), 256, num_images)
  power = 2 ** (most.bit_length() - 1)
  return max(power // devices, 1) * devices


def look(split: Split, *, most: int = _SAMPLE) -> Look:
  """Looks at the sizes of a split's images, of files without decoding them.

  Args:
    split: training images, 1 or more.
    most: files to look at, at regular distances in the split's order. Those
      that can't be read tell nothing.

  Returns:
    A Look.

  Raises:
    ValueError: none can be read.
  """
  if split.images is not None:
    shape = np.array(split.images.shape[1:3])
    return Look(len(split), np.tile(shape, (len(split), 1)))
  count = min(most, len(split))
  chosen = np.linspace(0, len(split) - 1, count).astype(int)
  shapes, problem = [], ""
  for row in chosen.tolist():
    try:
      shapes.append(_shape(split, row))
    except (ImageError, OSError) as error:
      problem = problem or f"{_name(split, row)}: can't be read ({error})"
  if not shapes:
    raise ValueError(
      f"{problem}; that makes {count} of {count} training images. Without one, "
      "no config.dataset.image_size can be picked; --mode=check_data reads all"
    )
  return Look(len(split), np.array(shapes))


def _shape(split: Split, row: int) -> tuple[int, int]:
  """Height and width of an image in a file or a record."""
  if split.paths is None:
    assert split.records is not None
    header = read_header(split.records.read(np.array([row]))[0])
    return header.height, header.width
  with open(split.paths[row], "rb") as file:
    head = file.read(_HEAD)
    try:
      header = read_header(head)
    except ImageError:
      header = read_header(head + file.read())
  return header.height, header.width


def _name(split: Split, row: int) -> str:
  if split.paths is not None:
    return split.paths[row]
  assert split.records is not None
  return split.records.name(row)


def _as_begun(
  config: ml_collections.ConfigDict, workdir: pathlib.Path | None
) -> ml_collections.ConfigDict:
  """The configuration with what a work directory has for its open fields."""
  is_open = left_open(config)
  if not is_open or workdir is None:
    return config
  if not (workdir / directory.CONFIG).exists():
    return config
  theirs = directory.flatten(directory.read_config(workdir))
  config = config.copy_and_resolve_references()
  for field in is_open:
    section, _, name = field.partition(".")
    value = theirs.get(field, LEFT_OPEN[field])
    if RULES[section][name].accepts(value):
      config[section][name] = value
  return config
