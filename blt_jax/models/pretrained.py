"""Weights that others trained: where they are, and what they were trained with.

They are a safetensors file of this machine, or `model.safetensors` in a
repository of a hub, which huggingface_hub fetches into its cache: its
environment variables hold (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN).
Pickles are never read.

timm's repositories have a config.json with the architecture and the
preprocessing; a file may have it beside it. An export of this package says the
same in its own metadata. For other files there is a table by architecture.
"""

import dataclasses
import fractions
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from blt_jax.models import BACKBONES, IMAGENET, repository
from blt_jax.models.torch_names import PATCHES, POSITIONS
from blt_jax.models.torch_weights import open_safetensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
INTERPOLATIONS = ("bilinear", "bicubic")

# Key of the description in the metadata of an export of this package.
_DESCRIPTION = "blt_jax"
# A larger config.json is none of timm's, bytes.
_MOST = 1 << 20

Colors = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """What is done to an image before the network sees it, at evaluation.

  Attributes:
    mean: subtracted from red, green and blue in 0..1.
    std: divisor of each after that, above 0.
    interpolation: one of INTERPOLATIONS, of the resizing.
    crop: side of the centre crop / short side of the resized image, 0..1.
    size: side of the crop in training, pixels; 0 where it is unknown.
  """

  mean: Colors
  std: Colors
  interpolation: str = "bilinear"
  crop: float | fractions.Fraction = 0.875
  size: int = 224

  def resize_size(self, size: int) -> int:
    """Short side that a centre crop of `size` is cut from, as timm rounds."""
    return math.floor(size / self.crop)


_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_CLIP = (
  (0.48145466, 0.4578275, 0.40821073),
  (0.26862954, 0.26130258, 0.27577711),
)
# Beginning of a backbone's name -> what torchvision (ResNet to EfficientNet-B0,
# its IMAGENET1K_V1) or timm trained it with. small_resnet10 is published by
# nobody.
_USUAL: dict[str, Preprocessing] = {
  "resne": Preprocessing(*IMAGENET),
  "densenet": Preprocessing(*IMAGENET),
  "efficientnet_b0": Preprocessing(*IMAGENET, interpolation="bicubic"),
  "tf_efficientnet_lite0": Preprocessing(*_HALF, interpolation="bicubic"),
  "convnext_": Preprocessing(*IMAGENET, interpolation="bicubic"),
  **{
    f"vit_{size}_patch14_": Preprocessing(
      *IMAGENET, interpolation="bicubic", crop=1.0, size=518
    )
    for size in ("small", "base")
  },
  "vit_base_patch16_clip_": Preprocessing(
    *_CLIP, interpolation="bicubic", crop=0.9
  ),
  "vit_": Preprocessing(*_HALF, interpolation="bicubic", crop=0.9),
}


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights that were found.

  Attributes:
    source: hf:OWNER/NAME@COMMIT, or the path of a file as it was given.
    path: of the file.
    sha256: of the file, hexadecimal.
    architecture: timm's, torchvision's or our name of the network. Where
      neither the file nor a config.json says it, it is the backbone that was
      given to `find`, or the one that the file is named after, or "".
    num_classes: of the classifier that the network was trained with; 0 where
      nothing says it.
    preprocessing: as it was trained, or None where nothing says it.
    told_by: what says the preprocessing, in words; "" if nothing does.
  """

  source: str
  path: pathlib.Path
  sha256: str
  architecture: str = ""
  num_classes: int = 0
  preprocessing: Preprocessing | None = None
  told_by: str = ""


def find(source: str, *, backbone: str = "") -> Weights:
  """Finds weights, and fetches them where they are not here yet.

  Args:
    source: a file, `hf:OWNER/NAME[@REVISION]` or `timm:NAME[@REVISION]`.
    backbone: one of BACKBONES, the network where nothing says the architecture;
      "" if it is unknown as well.

  Raises:
    ValueError: names the source, what is wrong and what to do.
    ImportError: safetensors or huggingface_hub is not installed.
  """
  path, settled = locate(source)
  with open_safetensors(path) as opened:
    metadata = opened.metadata() or {}
    size = _trained_size(opened)
  architecture, num_classes, found, told_by = "", 0, None, ""
  if about := _parsed(metadata.get(_DESCRIPTION)):
    architecture, num_classes, found = _of_export(about, f"{path}")
    told_by = "as the file says"
  elif (beside := _beside(path, settled)) and (about := _read_config(beside)):
    architecture, num_classes, found = _of_timm(about, f"{beside}")
    told_by = f"as its {CONFIG} says"
  architecture = architecture or backbone or _by_name(settled)
  if found is None and (found := _usual(architecture)):
    told_by = f"as usual for {architecture}, since no {CONFIG} says it"
    found = dataclasses.replace(found, size=size or found.size)
  if found and found.interpolation not in INTERPOLATIONS:
    told_by += f" (but for {found.interpolation}: it is bicubic here)"
    found = dataclasses.replace(found, interpolation="bicubic")
  return Weights(
    settled,
    path,
    sha256(path),
    architecture=architecture,
    num_classes=num_classes,
    preprocessing=found,
    told_by=told_by,
  )


def locate(source: str, *, offline: bool = False) -> tuple[pathlib.Path, str]:
  """The file of some weights, on this machine.

  Args:
    source: as for `find`.
    offline: whether to look into the cache alone.

  Returns:
    (the file, `Weights.source`).

  Raises:
    ValueError: as `find`.
    ImportError: huggingface_hub is not installed.
  """
  found = repository(source)
  if not found:
    return pathlib.Path(source), source
  from blt_jax.models import hub  # Needed where weights are in a repository.

  name, revision = found
  path = hub.fetch(name, WEIGHTS, revision=revision, offline=offline)
  return path, f"hf:{name}@{path.parent.name}"


def _trained_size(opened: Any) -> int:
  """Side of the images that a file's position embeddings are for, or 0."""
  keys = list(opened.keys())
  positions, kernel = (
    [opened.get_slice(key).get_shape() for key in keys if key.endswith(name)]
    for name in (POSITIONS, PATCHES)
  )
  if list(map(len, positions)) != [3] or list(map(len, kernel)) != [4]:
    return 0
  return math.isqrt(positions[0][1]) * kernel[0][3]


