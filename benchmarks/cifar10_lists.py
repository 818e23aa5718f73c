"""Writes image lists for CIFAR-10 as JPEG files.

    .venv/bin/python benchmarks/cifar10_lists.py --root=DIR

DIR holds train/airplane/0000.jpg ... and test/airplane/0000.jpg ...; train.txt
and test.txt with "path label" lines and classes.txt are written into it.
Classes are numbered in the order of their names, which is CIFAR-10's own.

For a search of settings that never looks at the test images, train.txt is also
cut in two: selection.txt has the last 500 images of each class, search.txt the
others.
"""

import pathlib

from absl import app, flags

SELECTION_PER_CLASS = 500

_ROOT = flags.DEFINE_string(
  "root", None, "Folder of train/ and test/.", required=True
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


def _class_lines(
  root: pathlib.Path, split: str, label: int, name: str
) -> list[str]:
  """The lines of one class of train/ or test/."""
  return [
    f"{path.relative_to(root).as_posix()} {label}"
    for path in sorted((root / split / name).glob("*.jpg"))
  ]


if __name__ == "__main__":
  app.run(main)
