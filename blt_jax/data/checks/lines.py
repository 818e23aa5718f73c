"""The report of a checked data set: text for a terminal, rows for a CSV."""

import csv
from collections.abc import Iterator

import numpy as np

from blt_jax.data.checks import near
from blt_jax.data.checks.findings import Finding, Report
from blt_jax.data.checks.scan import Scan
from blt_jax.data.checks.todo import first_things
from blt_jax.data.text import counted, printable, shortened

_LISTED = 20
_EXACT = ("leak", "two classes", "twice")  # Of the same content.
_LEAKS = ("leak", "near leak")  # Of any label.
_CLASSES_LISTED = 3
_COLUMNS = (
  "severity",
  "finding",
  "action",
  "split",
  "class",
  "path",
  "other path",
  "detail",
)


def text(report: Report, table: str = "") -> str:
  """The report in lines: what was found, what is wrong, what to do first.

  Errors and warnings list their first 20 images, notes one.

  Args:
    report: of a data set.
    table: the CSV file that has all findings, or "".
  """
  todo = first_things(report, table)
  return "\n".join(
    [
      *_title(report),
      *_splits(report),
      *_classes(report),
      *_kinds_and_sizes(report.scan),
      *_deep_values(report.scan),
      *_facts(report),
      *_empty_classes(report),
      *(line for f in report.findings for line in _finding(report, f)),
      *_small(report.scan),
      *_not_searched(report.scan),
      _result(report),
      *(["what to do first:"] if todo else []),
      *(f"  {place}. {deed}" for place, deed in enumerate(todo, start=1)),
    ]
  )


def write_csv(report: Report, path: str) -> None:
  """Writes a row for every finding, and one with the size of every class.

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
        "finding": "unexpected number",
        "detail": f"{fact.name}: {fact.found}; expected {fact.expected}",
      }
  for finding in report.findings:
    for k, image in enumerate(finding.images.tolist()):
      yield {
        "severity": finding.severity,
        "finding": finding.name,
        "action": finding.action,
        "split": scan.split_name(image),
        "class": names[scan.rows["label"][image]],
        "path": scan.image_name(image),
        **_other(report, finding, k),
      }
  for name, count in zip(names, report.dataset.class_counts, strict=True):
    yield {
      "severity": "count" if count else "error",
      "finding": "training images" if count else "empty class",
      "action": "" if count else "add training images",
      "split": "train",
      "class": name,
      "detail": count,
    }


def _other(report: Report, finding: Finding, k: int) -> dict:
  """The columns about the image that the k-th one of a finding is like."""
  scan, image = report.scan, int(finding.images[k])
  row = scan.rows[image]
  seen = f"{scan.kinds[row['kind']]}, {row['width']} x {row['height']} pixels"
  if finding.others is None:
    return {"detail": _reason(scan, finding, image) or seen}
  other = int(finding.others[k])
  name = report.dataset.class_names[scan.rows["label"][other]]
  detail = f"the other: {scan.split_name(other)}, class {name}; {seen}"
  if _disagrees(report, finding, k):
    detail += "; the labels disagree"
  return {"other path": scan.image_name(other), "detail": detail}


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
    listed = ", ".join(
      f"{shortened(printable(names[c]), 60)}: {counts[c]}" for c in chosen
    )
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


def _deep_values(scan: Scan) -> Iterator[str]:
  """The ranges of grey of more than 8 bits, by kind."""
  deep = scan.rows["low"] != scan.rows["high"]
  for code, kind in enumerate(scan.kinds):
    rows = scan.rows[deep & (scan.rows["kind"] == code)]
    if not len(rows):
      continue
    low, high = rows["low"].min(), rows["high"].max()
    line = f"values of {len(rows)} {kind} images: {low:g} to {high:g}"
    if "F" not in kind.split() and low >= 0:
      line += f", {int(high).bit_length()} bits"
    yield line


def _small(scan: Scan) -> Iterator[str]:
  """Says which images are not searched for near copies."""
  side = np.minimum(scan.rows["width"], scan.rows["height"])
  small = int(np.sum(scan.good & (side < near.LEAST_SIDE)))
  if small:
    yield (
      f"{counted(small, 'image')} with a side of less than {near.LEAST_SIDE}"
      " pixels: compared for exact copies only"
    )


def _not_searched(scan: Scan) -> Iterator[str]:
  """Says that nothing looked for damaged pixels, and why."""
  if scan.not_searched:
    yield f"not searched for damaged pixels of JPEG images: {scan.not_searched}"


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
  disagree = sum(
    _disagrees(report, finding, k) for k in range(len(finding.images))
  )
  if disagree:
    title += f", {disagree} of them with another label"
  if finding.severity == "note":
    yield f"{title}, as {_example(report, finding, 0)}"
    return
  yield title
  for k in range(min(len(finding.images), _LISTED)):
    yield f"  {_example(report, finding, k)}"
  yield from _rest(len(finding.images))


def _example(report: Report, finding: Finding, k: int) -> str:
  """The k-th image, the one that it is like, and what is wrong with it."""
  image = int(finding.images[k])
  text, reason = _image(report, image), _reason(report.scan, finding, image)
  if finding.others is not None:
    sign = "=" if finding.name in _EXACT else "~"
    text += f" {sign} {_image(report, int(finding.others[k]))}"
  if _disagrees(report, finding, k):
    text += ": the labels disagree"
  return f"{text}: {reason}" if reason else text


def _reason(scan: Scan, finding: Finding, image: int) -> str:
  """Why an image can't be read, or what is damaged."""
  if finding.name == "damaged pixels":
    return scan.damage[image]
  return scan.errors.get(image, "")


def _disagrees(report: Report, finding: Finding, k: int) -> bool:
  """Whether the k-th image is a copy from another split with another label."""
  if finding.others is None or finding.name not in _LEAKS:
    return False
  label = report.scan.rows["label"]
  return bool(label[finding.images[k]] != label[finding.others[k]])


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
  if report.errors:
    return f"WRONG, errors: {report.errors}"
  if report.warnings:
    return f"no errors, {counted(report.warnings, 'warning')}"
  return "nothing is wrong"
