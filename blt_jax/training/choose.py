"""Chooses the values that a configuration leaves open, from its images.

The schema says which fields may be left open, and by which value. They are
chosen once, before a run begins; its config.json holds the chosen values, and a
run that goes on takes them from there.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blt_jax.config import (
  AUTO,
  PIXEL_SOURCES,
  Config,
  as_begun,
  follow,
  left_open,
  with_values,
)
from blt_jax.data.dataset import Dataset, Split
from blt_jax.data.reading.decode import ImageError, read_header
from blt_jax.models import fitting_sizes
from blt_jax.training import build, devices
from blt_jax.workdir import directory

if TYPE_CHECKING:
  import flax.linen as nn

  from blt_jax.models.pretrained import Weights

# Most images whose size is looked at.
_SAMPLE = 200
# The beginning of a file, where most formats tell the size, bytes.
_HEAD = 1 << 18

# Images with short sides up to this many pixels are small: their network has
# no coarse stem.
SMALL = 48
# Most images of a step: the paper's, and for weights of others, which are of
# larger networks and are changed little in a few epochs, fewer.
_MOST_IN_BATCH, _MOST_WITH_WEIGHTS = 256, 64
# Training images from which on a deeper network pays: the paper trains
# ResNet-10 on the 115,846 of ImageNet-LT, deeper ones on iNaturalist's 437,513.
_MANY_IMAGES = 200_000


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """What a data set's training images are like, from a sample of them.

  Attributes:
    num_images: training images of the data set.
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
class Complete:
  """A configuration with nothing left open.

  Attributes:
    config: the configuration.
    dataset: its data set if that was handed in, or loaded in order to choose.
    reasons: a line for each value that was chosen now.
    own: the network that a program handed in, or None.
    handed: what `workdir.given` keeps of what a program handed in.
  """

  config: Config
  dataset: Dataset | None = None
  reasons: Sequence[str] = ()
  own: "nn.Module | None" = None
  handed: Mapping[str, str] = dataclasses.field(default_factory=dict)


def complete(
  config: Config,
  *,
  workdir: pathlib.Path | None = None,
  num_devices: int | None = None,
  dataset: Dataset | None = None,
) -> Complete:
  """Fills in what a configuration leaves open.

  Args:
    config: the configuration.
    workdir: of the run, which need not exist. The values in its config.json are
      taken, so that a run goes on as it began.
    num_devices: devices that share a batch; None for the configuration's.
    dataset: the images that a program handed in; None for the configuration's.

  Returns:
    A Complete. Its config is the one given where nothing was open.

  Raises:
    ValueError: when the data set or the weights to begin with can't be loaded,
      when none of the images can be read, or when config.json can't.
  """
  if workdir is not None and (workdir / directory.CONFIG).exists():
    begun = directory.read_config(workdir)
    return Complete(_as_begun(config, begun), dataset)
  if config.model.pretrained == AUTO:
    dataset = dataset or build.build_dataset(config)
  config, weights, about = choose_weights(config, dataset)
  config = follow(config)
  if not left_open(config) and config.dataset.source in PIXEL_SOURCES:
    return Complete(config, dataset, about)
  dataset = dataset or build.build_dataset(config)
  config, notes = choose_reading(config, dataset.train)
  if not _to_choose(config):
    return Complete(config, dataset, [*about, *notes])
  if num_devices is None:
    num_devices = len(devices.devices_of(config))
  config, reasons = choose(
    config, sample(dataset.train), num_devices=num_devices, weights=weights
  )
  return Complete(config, dataset, [*about, *reasons, *notes])


def _as_begun(config: Config, begun: Config) -> Config:
  """`config.as_begun`; the weights are the same, perhaps in another place.

  Raises:
    ValueError: the weights are others.
  """
  filled = as_begun(config, begun)
  ours = filled.model.pretrained
  if ours == config.model.pretrained == begun.model.pretrained:
    return filled
  from blt_jax.training import pretrained  # Few runs need it.

  if ours != config.model.pretrained:
    pretrained.check_revision(config, filled)
  else:
    pretrained.check_moved(ours, begun)
  return filled


def choose_weights(
  config: Config, dataset: Dataset | None
) -> tuple[Config, "Weights | None", Sequence[str]]:
  """Finds the weights to begin with, if any, and what follows from them.

  Args:
    config: the configuration.
    dataset: its images, by which weights are picked that are left open.

  Returns:
    (configuration, the weights, lines about them).
  """
  picked: Sequence[str] = ()
  if config.model.pretrained == AUTO:
    from blt_jax.training import pick_weights  # Few runs need it.

    assert dataset is not None
    seen = sample(dataset.train)
    config, picked = pick_weights.pick(
      config, num_images=seen.num_images, short_side=seen.short_side
    )
  if not config.model.pretrained:
    return config, None, picked
  from blt_jax.training import pretrained  # Few runs need it.

  chosen = pretrained.choose(config)
  return chosen.config, chosen.weights, (*picked, *chosen.lines)


