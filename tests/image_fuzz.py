"""Feeds damaged images through the path on which training reads files.

    python -m tests.image_fuzz --cases=20000 --seed=1 [--images=FILE.tar]

Bytes of good images are flipped, cut, inserted, moved and set: of small ones in
every format and of those of a tar file. The damaged files lie between sound
ones in class folders. Both readers, in turn, must give training and evaluation
batches of them whole, in time and in bounded memory, and the sound images in
them must have the pixels that the other reader gives. A crash or a hang ends
the program, whose last line is otherwise a JSON object with what happened;
--keep=DIR keeps the latest files.
"""

import argparse
import faulthandler
import io
import json
import pathlib
import resource
import tarfile
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from blt_jax.data import input_pipeline, sampling
from blt_jax.data.dataset import Split
from blt_jax.data.reading.decode import Decoding
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.data.reading.substitutes import Substitutes
from blt_jax.data.reading.tf_reader import TfReader

_SIZE = 24
_DECODING = Decoding(max_pixels=1_000_000, grey_range=(0, 65535))
_DAMAGED, _BATCH = 60, 16
_READERS = TfReader, PillowReader
# Seconds that a round of so many damaged images may take.
_LONGEST_ROUND = 120


def good_images() -> dict[str, bytes]:
  """Small images in the formats and modes that people have, by name."""
  rng = np.random.default_rng(0)
  smooth = np.add.outer(np.arange(40), np.arange(56))[..., None] * [1, 2, 3]
  pixels = (smooth + rng.integers(0, 60, (40, 56, 3))).astype(np.uint8)
  image = Image.fromarray(pixels)
  deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
  kinds = (
    (image, "JPEG", {}),
    (image, "JPEG", {"progressive": True}),
    (image.convert("L"), "JPEG", {}),
    (image.convert("CMYK"), "JPEG", {}),
    (image, "PNG", {}),
    (image.convert("P"), "PNG", {}),
    (image.convert("RGBA"), "PNG", {}),
    (deep, "PNG", {}),
    (image, "WEBP", {}),
    (image, "WEBP", {"lossless": True}),
    (image, "GIF", {}),
    (image, "GIF", {"save_all": True, "append_images": [image.rotate(9)]}),
    (image, "BMP", {}),
    (image, "TIFF", {"compression": "tiff_lzw"}),
  )
  images = {}
  for number, (picture, kind, options) in enumerate(kinds):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    images[f"{number:02d}.{kind.lower()}"] = file.getvalue()
  return images


def images_of(archive: str, most: int = 12) -> dict[str, bytes]:
  """The first images of a tar file that are not large."""
  images: dict[str, bytes] = {}
  with tarfile.open(archive) as tar:
    for member in tar:
      content = tar.extractfile(member) if member.size < 300_000 else None
      if content and member.name.lower().endswith((".jpeg", ".jpg", ".png")):
        images[f"photograph{len(images):02d}.jpeg"] = content.read()
      if len(images) == most:
        break
  return images


def damage(rng: np.random.Generator, data: bytes) -> bytes:
  """Changes an image in one to three ways."""
  changed = bytearray(data)
  for _ in range(rng.integers(1, 4)):
    at = int(rng.integers(len(changed) + 1))
    # Headers are short, and what they say matters most.
    at = min(at, int(rng.integers(64))) if rng.random() < 0.5 else at
    length = int(rng.integers(1, 33))
    match rng.integers(6):
      case 0:
        for place in rng.integers(max(len(changed), 1), size=4).tolist():
          changed[place : place + 1] = bytes([1 << place % 8])
      case 1:
        del changed[at:]
      case 2:
        del changed[at : at + length]
      case 3:
        changed[at:at] = rng.bytes(length)
      case 4:
        changed[at : at + length] = rng.bytes(length)
      case 5:
        fill = rng.choice([b"\0", b"\xff", b"\x7f"])
        changed[at : at + 4] = 4 * bytes(fill)
  return bytes(changed)