def _beside(path: pathlib.Path, settled: str) -> pathlib.Path | None:
  """The config.json that is with a file of weights, if there is one.

  Raises:
    ValueError: it can't be told whether there is one. A run would keep what is
      usual for the network, though its weights may be of another preprocessing.
  """
  found = repository(settled)
  if not found:
    beside = path.with_name(CONFIG)
    return beside if beside.is_file() else None
  from blt_jax.models import hub

  try:
    return hub.fetch_if_there(found[0], CONFIG, revision=found[1])
  except ValueError as error:
    raise ValueError(
      f"{error} {CONFIG} says how images were prepared for these weights; for "
      f"what is usual for their network, name the file alone, {path}, and "
      "config.model.backbone."
    ) from None


def sha256(path: pathlib.Path) -> str:
  """The SHA-256 of a file, hexadecimal."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def is_copy(source: str, expected: str) -> bool:
  """Whether weights are a file of this machine with a hash that is not ""."""
  path = pathlib.Path(source)
  is_file = bool(expected) and not repository(source) and path.is_file()
  return is_file and sha256(path) == expected


def check_sha256(source: str, found: str, expected: str) -> None:
  """Refuses weights that have changed.

  Args:
    source: as for `find`.
    found: hash of their file.
    expected: the hash that it has to have; "" for any.

  Raises:
    ValueError: has both.
  """
  if expected and found != expected:
    raise ValueError(
      f"{source} has SHA-256 {found}; expected {expected}, as "
      "config.model.pretrained_sha256 says: the file has changed."
    )


def _usual(name: str) -> Preprocessing | None:
  """What the table says of a backbone."""
  return next(
    (found for begin, found in _USUAL.items() if name.startswith(begin)), None
  )


def _by_name(source: str) -> str:
  """The backbone that a file or repository is named after, or "".

  Its name is what is before any dot; a tag of timm's may follow.
  """
  last = source.partition("@")[0].replace("\\", "/").rpartition("/")[2]
  name, _, rest = last.partition(".")
  return _of_tag(name, rest.partition(".")[0]) if name in BACKBONES else ""


def _of_tag(architecture: str, tag: str) -> str:
  """The network of weights that timm has under a tag.

  timm names the network that has the exact GELU for OpenAI's, who trained with
  the quick one, as a note in timm's source says.
  """
  if tag == "openai" and "quickgelu" not in architecture:
    return architecture.replace("_clip_", "_clip_quickgelu_")
  return architecture


def _read_config(path: pathlib.Path) -> Mapping[str, Any] | None:
  """A config.json of timm's form, None for one of another.

  Raises:
    ValueError: when it is no JSON.
  """
  with open(path, "rb") as file:
    text = file.read(_MOST)
  try:
    content = json.loads(text)
  except (ValueError, RecursionError):
    raise ValueError(
      f"{path}: not JSON; expected what timm writes beside its weights."
    ) from None
  is_timms = isinstance(content, dict) and "pretrained_cfg" in content
  return content if is_timms else None


def _of_timm(
  content: Mapping[str, Any], where: str
) -> tuple[str, int, Preprocessing]:
  """(architecture, classes, preprocessing) of timm's config.json.

  Raises:
    ValueError: names the field that has another form.
  """
  given = content["pretrained_cfg"]
  if not isinstance(given, dict):
    raise ValueError(
      f"{where}: pretrained_cfg is {given!r}; expected an object."
    )
  # The values of a field that is not there are timm's.
  shape = given.get("input_size", [3, 224, 224])
  crop = given.get("crop_pct", 0.875)
  is_square = (
    isinstance(shape, list)
    and len(shape) == 3
    and all(type(each) is int and each > 0 for each in shape)
    and shape[1] == shape[2]
  )
  if not is_square or shape[0] != 3:
    raise ValueError(
      f"{where}: input_size is {shape!r}; expected [3, SIDE, SIDE]: networks "
      "here see squares of three colours."
    )
  if not _is_number(crop) or not 0 < crop <= 1:
    raise ValueError(
      f"{where}: crop_pct is {crop!r}; expected a number above 0 and at most 1."
    )
  classes = content.get("num_classes", given.get("num_classes", 0))
  architecture = content.get("architecture", "")
  if not isinstance(architecture, str):
    architecture = ""
  return (
    _of_tag(architecture, str(given.get("tag"))),
    classes if type(classes) is int else 0,
    Preprocessing(
      _colors(given, "mean", IMAGENET[0], where),
      _colors(given, "std", IMAGENET[1], where),
      interpolation=str(given.get("interpolation", "bicubic")),
      crop=crop,
      size=shape[1],
    ),
  )


def _of_export(
  content: Mapping[str, Any], where: str
) -> tuple[str, int, Preprocessing]:
  """`_of_timm` of what an export of this package says of itself."""
  size, short = content.get("image_size"), content.get("resize_size")
  if not (
    isinstance(size, int) and isinstance(short, int) and 0 < size <= short
  ):
    raise ValueError(
      f"{where}: image_size and resize_size are {size!r} and {short!r}; "
      "expected whole numbers, as --mode=export writes them."
    )
  names = content.get("class_names")
  return (
    str(content.get("backbone", "")),
    len(names) if isinstance(names, list) else 0,
    Preprocessing(
      _colors(content, "mean", None, where),
      _colors(content, "std", None, where),
      interpolation=str(content.get("interpolation", "bilinear")),
      crop=fractions.Fraction(size, short),
      size=size,
    ),
  )


def _colors(
  content: Mapping[str, Any], name: str, usual: Colors | None, where: str
) -> Colors:
  """Three numbers in 0..1, those of std above 0."""
  value = content.get(name, usual)
  if (
    not isinstance(value, list | tuple)
    or len(value) != 3
    or not all(_is_number(each) and 0 <= each <= 1 for each in value)
    or (name == "std" and not all(value))
  ):
    raise ValueError(
      f"{where}: {name} is {value!r}; expected three numbers from 0 to 1"
      f"{', not 0' if name == 'std' else ''}."
    )
  red, green, blue = (float(each) for each in value)
  return red, green, blue


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _parsed(text: str | None) -> Mapping[str, Any] | None:
  """The object in a text of JSON, None for another text."""
  try:
    content = json.loads(text or "null")
  except (ValueError, RecursionError):
    return None
  return content if isinstance(content, dict) else None
