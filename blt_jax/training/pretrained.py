"""Runs that begin with weights of others: `model.pretrained`.

What the configuration leaves open follows the weights, and is said; where it
has another value than they were trained with, that is said as well.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from blt_jax.config import Config, left_open, with_values
from blt_jax.models import BACKBONES, pretrained, repository
from blt_jax.models.pretrained import Preprocessing, Weights
from blt_jax.system import console

# Small images are enlarged to this side, pixels: a network that was trained on
# 224 pixels sees nearly nothing in 32 (docs/pretrained.md).
ENLARGED = 96
# The fields of the data set that have the names of those of Preprocessing.
_FIELDS = ("mean", "std", "interpolation")


@dataclasses.dataclass(frozen=True)
class Choice:
  """A configuration that follows its weights as far as no image is needed.

  Attributes:
    config: the configuration.
    weights: what was found.
    lines: what to say about it.
  """

  config: Config
  weights: Weights
  lines: tuple[str, ...]


def choose(config: Config) -> Choice:
  """Finds the weights of a configuration and fills in what follows from them.

  Raises:
    ValueError: names `model.pretrained` or the field that does not go with it.
  """
  given = config.model.backbone
  with named():
    weights = pretrained.find(
      config.model.pretrained, backbone=given if given in BACKBONES else ""
    )
    pretrained.check_sha256(
      config.model.pretrained, weights.sha256, config.model.pretrained_sha256
    )
  values: dict[str, Any] = {
    "model.pretrained": weights.source,
    "model.pretrained_sha256": weights.sha256,
    "model.backbone": _backbone(config, weights),
  }
  is_open = left_open(config)
  found = weights.preprocessing
  if found:
    values |= {
      f"dataset.{name}": getattr(found, name)
      for name in _FIELDS
      if f"dataset.{name}" in is_open
    }
  config = with_values(config, values)
  config = with_values(config, crop_values(config, weights))
  return Choice(config, weights, (*_lines(weights), *_notes(config, weights)))


def crop_values(config: Config, weights: Weights) -> dict[str, Any]:
  """{field: value} of `dataset.resize_size` where the image size is known."""
  dataset, found = config.dataset, weights.preprocessing
  if dataset.resize_size or not dataset.image_size or not found:
    return {}
  return {"dataset.resize_size": found.resize_size(dataset.image_size)}


def image_size(
  weights: Weights, *, usual: int, is_small: bool
) -> tuple[int, str]:
  """The image size for some weights, and why.

  Args:
    weights: that the network begins with.
    usual: what would be picked without any, pixels.
    is_small: whether the images are small ones, which are enlarged.

  Returns:
    (pixels, a clause about the reason).
  """
  found = weights.preprocessing
  if not found or not found.size:
    return usual, ""
  size = min(ENLARGED if is_small else usual, found.size)
  if size > usual:
    return size, (
      "they are enlarged, because in so few pixels the weights would see "
      "little of what they know"
    )
  return size, "the weights know no larger ones" if size < usual else ""


def check_unchanged(config: Config) -> None:
  """Refuses to go on where the file of the weights has changed.

  A file that is gone is no obstacle: checkpoints hold all weights, unless a
  part of them is frozen. Then restoring them reads the file and checks it.

  Raises:
    ValueError: has both hashes.
  """
  source = config.model.pretrained
  if config.model.train != "all":
    return
  if repository(source):
    try:
      path, _ = pretrained.locate(source, offline=True)
    except (ValueError, ImportError):
      return  # Not in the cache, and what a commit holds does not change.
  else:
    path, _ = pretrained.locate(source)
  with named():
    if path.exists():
      pretrained.check_sha256(
        source, pretrained.sha256(path), config.model.pretrained_sha256
      )
    else:
      console.say(f"note: {path} is gone; the run goes on with its own weights")


def check_revision(given: Config, begun: Config) -> None:
  """Refuses a branch or tag that is no longer where a run began.

  Args:
    given: the configuration as the user gives it.
    begun: the same with the commit of the run.

  Raises:
    ValueError: names the commit.
  """
  source = repository(given.model.pretrained)
  if not source or not source[1]:
    return  # The main branch may move on: the run stays where it is.
  with named():
    _, found = pretrained.locate(given.model.pretrained)
  if found != begun.model.pretrained:
    raise ValueError(
      f"config.model.pretrained is {given.model.pretrained}, now {found}; "
      f"expected {begun.model.pretrained}, with which the run began."
    )


def check_moved(place: str, begun: Config) -> None:
  """Refuses other weights than a run began with, but for a copy of their file.

  Args:
    place: `model.pretrained` as it is given, another one than the run's.
    begun: the configuration of the run.

  Raises:
    ValueError: has both places, and the hash of the run's.
  """
  theirs, expected = begun.model.pretrained, begun.model.pretrained_sha256
  if pretrained.is_copy(place, expected):
    return
  raise ValueError(
    f"config.model.pretrained is {place!r}; expected {theirs!r}, with which "
    "the run began"
    f"{expected and ', or a copy of its file, SHA-256 '}{expected}. For other "
    "weights choose another --workdir."
  )


@contextlib.contextmanager
def named() -> Iterator[None]:
  """Puts the name of the field before the message of a ValueError."""
  try:
    yield
  except ValueError as error:
    raise ValueError(f"config.model.pretrained: {error}") from None


def _backbone(config: Config, weights: Weights) -> str:
  """The network of the weights.

  Raises:
    ValueError: it is unknown here, or not the one that the user wants.
  """
  given, theirs = config.model.backbone, weights.architecture
  if given in BACKBONES:
    if theirs != given:
      raise ValueError(
        f"config.model.backbone is {given}; expected {theirs}, the network of "
        f"{weights.source}, or auto."
      )
    return given
  if theirs not in BACKBONES:
    known = f"are of {theirs!r}" if theirs else "do not say of which network"
    raise ValueError(
      f"config.model.pretrained: the weights of {weights.source} {known}; "
      f"expected one of {', '.join(BACKBONES)}"
      f"{'' if theirs else ' in config.model.backbone'}."
    )
  return theirs


def _lines(weights: Weights) -> Iterator[str]:
  """What the weights are, and how their images were prepared."""
  about = [weights.architecture] if weights.architecture else []
  found = weights.preprocessing
  if weights.num_classes:
    about.append(f"trained on {weights.num_classes} classes")
  if found and found.size:
    about.append(f"images of {found.size} pixels")
  about.append(f"SHA-256 {weights.sha256[:12]}")
  yield f"weights of {weights.source}: {', '.join(about)}"
  if found:
    yield (
      f"images are prepared {weights.told_by}: {_described(found)}, and a "
      f"centre crop of {float(found.crop):.4g} of the short side"
    )
  else:
    yield (
      f"note: nothing says how images were prepared for {weights.source}; "
      "expected it in config.dataset.mean, std and resize_size, where it is "
      "not ImageNet's"
    )


def _described(found: Preprocessing) -> str:
  numbers = (
    f"{name} ({', '.join(f'{each:.4g}' for each in getattr(found, name))})"
    for name in ("mean", "std")
  )
  return ", ".join((*numbers, found.interpolation))


def _notes(config: Config, weights: Weights) -> Iterator[str]:
  """Where the configuration differs from what the weights were trained with."""
  found, values = weights.preprocessing, config.dataset
  if not found:
    return
  for name in _FIELDS:
    ours, theirs = getattr(values, name), getattr(found, name)
    if ours != theirs:
      yield _note(name, ours, theirs)
  if found.size and values.image_size not in (0, found.size):
    yield _note("image_size", values.image_size, found.size)
  if values.image_size and values.resize_size:
    theirs = found.resize_size(values.image_size)
    if values.resize_size != theirs:
      yield (
        f"note: config.dataset.resize_size is {values.resize_size}, and the "
        f"crop of the weights gives {theirs}"
      )


def _note(name: str, ours: Any, theirs: Any) -> str:
  return (
    f"note: config.dataset.{name} is {ours}, and the weights were trained with "
    f"{theirs}"
  )
