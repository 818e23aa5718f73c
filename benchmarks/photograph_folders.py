"""Sorts photographs of ImageNet into folders as a user might have them.

    .venv/bin/python -m benchmarks.photograph_folders --tar=FILE --root=DIR

The archive holds WNID_name.JPEG files (shared/data/imagenet_samples.tar: one of
each of 334 classes). Groups are made by hand of ranges of WordNet's numbers,
which follow its hierarchy; they are long-tailed by themselves.
"""

import collections
import pathlib
import tarfile

from absl import app, flags

# The first number of a group of neighbours; each ends where the next begins.
_GROUPS = {
  1440764: "fish",
  1514668: "birds",
  1629819: "reptiles_and_amphibians",
  1768244: "invertebrates",
  1795545: "birds",
  1871265: "mammals",
  1910747: "invertebrates",
  2002556: "birds",
  2062744: "mammals",
  2085620: "dogs",
  2115641: "mammals",
  2123045: "cats",
  2132136: "mammals",
  2165105: "invertebrates",
  2325366: "mammals",
  2514041: "fish",
  2666196: "things",
  7579787: "food",
  9193705: "scenes",
  11879895: "plants",
  15075141: "things",
}

_TAR = flags.DEFINE_string("tar", None, "The archive.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder to write.", required=True)


def main(_: list[str]) -> None:
  """Writes ROOT/GROUP/FILE, and prints the number of files of each group."""
  root = pathlib.Path(_ROOT.value)
  counts: collections.Counter[str] = collections.Counter()
  with tarfile.open(_TAR.value) as archive:
    for member in archive:
      file = archive.extractfile(member)
      name = pathlib.PurePosixPath(member.name).name
      if file is None or not name.endswith(".JPEG"):
        continue
      folder = root / _group(int(name[1:9]))
      folder.mkdir(parents=True, exist_ok=True)
      (folder / name).write_bytes(file.read())
      counts[folder.name] += 1
  for group, count in counts.most_common():
    print(f"{group}: {count}")


def _group(number: int) -> str:
  return _GROUPS[max(first for first in _GROUPS if first <= number)]


if __name__ == "__main__":
  app.run(main)
