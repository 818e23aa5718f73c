"""What is wrong or odd about a data set, from a scan of its images."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.checks.check import EXTREME_ASPECT, Scan
from blt_jax.data.checks.facts import Fact
from blt_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
  """Images that share a remark.

  Attributes:
    severity: "error", "warning" or "note".
    title: what they are: "unreadable images".
    images: int64 [k], positions in the Scan, ascending.
    copies_of: int64 [k], the earlier image that each of them equals, or None.
    reasons: image -> more about it.
  """

  severity: str
  title: str
  images: np.ndarray
  copies_of: np.ndarray | None = None
  reasons: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
  """A checked data set.

  Attributes:
    dataset: what was checked.
    scan: what its images told.
    groups: shot group -> bool [C].
    findings: about images, errors first.
    facts: what is known of the data set beside what was found.
    facts_note: why there are no facts, or "".
    seconds: that reading took.
  """

  dataset: Dataset
  scan: Scan
  groups: Mapping[str, np.ndarray]
  findings: tuple[Finding, ...]
  facts: tuple[Fact, ...]
  facts_note: str
  seconds: float

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


def report(
  dataset: Dataset,
  scan: Scan,
  *,
  image_size: int,
  shot_limits: Mapping[str, int],
  facts: Sequence[Fact] = (),
  facts_note: str = "",
  seconds: float = 0.0,
) -> Report:
  """Judges a scanned data set.

  Args:
    dataset: what was scanned.
    scan: from check.scan.
    image_size: short side below which images are noted, pixels.
    shot_limits: many_above and few_up_to, see longtail.shot_groups.
    facts: from check_facts.compare.
    facts_note: why there are no facts.
    seconds: that the scan took.

  Returns:
    The Report.
  """
  found = [
    *_unreadable(scan),
    *_copies(scan),
    *_odd_kinds(scan),
    *_odd_files(scan, image_size),
  ]
  order = ("error", "warning", "note")
  return Report(
    dataset=dataset,
    scan=scan,
    groups=longtail.shot_groups(dataset.class_counts, **shot_limits),
    findings=tuple(sorted(found, key=lambda f: order.index(f.severity))),
    facts=tuple(facts),
    facts_note=facts_note,
    seconds=seconds,
  )


def _unreadable(scan: Scan) -> Iterator[Finding]:
  images = np.array(sorted(scan.errors), np.int64)
  yield from _if_any("error", "unreadable images", images, reasons=scan.errors)


def _copies(scan: Scan) -> Iterator[Finding]:
  """Images with the same content as an earlier one."""
  images, first = same_content(scan)
  across = scan.split[images] != scan.split[first]
  yield from _if_any(
    "error",
    "images that are in another split as well",
    images[across],
    copies_of=first[across],
  )
  other_label = ~across & (scan.label[images] != scan.label[first])
  in_training = scan.split[images] == 0
  for severity, title, mask in (
    (
      "warning",
      "training images that are in another class as well",
      other_label & in_training,
    ),
    (
      "note",
      "images of another split that are in another class as well",
      other_label & ~in_training,
    ),
    (
      "note",
      "images that are twice in their class and split",
      ~across & ~other_label,
    ),
  ):
    yield from _if_any(severity, title, images[mask], copies_of=first[mask])


def same_content(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
  """Finds images with the same content.

  Args:
    scan: n images; those that can't be decoded play no part.

  Returns:
    (images, first): int64 [k] each; images[i], ascending, equals the earlier
    first[i], which is the first of its content.
  """
  good = np.flatnonzero(scan.good)
  digest = scan.digest[good]
  order = np.lexsort((digest[:, 1], digest[:, 0]))  # Stable: images ascend.
  ordered = digest[order]
  begins = np.ones(len(good), bool)
  begins[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
  if not len(good):
    return good, good
  starts = np.maximum.accumulate(np.where(begins, np.arange(len(good)), 0))
  images, first = good[order[~begins]], good[order[starts[~begins]]]
  ascending = np.argsort(images)
  return images[ascending], first[ascending]


def _odd_kinds(scan: Scan) -> Iterator[Finding]:
  """Everything but three channels of 8 bits."""
  good = scan.good
  for code, kind in enumerate(scan.kinds):
    if kind.partition(" ")[2] == "RGB":
      continue
    images = np.flatnonzero(good & (scan.kind == code))
    yield from _if_any("note", f"{kind} images", images)


def _odd_files(scan: Scan, image_size: int) -> Iterator[Finding]:
  """Names, orientations and sizes that surprise."""
  good = scan.good
  short = np.minimum(scan.width, scan.height)
  long = np.maximum(scan.width, scan.height)
  for title, mask in (
    ("files of another format than their name says", scan.misnamed),
    ("images with an EXIF orientation, which is ignored", scan.rotated),
    (
      f"images with a side of less than {image_size} pixels",
      short < image_size,
    ),
    (
      f"images with a side over {EXTREME_ASPECT:g} times the other",
      long > EXTREME_ASPECT * short,
    ),
  ):
    yield from _if_any("note", title, np.flatnonzero(good & mask))


def _if_any(
  severity: str, title: str, images: np.ndarray, **more: Any
) -> Iterator[Finding]:
  if len(images):
    yield Finding(severity, title, images, **more)
