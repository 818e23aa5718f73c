"""The report of a checked data set: text for a terminal, rows for a CSV."""

import csv
from collections.abc import Iterator

import numpy as np

from blt_jax.data.checks.findings import Finding, Report
from blt_jax.data.checks.scan import Scan
from blt_jax.data.text import printable

_LISTED = 20
_CLASSES_LISTED = 3
_COLUMNS = (
  "severity",
  "finding",
  "split",
  "class",
  "image",
  "copy_of",
  "detail",
  "kind",
  "width",
  "height",
)


def text(report: Report) -> str:
  """The report in lines: what was found, what is expected, what is wrong.

  Errors and warnings list their first 20 images, notes one.
  """
  return "\n".join(
    [
      *_title(report),
      *_splits(report),
      *_classes(report),
      *_kinds_and_sizes(report.scan),
      *_facts(report),
      *_empty_classes(report),
      *(line for f in report.findings for line in _finding(report, f)),
      _result(report),
    ]
  )


def write_csv(report: Report, path: str) -> None:
  """Writes every finding and the size of every class.

  Raises:
    OSError: the file can't be written.
  """
  # Names of files need not be UTF-8; this keeps their bytes.
  with open(
    path, "w", newline="", encoding="utf-8", errors="surrogateescape"
  ) as file:
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(report))


def _rows(report: Report) -> Iterator[dict]:
  scan, names = report.scan, report.dataset.class_names
  for fact in report.facts:
    if not fact.holds:
      yield {
        "severity": "error",
        "finding": f"unexpected {fact.name}",
        "detail": f"{fact.found}; expected {fact.expected}",
      }
  for finding in report.findings:
    for k, image in enumerate(finding.images.tolist()):
      yield {
        "severity": finding.severity,
        "finding": finding.title,
        "split": scan.split_name(image),
        "class": names[scan.rows["label"][image]],
        "image": scan.image_name(image),
        "copy_of": _copied(report, finding, k),
        "detail": scan.errors.get(image, ""),
        "kind": scan.kinds[scan.rows["kind"][image]],
        "width": scan.rows["width"][image],
        "height": scan.rows["height"][image],
      }
  for name, count in zip(names, report.dataset.class_counts, strict=True):
    yield {
      "severity": "count" if count else "error",
      "finding": "training images of the class",
      "split": "train",
      "class": name,
      "detail": count,
    }


def _title(report: Report) -> Iterator[str]:
  images = len(report.scan)
  rate = images / max(report.seconds, 1e-3)
  yield (
    f"{report.dataset.name}: {images} images read and decoded in"
    f" {report.seconds:.1f} s, {rate:.0f} images/s"
  )


def _splits(report: Report) -> Iterator[str]:
  scan = report.scan
  yield f"{'split':<18}{'images':>10}{'unreadable':>12}{'classes':>9}"
  unreadable = np.bincount(
    scan.rows["split"][~scan.good], minlength=len(scan.splits)
  )
  for (name, split), bad in zip(scan.splits.items(), unreadable, strict=True):
    classes = len(np.unique(split.labels))
    yield f"{name:<18}{len(split):>10}{bad:>12}{classes:>9}"
  if len(scan.splits) == 2:
    yield (
      "  The validation images are the test images, too: there is no test list"
      " or folder."
    )


def _classes(report: Report) -> Iterator[str]:
  names, counts = report.dataset.class_names, report.dataset.class_counts
  groups = ", ".join(
    f"{group} {int(mask.sum())}" for group, mask in report.groups.items()
  )
  yield f"classes: {len(names)} ({groups})"
  order = np.argsort(-counts, kind="stable")
  for title, chosen in (
    ("largest", order[:_CLASSES_LISTED]),
    ("smallest", order[::-1][:_CLASSES_LISTED]),
  ):
    listed = ", ".join(f"{printable(names[c])}: {counts[c]}" for c in chosen)
    yield f"  {title}: {listed}"


def _kinds_and_sizes(scan: Scan) -> Iterator[str]:
  good = scan.rows[scan.good]
  if not len(good):
    return
  counts = np.bincount(good["kind"], minlength=len(scan.kinds))
  order = np.argsort(-counts, kind="stable")
  listed = ", ".join(
    f"{scan.kinds[code]} {counts[code]}" for code in order if counts[code]
  )
  yield f"formats: {listed}"
  sizes = ", ".join(
    f"{side} {good[side].min()} / {np.median(good[side]):.0f} /"
    f" {good[side].max()}"
    for side in ("width", "height")
  )
  yield f"smallest / median / largest: {sizes} pixels"


def _facts(report: Report) -> Iterator[str]:
  if report.facts_note:
    yield report.facts_note
  if not report.facts:
    return
  yield f"{report.dataset.name:<18}{'found':>10}{'expected':>18}"
  for fact in report.facts:
    verdict = "ok" if fact.holds else "WRONG"
    yield f"{fact.name:<18}{fact.found:>10}{fact.expected:>18}  {verdict}"


def _empty_classes(report: Report) -> Iterator[str]:
  empty = report.empty_classes
  if not len(empty):
    return
  yield f"error: classes without a training image: {len(empty)}"
  for c in empty[:_LISTED]:
    yield f"  class {c} ({printable(report.dataset.class_names[c])})"
  yield from _rest(len(empty))


def _finding(report: Report, finding: Finding) -> Iterator[str]:
  """A finding, with one image of a note or the first 20 of anything worse."""
  title = f"{finding.severity}: {finding.title}: {len(finding.images)}"
  if finding.severity == "note":
    yield f"{title}, as {_example(report, finding, 0)}"
    return
  yield title
  for k in range(min(len(finding.images), _LISTED)):
    yield f"  {_example(report, finding, k)}"
  yield from _rest(len(finding.images))


def _example(report: Report, finding: Finding, k: int) -> str:
  """The k-th image, what it is a copy of, and why it can't be read."""
  image = int(finding.images[k])
  copied, error = _copied(report, finding, k), report.scan.errors.get(image)
  return (
    _image(report, image)
    + (f" = {copied}" if copied else "")
    + (f": {error}" if error else "")
  )


def _copied(report: Report, finding: Finding, k: int) -> str:
  """The image that the k-th one is a copy of, or ""."""
  if finding.copies_of is None:
    return ""
  return _image(report, int(finding.copies_of[k]))


def _image(report: Report, image: int) -> str:
  """Split, file and class of an image."""
  scan = report.scan
  name = report.dataset.class_names[scan.rows["label"][image]]
  return printable(
    f"{scan.split_name(image)} {scan.image_name(image)} ({name})"
  )


def _rest(count: int) -> Iterator[str]:
  if count > _LISTED:
    yield f"  ... and {count - _LISTED} more"


def _result(report: Report) -> str:
  if not report.errors:
    return "nothing is wrong"
  return f"WRONG, errors: {report.errors}"
