"""Writes image lists for CIFAR-10 as JPEG files.

    python benchmarks/cifar10_lists.py --root=DIR

DIR holds train/airplane/0000.jpg ... and test/airplane/0000.jpg ...; train.txt
and test.txt with "path label" lines and classes.txt are written into it.
Classes are numbered in the order of their names, which is CIFAR-10's own.
"""

import pathlib

from absl import app, flags

_ROOT = flags.DEFINE_string(
  "root", None, "Folder of train/ and test/.", required=True
)


def main(_: list[str]) -> None:
  """Writes the lists."""
  root = pathlib.Path(_ROOT.value)
  classes = sorted(path.name for path in (root / "train").iterdir())
  (root / "classes.txt").write_text("\n".join(classes) + "\n")
  for split in ("train", "test"):
    lines = [
      f"{path.relative_to(root).as_posix()} {label}"
      for label, name in enumerate(classes)
      for path in sorted((root / split / name).glob("*.jpg"))
    ]
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    print(f"{root / split}.txt: {len(lines)} images")


if __name__ == "__main__":
  app.run(main)
