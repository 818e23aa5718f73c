"""The fields of a configuration's data set; as schema.py has the others."""

import dataclasses
from typing import Annotated

from blt_jax.config.rules import (
  GIVEN,
  NAME,
  TEXT,
  AreaRange,
  Count,
  Path,
  RatioRange,
  Share,
  Switch,
  Text,
  field,
  number,
  one_of,
  several,
  span,
  whole,
)
from blt_jax.data.longtail import PROFILES
from blt_jax.data.reading.crops import INTERPOLATIONS
from blt_jax.data.reading.decode import MAX_PIXELS
from blt_jax.data.reading.substitutes import ON_ERROR
from blt_jax.data.sources import SOURCES


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
  """Images, their split, and how they are cropped and augmented."""

  name: Annotated[str, NAME] = field(
    "", "Name in results and reports; for TFDS the builder's name."
  )
  source: Annotated[str, one_of(*SOURCES, GIVEN)] = field(
    "", "Where the images come from; see docs/data.md. given: see docs/api.md."
  )
  root: Path = field(
    "", "Folder of the images (TFDS: data_dir), or .npz file.", resume="moved"
  )
  manual_dir: Path = field(
    "", "TFDS: folder of archives it can't download.", resume="moved"
  )
  train_list: Path = field(
    "", "List of 'path label', or iNaturalist's JSON.", resume="moved"
  )
  validation_list: Path = field(
    "",
    "Like train_list; without it validation_per_class images are held out.",
    resume="moved",
  )
  test_list: Path = field(
    "",
    "Like train_list; without it the validation images are the test.",
    resume="moved",
  )
  table: Path = field(
    "",
    "image_table: a CSV, TSV, JSON lines or COCO file; see docs/data.md.",
    resume="moved",
  )
  path: Text = field(
    "", "image_table: column of the images' paths; empty: found by its name."
  )
  label: Text = field(
    "", "image_table: column of the classes, numbers or names; empty: as path."
  )
  split: Text = field(
    "", "image_table: column of train, val, test; empty: as path; none: unused."
  )
  group: Text = field(
    "", "image_table: column of cameras, patients, ...; else as split."
  )
  class_names: Path = field(
    "", "Lists: file of names; see docs/data.md.", resume="moved"
  )
  class_folders: Switch = field(
    False, "image_list: check that the folders of the images are the classes."
  )
  flat_folders: Annotated[tuple[str, ...], several(TEXT)] = field(
    (), "image_list: folders in which val/cat/1.jpg may lie at val/1.jpg."
  )
  drop_below: Count = field(0, "Lists: drop classes left with fewer images.")
  profile: Annotated[str, one_of(*PROFILES)] = field(
    "natural", "Shape of the training counts over the classes."
  )
  max_per_class: Count = field(0, "Images of the largest class of a profile.")
  imbalance: Annotated[float, number(1)] = field(
    100.0, "Largest class of a profile divided by the smallest."
  )
  validation_per_class: Count = field(
    0, "Images of each class to hold out for validation."
  )
  test_per_class: Count = field(
    0, "Folders without test/, tables: images of each class to hold out."
  )
  split_seed: Count = field(0, "Chooses the images of profiles and splits.")
  folds: Count = field(
    0, "Deals all images into so many folds, each a test set; 0: none."
  )
  fold: Count = field(0, "Which of the folds is the test, from 1; 0: none.")
  on_error: Annotated[str, one_of(*ON_ERROR)] = field(
    "replace", "An unreadable image: take another of its class, or stop."
  )
  max_pixels: Annotated[int, whole(1, MAX_PIXELS)] = field(
    MAX_PIXELS, "A larger image counts as unreadable."
  )
  max_unreadable: Count = field(
    0,
    "Unreadable images of a split before the run stops; 0: 1 % of the split or "
    "10 images, whichever is more.",
    resume="any",
  )
  background: Annotated[
    tuple[int, int, int], several(whole(0, 255), length=3)
  ] = field(
    (255, 255, 255), "Red, green, blue that lie under transparent pixels."
  )
  exif_orientation: Switch = field(
    False, "Turn images as their EXIF data say; photographs need it."
  )
  grey_range: Annotated[tuple[float, ...], span()] = field(
    (),
    "Values that become black and white in grey images of more than 8 bits; "
    "found from the training images unless it is given.",
    left_open=(),
  )
  many_above: Count = field(
    100, "A class with more training images is many-shot."
  )
  few_up_to: Count = field(
    20, "A class with at most this many is few-shot: the tail."
  )
  prior: Path = field(
    "",
    "How frequent classes are where the network is used, for the measures and "
    "the losses' correction: natural (as in training), balanced, or a CSV file "
    "of class,share or class,count. Empty: the test images as they are, and a "
    "correction to equal classes.",
  )
  image_size: Annotated[int, whole(8)] = field(
    224, "Side of the square that the network sees, pixels.", left_open=0
  )
  resize_size: Annotated[int, whole(8)] = field(
    0,
    "Short side before evaluation's centre crop, pixels; 0: image_size * 256 / "
    "224, or by the crop of the weights of model.pretrained.",
    left_open=0,
  )
  interpolation: Annotated[str, one_of(*INTERPOLATIONS)] = field(
    "",
    "Filter that images are resized with, antialiased as Pillow does; empty: "
    "bilinear.",
    left_open="",
  )
  five_crop: Switch = field(
    False,
    "Final test, evaluate, predict, export: mean logits over five crops of the "
    "centred square of resize_size.",
  )
  crop_scale: AreaRange = field(
    (0.08, 1.0), "Area of a training crop / area of the image."
  )
  resize_on: Annotated[str, one_of("auto", "host", "device")] = field(
    "auto",
    "Where training crops are resized; auto: device, unless it is a CPU or "
    "the interpolation bicubic.",
  )
  crop_ratio: RatioRange = field(
    (3 / 4, 4 / 3), "Width / height of a training crop."
  )
  flip: Share = field(0.5, "Probability of a horizontal flip.")
  rotation: Annotated[float, number(0, 180)] = field(
    10.0, "Largest rotation either way, degrees."
  )
  brightness: Share = field(0.4, "b: a factor is drawn from 1 - b to 1 + b.")
  contrast: Share = field(0.4, "c: as brightness, from 1 - c to 1 + c.")
  saturation: Share = field(0.4, "s: as brightness, from 1 - s to 1 + s.")
  mean: Annotated[tuple[float, ...], several(number(0, 1), length=3)] = field(
    (),
    "Subtracted from red, green, blue in 0..1; unless it is given, that of the "
    "weights of model.pretrained, or ImageNet's.",
    left_open=(),
  )
  std: Annotated[
    tuple[float, ...], several(number(0, 10, above=True), length=3)
  ] = field((), "Divisor of each of them after that; as mean.", left_open=())


def check_pixels(dataset: DatasetConfig) -> None:
  """Checks the fields together that say how images become pixels.

  Raises:
    ValueError: names a field, its value and what is expected.
  """
  if 0 < dataset.resize_size < dataset.image_size:
    raise ValueError(
      f"config.dataset.resize_size is {dataset.resize_size}; expected at least "
      f"config.dataset.image_size, {dataset.image_size}, or 0 to follow it."
    )
  if dataset.five_crop and 0 < dataset.resize_size == dataset.image_size:
    raise ValueError(
      "config.dataset.five_crop is True; expected False with "
      f"config.dataset.resize_size {dataset.resize_size}, which is "
      "config.dataset.image_size: five crops of it would be the same."
    )
  if dataset.resize_on == "device" and dataset.interpolation == "bicubic":
    raise ValueError(
      "config.dataset.resize_on is 'device'; expected host or auto with "
      "config.dataset.interpolation bicubic, which the host alone computes."
    )