def choose_reading(config: Config, split: Split) -> tuple[Config, list[str]]:
  """Chooses how image files become RGB: `dataset.grey_range`, if it is open.

  Args:
    config: the configuration.
    split: training images.

  Returns:
    (configuration, a line for each kind of image that is not read as it is).
    The range stays open where no image that was looked at is deep grey.
  """
  from blt_jax.data.reading import survey  # Needed once, as a run begins.

  found = survey.survey(split, max_pixels=config.dataset.max_pixels)
  if found.limits and not config.dataset.grey_range:
    chosen = survey.grey_range(found.limits)
    config = with_values(config, {"dataset.grey_range": chosen})
  return config, found.lines(build.decoding(config))


def _to_choose(config: Config) -> list[str]:
  """The open fields that `choose` chooses."""
  return [name for name in left_open(config) if name != "dataset.grey_range"]


def choose(
  config: Config,
  sample: Sample,
  *,
  num_devices: int,
  weights: "Weights | None" = None,
) -> tuple[Config, list[str]]:
  """Chooses what is left open, but for the reading; a pure function.

  Args:
    config: the configuration.
    sample: what its images are like.
    num_devices: devices that share a batch.
    weights: that the network begins with, if any.

  Returns:
    (configuration, a line for each choice with its reason).
  """
  is_open = _to_choose(config)
  values: dict[str, Any] = {}
  reasons = []
  size = config.dataset.image_size
  if "dataset.image_size" in is_open:
    most = config.dataset.resize_size or math.inf
    size, why = image_size(sample), ""
    if weights:
      from blt_jax.training import pretrained  # Few runs need it.

      size, why = pretrained.image_size(
        weights, usual=size, is_small=sample.short_side <= SMALL
      )
    size = int(min(size, most))
    if "model.backbone" not in is_open:
      size = _fitting(config.model.backbone, size, most=most)
    values["dataset.image_size"] = size
    reasons.append(
      f"picked image size {size}: the short sides of the images have a median "
      f"of {sample.short_side} pixels ({len(sample.shapes)} looked at)"
      f"{why and '; '}{why}"
    )
    if weights:
      config = with_values(config, values)
      values |= pretrained.crop_values(config, weights)
  if "model.backbone" in is_open:
    name = values["model.backbone"] = backbone(size, sample.num_images)
    reasons.append(
      f"picked backbone {name}: {sample.num_images} training images of {size} "
      "pixels"
    )
  most = _MOST_WITH_WEIGHTS if weights else _MOST_IN_BATCH
  batch = batch_size(sample.num_images, num_devices, most=most)
  unsized = [name for name in is_open if name.endswith(".batch_size")]
  if unsized:
    values.update(dict.fromkeys(unsized, batch))
    reasons.append(
      f"picked batch size {batch}: {sample.num_images // batch} steps an epoch"
    )
  return follow(with_values(config, values)), reasons


def _fitting(name: str, size: int, *, most: float) -> int:
  """The image size up to `most` nearest to `size` that a backbone takes."""
  fitting = fitting_sizes(name, size)
  return min(
    (each for each in fitting if each <= most),
    key=lambda each: abs(each - size),
    default=fitting[0],
  )


def image_size(sample: Sample) -> int:
  """Side of the square that the network is to see, pixels.

  Small images of one size keep it, but at least 16 pixels; small images of
  several sizes become 32. Larger images give the largest multiple of 32, from
  64 to 224, that the median of their short sides reaches: a larger square
  would show nothing more.
  """
  short = sample.short_side
  if short <= SMALL:
    return max(short, 16) if sample.one_size else 32
  return min(max(short // 32 * 32, 64), 224)


def backbone(size: int, num_images: int) -> str:
  """The network for images of a size and for their number."""
  if size <= SMALL:
    return "small_resnet10"
  return "resnet10" if num_images < _MANY_IMAGES else "resnet34"


def batch_size(num_images: int, devices: int, *, most: int) -> int:
  """Images of a step, over all devices.

  An epoch should have about 8 steps, so this is the largest power of two up to
  an eighth of the training images, at least 8 and up to `most`, but never more
  than there are images. It is then made a multiple of the devices.
  """
  most = min(max(num_images // 8, 8), most, num_images)
  power = 2 ** (most.bit_length() - 1)
  return max(power // devices, 1) * devices


def sample(split: Split, *, most: int = _SAMPLE) -> Sample:
  """Reads the sizes of a split's images, of files without decoding them.

  Args:
    split: training images, 1 or more.
    most: files to look at, at regular distances in the split's order. Those
      that can't be read are left out.

  Raises:
    ValueError: when none can be read.
  """
  if split.images is not None:
    shape = np.array(split.images.shape[1:3])
    return Sample(len(split), np.tile(shape, (len(split), 1)))
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
      f"{problem}; none of {count} training images can be read; expected one "
      "to pick config.dataset.image_size by. --mode=check_data names them all."
    )
  return Sample(len(split), np.array(shapes))


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
