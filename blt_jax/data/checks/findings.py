"""Finds what is wrong or odd in the scan of a data set."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from blt_jax.data.checks import near
from blt_jax.data.checks.facts import Fact
from blt_jax.data.checks.scan import Scan
from blt_jax.data.dataset import Dataset

SEVERITIES = ("error", "warning", "note")

# Longer side over shorter side from which an image is noted.
_EXTREME_ASPECT = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
  """Images that share a remark.

  Attributes:
    severity: "error", "warning" or "note".
    name: short, for a column of a table: "leak".
    title: names the images: "unreadable images".
    action: what to do about one of them, or "" for nothing.
    images: int64 [k], rows of the Scan, ascending.
    others: int64 [k], an earlier image that each of them equals, looks like or
      belongs to, or None.
  """

  severity: str
  name: str
  title: str
  action: str
  images: np.ndarray
  others: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
  """A checked data set.

  Attributes:
    dataset: what was checked.
    scan: the results of reading its images.
    groups: shot group -> bool [C].
    findings: about images, errors first.
    facts: numbers that were found, with the known ones.
    facts_note: why there are no facts, or "".
    advice: remarks on the sizes of the classes, see data.advice.
    seconds: time that reading took.
  """

  dataset: Dataset
  scan: Scan
  groups: Mapping[str, np.ndarray]
  findings: tuple[Finding, ...]
  facts: tuple[Fact, ...] = ()
  facts_note: str = ""
  advice: Sequence[str] = ()
  seconds: float = 0.0

  @property
  def empty_classes(self) -> np.ndarray:
    """int64 [k], classes without a training image."""
    return np.flatnonzero(self.dataset.class_counts == 0)

  @property
  def errors(self) -> int:
    """Number of things that are wrong; the data set is sound if it is 0."""
    return (
      sum(len(f.images) for f in self.findings if f.severity == "error")
      + len(self.empty_classes)
      + sum(not fact.holds for fact in self.facts)
    )

  @property
  def warnings(self) -> int:
    """Number of images with a warning, once for each."""
    return sum(len(f.images) for f in self.findings if f.severity == "warning")


def find(scan: Scan, image_size: int) -> tuple[Finding, ...]:
  """Judges scanned images: errors first.

  Args:
    scan: of a data set.
    image_size: short side below which images are noted, pixels.
  """
  unreadable = np.array(sorted(scan.errors), np.int64)
  found = [
    Finding(
      "error",
      "unreadable",
      "unreadable images",
      "save it again or remove it",
      unreadable,
    ),
    Finding(
      "warning",
      "not finite",
      "grey images with NaN or infinity (NaN and -infinity become black, "
      "infinity white)",
      "save it again with finite values",
      np.flatnonzero(scan.rows["infinite"]),
    ),
    Finding(
      "warning",
      "damaged pixels",
      "JPEG images with damaged pixels, used as far as they can be decoded",
      "look at it; save it again from a better copy, or remove it",
      np.array(sorted(scan.damage), np.int64),
    ),
    *_copies(scan),
    *_torn(scan),
    *_oddities(scan, image_size),
  ]
  found = [finding for finding in found if len(finding.images)]
  return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


# (severity, name, title, what to do) of each kind of copy.
_LEAK = (
  "error",
  "leak",
  "images that are in another split as well",
  "remove it from this split",
)
_NEAR_LEAK = (
  "warning",
  "near leak",
  "images that look the same as one of another split",
  "compare the two; remove it from this split if it is a copy",
)
_TWO_CLASSES = (
  "warning",
  "two classes",
  "training images that are in another class as well",
  "keep it in one class",
)
_TWO_CLASSES_ELSEWHERE = (
  "note",
  "two classes",
  "images of another split that are in another class as well",
  "keep it in one class",
)
_NEAR_TWO_CLASSES = (
  "note",
  "near two classes",
  "images that look the same as one of another class",
  "compare the two; keep one class if they show the same",
)
_TWICE = (
  "note",
  "twice",
  "images that are twice in their class and split",
  "remove it",
)


def _copies(scan: Scan) -> list[Finding]:
  """Images with the content of an earlier one, or that look like one."""
  first, alike = first_of_content(scan), near.first_alike(scan.rows["look"])
  copied = first != np.arange(len(scan))
  near_copy = (alike != np.arange(len(scan))) & (alike != first) & ~copied
  split, label = scan.rows["split"], scan.rows["label"]
  leaked, near_leak = (split != split[other] for other in (first, alike))
  moved, near_moved = (label != label[other] for other in (first, alike))
  two_classes = copied & ~leaked & moved
  training = split == 0
  return [
    Finding(*kind, np.flatnonzero(mask), other[mask])
    for kind, other, mask in (
      (_LEAK, first, copied & leaked),
      (_NEAR_LEAK, alike, near_copy & near_leak),
      (_TWO_CLASSES, first, two_classes & training),
      (_TWO_CLASSES_ELSEWHERE, first, two_classes & ~training),
      (_NEAR_TWO_CLASSES, alike, near_copy & ~near_leak & near_moved),
      (_TWICE, first, copied & ~leaked & ~moved),
    )
  ]


def _torn(scan: Scan) -> list[Finding]:
  """Images whose camera, patient or specimen is in an earlier split as well."""
  groups = np.concatenate(
    [
      np.full(len(split), "", object)
      if split.groups is None
      else split.groups.astype(object)
      for split in scan.splits.values()
    ]
  )
  known = np.flatnonzero(groups != "")
  _, start, group = np.unique(
    groups[known].astype(str), return_index=True, return_inverse=True
  )
  first = known[start][group]
  split = scan.rows["split"]
  torn = split[known] != split[first]
  number = len(np.unique(group[torn]))
  return [
    Finding(
      "warning",
      "torn group",
      "images whose group is in another split as well"
      f" ({number} of {len(start)} groups)",
      "put all images of its group into one split",
      known[torn],
      first[torn],
    )
  ]


def first_of_content(scan: Scan) -> np.ndarray:
  """For each image the first one with the same content, usually itself.

  Returns:
    int64 [n], rows.
  """
  result = np.arange(len(scan))
  good = np.flatnonzero(scan.good)
  _, first, content = np.unique(
    scan.rows["digest"][good], return_index=True, return_inverse=True
  )
  result[good] = good[first[content]]
  return result


def _oddities(scan: Scan, image_size: int) -> list[Finding]:
  """Images with an unusual format, name, orientation or size."""
  rows, good = scan.rows, scan.good
  short = np.minimum(rows["width"], rows["height"])
  long = np.maximum(rows["width"], rows["height"])
  odd_kinds = [
    (kind, f"{kind} images", rows["kind"] == number)
    for number, kind in enumerate(scan.kinds)
    if kind.partition(" ")[2] != "RGB"  # Three channels of 8 bits.
  ]
  return [
    Finding("note", name, title, "", np.flatnonzero(good & mask))
    for name, title, mask in (
      *odd_kinds,
      (
        "misnamed",
        "files of another format than their name says",
        rows["misnamed"],
      ),
      (
        "orientation",
        "images whose EXIF data ask for another orientation",
        rows["rotated"],
      ),
      (
        "small",
        f"images with a side of less than {image_size} pixels",
        short < image_size,
      ),
      (
        "elongated",
        f"images with a side over {_EXTREME_ASPECT:g} times the other",
        long > _EXTREME_ASPECT * short,
      ),
    )
  ]
