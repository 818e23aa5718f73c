"""The most useful things to do about a checked data set, by name."""

from collections.abc import Iterator

import numpy as np

from blt_jax.data.checks.findings import Finding, Report
from blt_jax.data.text import counted, printable, shortened

_MOST = 3
_NAME_WIDTH = 60  # Columns of a name or a path.

# What to do about the images of a finding, the most useful first: without an
# error the accuracies can be trusted; without a warning they are not too good.
_DEEDS = {
  "unreadable": "save again or remove {images}: damaged or no image at all",
  "leak": "remove {copies} of images of another split from {splits}",
  "near leak": (
    "compare {images} of {splits} with those of another split that look the "
    "same, and remove the copies"
  ),
  "torn group": (
    "split anew by groups with --config.dataset.split=none: another split has "
    "the groups of {images} of {splits}"
  ),
  "damaged pixels": (
    "look at {images} with damaged pixels: replace or remove those that show "
    "too little"
  ),
  "not finite": "save {images} again without NaN and infinity",
  "two classes": "choose one class for {images}, now in two",
  "near two classes": (
    "compare {images} with those of another class that look the same"
  ),
  "twice": "remove {images}, now twice in the same class and split",
}


def first_things(report: Report, table: str) -> list[str]:
  """At most three things to do, the most useful first.

  Args:
    report: of a data set.
    table: the file with the findings, or "".
  """
  deeds = [*_about_classes(report)]
  for name in _DEEDS:
    deeds += [
      _deed(report, finding, table)
      for finding in report.findings
      if finding.name == name
    ]
    if name == "two classes":  # What follows is worth less than this advice.
      deeds += report.advice
  return deeds[:_MOST]


def _about_classes(report: Report) -> Iterator[str]:
  """What to do about classes without images and about unexpected numbers."""
  empty = report.empty_classes
  if len(empty):
    name = _short(report.dataset.class_names[empty[0]])
    yield (
      f"add training images of {_classes(len(empty))} without any, or remove "
      f"{'it' if len(empty) == 1 else 'them'}: {name}"
      + (" ..." if len(empty) > 1 else "")
    )
  wrong = [fact for fact in report.facts if not fact.holds]
  if wrong:
    yield (
      f"compare the lists with the published {report.dataset.name}: "
      f"{wrong[0].name} is {wrong[0].found}; expected {wrong[0].expected}"
    )


def _deed(report: Report, finding: Finding, table: str) -> str:
  scan, number = report.scan, len(finding.images)
  splits = [
    name
    for place, name in enumerate(scan.splits)
    if np.any(scan.rows["split"][finding.images] == place)
  ]
  text = _DEEDS[finding.name].format(
    images=counted(number, "image"),
    copies="1 copy" if number == 1 else f"{number} copies",
    splits=" and ".join(splits),
  )
  example = _short(scan.image_name(int(finding.images[0])))
  rows = f"; rows {finding.name!r} of {table}" if table else ""
  return f"{text} (such as {example}{rows})"


def _classes(number: int) -> str:
  return "1 class" if number == 1 else f"{number} classes"


def _short(name: str) -> str:
  return shortened(printable(name), _NAME_WIDTH)