def make_round(
  rng: np.random.Generator, good: dict[str, bytes], folder: pathlib.Path
) -> tuple[Split, np.ndarray]:
  """Writes damaged and sound files of two classes.

  Returns:
    (the split, bool [n], which are sound).
  """
  names, contents = list(good), []
  for number in range(_DAMAGED):
    name = names[rng.integers(len(names))]
    contents.append((f"{number}-{name}", damage(rng, good[name]), False))
  contents += [(f"sound-{name}", data, True) for name, data in good.items()]
  order = rng.permutation(len(contents))
  paths = []
  for name, data, _ in (contents[i] for i in order):
    paths.append(str(folder / name))
    (folder / name).write_bytes(data)
  sound = np.array([contents[i][2] for i in order])
  labels = np.empty(len(order), np.int32)
  # Every class has sound images, or there would be nothing to stand in.
  for kind in (sound, ~sound):
    labels[kind] = np.arange(kind.sum()) % 2
  return Split(labels, paths=paths), sound


def read_round(split: Split, sound: np.ndarray, seed: int) -> dict[str, int]:
  """Trains and evaluates on a round; raises AssertionError if it goes wrong."""
  plan = sampling.epoch_plan(
    split.labels, seed=seed, stage=1, epoch=1, batch_size=_BATCH
  )
  watch = Substitutes(split, name="training", max_unreadable=len(split))
  batches = list(
    input_pipeline.train_batches(
      split,
      plan,
      image_size=_SIZE,
      substitutes=watch,
      decoding=_DECODING,
      reader=_READERS[seed % 2],
      num_threads=2,
    )
  )
  assert len(batches) == len(plan)
  for rows, batch in zip(plan.indices, batches, strict=True):
    assert batch.image.shape == (_BATCH, _SIZE, _SIZE, 3)
    np.testing.assert_array_equal(batch.label, split.labels[rows])
  evaluated = evaluate(split, _READERS[seed % 2])
  assert sum(len(mask) for _, mask in evaluated) >= len(split)
  pixels, mask = map(np.concatenate, zip(*evaluated, strict=True))
  assert mask[: len(split)][sound].all()
  assert not mask[len(split) :].any()
  other = _READERS[1 - seed % 2]
  alone = evaluate(split.take(np.flatnonzero(sound)), other)
  expected = np.concatenate([block for block, _ in alone])[: sound.sum()]
  np.testing.assert_array_equal(pixels[: len(split)][sound], expected)
  unreadable = int((~mask[: len(split)]).sum())
  return {
    "replaced": sum(batch.replaced for batch in batches),
    "unreadable": unreadable,
  }


def evaluate(split: Split, reader) -> list[tuple[np.ndarray, np.ndarray]]:
  """(images, masks) of evaluation batches."""
  batches = input_pipeline.eval_batches(
    split,
    batch_size=_BATCH,
    image_size=_SIZE,
    resize_size=_SIZE,
    substitutes=Substitutes(
      split, name="evaluation", max_unreadable=len(split)
    ),
    decoding=_DECODING,
    reader=reader,
    num_threads=2,
  )
  return [(batch.image, batch.mask) for batch in batches]


def rounds(cases: int, seed: int, archive: str, keep: str) -> Iterator[dict]:
  """Reads rounds of damaged images until there were so many."""
  good = good_images() | (images_of(archive) if archive else {})
  rng = np.random.default_rng(seed)
  for number in range(-(-cases // _DAMAGED)):
    with tempfile.TemporaryDirectory() as temporary:
      folder = pathlib.Path(keep or temporary)
      folder.mkdir(parents=True, exist_ok=True)
      split, sound = make_round(rng, good, folder)
      faulthandler.dump_traceback_later(_LONGEST_ROUND, exit=True)
      yield {"cases": _DAMAGED, **read_round(split, sound, number)}
      faulthandler.cancel_dump_traceback_later()


def main() -> None:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--cases", type=int, default=300)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--images", default="")
  parser.add_argument("--keep", default="")
  options = parser.parse_args()
  faulthandler.enable()
  total: dict[str, int] = {}
  memory, start = [], time.monotonic()
  for done in rounds(options.cases, options.seed, options.images, options.keep):
    total = {name: total.get(name, 0) + done[name] for name in done}
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory.append(usage // 1024)
  seconds = round(time.monotonic() - start)
  grown = memory[-1] - memory[0]
  print(json.dumps({**total, "grown_mb": grown, "seconds": seconds}))


if __name__ == "__main__":
  main()
