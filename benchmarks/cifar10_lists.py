"""Writes image lists for CIFAR-10 as JPEG files.

    .venv/bin/python -m benchmarks.cifar10_lists --root=DIR

DIR holds train/airplane/0000.jpg ... and test/airplane/0000.jpg ...; train.txt
and test.txt with "path label" lines and classes.txt are written into it.
Classes are numbered in the order of their names, which is CIFAR-10's own.

For a search of settings that never looks at the test images, train.txt is also
cut in two: selection.txt has the last 500 images of each class, search.txt the
others. --protocol=LISTS writes the splits of `small_cifar10_lt.py`.
"""

import pathlib

from absl import app, flags

from benchmarks import small_protocol

SELECTION_PER_CLASS = 500

_ROOT = flags.DEFINE_string(
  "root", None, "Folder of train/ and test/.", required=True
)
_PROTOCOL = flags.DEFINE_string(
  "protocol", None, "Folder for the lists of the small protocol's splits."
)


def main(_: list[str]) -> None:
  """Writes the lists."""
  root = pathlib.Path(_ROOT.value)
  classes = sorted(path.name for path in (root / "train").iterdir())
  (root / "classes.txt").write_text("\n".join(classes) + "\n")
  lines = {
    split: [
      _class_lines(root, split, c, name) for c, name in enumerate(classes)
    ]
    for split in ("train", "test")
  }
  lines["search"] = [each[:-SELECTION_PER_CLASS] for each in lines["train"]]
  lines["selection"] = [each[-SELECTION_PER_CLASS:] for each in lines["train"]]
  for name, by_class in lines.items():
    flat = [line for each in by_class for line in each]
    (root / f"{name}.txt").write_text("\n".join(flat) + "\n")
    print(f"{root / name}.txt: {len(flat)} images")
  if _PROTOCOL.value:
    _write_protocol(root, pathlib.Path(_PROTOCOL.value))


def _class_lines(
  root: pathlib.Path, split: str, label: int, name: str
) -> list[str]:
  """The lines of one class of train/ or test/."""
  return [
    f"{path.relative_to(root).as_posix()} {label}"
    for path in sorted((root / split / name).glob("*.jpg"))
  ]


def _write_protocol(root: pathlib.Path, folder: pathlib.Path) -> None:
  """Which images the small protocol trains, validates and tests on."""
  dataset = small_protocol.load(root)
  folder.mkdir(parents=True, exist_ok=True)
  for part in ("train", "validation", "test"):
    split = getattr(dataset, part)
    lines = [
      f"{pathlib.Path(str(path)).relative_to(root).as_posix()} {label}\n"
      for path, label in zip(split.paths, split.labels, strict=True)
    ]
    (folder / f"{part}.txt").write_text("".join(lines))


if __name__ == "__main__":
  app.run(main)
