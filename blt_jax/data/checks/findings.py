"""Finds what is wrong or odd in the scan of a data set."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from blt_jax.data.checks.facts import Fact
from blt_jax.data.checks.scan import Scan
from blt_jax.data.dataset import Dataset

# Longer side over shorter side from which an image is noted.
_EXTREME_ASPECT = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
  """Images that share a remark.

  Attributes:
    severity: "error", "warning" or "note".
    title: names the images: "unreadable images".
    images: int64 [k], rows of the Scan, ascending.
    copies_of: int64 [k], the earlier image that each of them equals, or None.
  """

  severity: str
  title: str
  images: np.ndarray
  copies_of: np.ndarray | None = None


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
    seconds: time that reading took.
  """

  dataset: Dataset
  scan: Scan
  groups: Mapping[str, np.ndarray]
  findings: tuple[Finding, ...]
  facts: tuple[Fact, ...] = ()
  facts_note: str = ""
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


def find(scan: Scan, image_size: int) -> tuple[Finding, ...]:
  """Judges scanned images: errors first.

  Args:
    scan: of a data set.
    image_size: short side below which images are noted, pixels.
  """
  unreadable = np.array(sorted(scan.errors), np.int64)
  found = (
    Finding("error", "unreadable images", unreadable),
    *_copies(scan),
    *_oddities(scan, image_size),
  )
  return tuple(finding for finding in found if len(finding.images))


def _copies(scan: Scan) -> list[Finding]:
  """Images with the same content as an earlier one."""
  first = first_of_content(scan)
  split, label = scan.rows["split"], scan.rows["label"]
  copied = first != np.arange(len(scan))
  leaked = copied & (split != split[first])
  moved = copied & ~leaked & (label != label[first])
  training = split == 0
  return [
    Finding(severity, title, np.flatnonzero(mask), first[mask])
    for severity, title, mask in (
      ("error", "images that are in another split as well", leaked),
      (
        "warning",
        "training images that are in another class as well",
        moved & training,
      ),
      (
        "note",
        "images of another split that are in another class as well",
        moved & ~training,
      ),
      (
        "note",
        "images that are twice in their class and split",
        copied & ~leaked & ~moved,
      ),
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
    (f"{kind} images", rows["kind"] == number)
    for number, kind in enumerate(scan.kinds)
    if kind.partition(" ")[2] != "RGB"  # Three channels of 8 bits.
  ]
  return [
    Finding("note", title, np.flatnonzero(good & mask))
    for title, mask in (
      *odd_kinds,
      ("files of another format than their name says", rows["misnamed"]),
      (
        "images whose EXIF data ask for another orientation",
        rows["rotated"],
      ),
      (
        f"images with a side of less than {image_size} pixels",
        short < image_size,
      ),
      (
        f"images with a side over {_EXTREME_ASPECT:g} times the other",
        long > _EXTREME_ASPECT * short,
      ),
    )
  ]
