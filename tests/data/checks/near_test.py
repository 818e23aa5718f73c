"""Copies of images in another size, format or quality."""

import io
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image

from blt_jax.data.checks import findings, lines, near
from blt_jax.data.checks.scan import scan
from blt_jax.data.dataset import Dataset, Split


def picture(seed, size=(160, 120)):
  """A smooth RGB image, another one for every seed."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
  return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def saved(image, quality):
  """The image after it was saved as JPEG."""
  file = io.BytesIO()
  image.save(file, "JPEG", quality=quality)
  return Image.open(file).convert("RGB")


def look(image):
  return near.look(np.asarray(image))


def distance(a, b):
  return (look(a) ^ look(b)).bit_count()


COPIES = {
  "half the size": lambda image: image.reduce(2),
  "thumbnail": lambda image: image.resize((64, 48)),
  "saved again": lambda image: saved(image, 50),
  "smaller and saved again": lambda image: saved(image.reduce(2), 70),
  "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_copies_look_the_same(change):
  for seed in range(10):
    image = picture(seed)
    assert distance(image, change(image)) <= near.BITS


def test_other_images_look_different():
  looks = [look(picture(seed)) for seed in range(60)]
  apart = [(a ^ b).bit_count() for a in looks for b in looks if a != b]
  assert len(set(looks)) == 60
  assert min(apart) > near.BITS


def test_plain_and_tiny_images_look_like_no_other():
  black, white = (np.full((40, 40, 3), value, np.uint8) for value in (0, 255))
  assert near.look(black) == near.look(white) == 0
  assert look(picture(0, (31, 40))) == 0
  found = near.first_alike(np.zeros(3, np.uint64))
  np.testing.assert_array_equal(found, [0, 1, 2])


def test_first_alike_is_that_of_all_pairs():
  rng = np.random.default_rng(0)
  looks = rng.integers(1, 2**63, 300).astype(np.uint64)
  for row in range(100, 200):  # Copies in which 1 to 6 bits differ.
    bits = rng.choice(64, 1 + row % 6, replace=False)
    for bit in bits:
      looks[row] ^= np.uint64(1 << int(bit))
    looks[row] = looks[row - 100] ^ np.bitwise_xor.reduce(
      np.array([1 << int(bit) for bit in bits], np.uint64)
    )
  apart = np.bitwise_count(looks[:, None] ^ looks[None])
  expected = np.argmax(apart <= near.BITS, axis=1)
  np.testing.assert_array_equal(near.first_alike(looks), expected)


def test_photos_have_no_near_copies_but_those_that_are_made(shared, tmp_path):
  archive = shared / "data/imagenet_samples.tar"
  if not archive.exists():
    pytest.skip("no imagenet_samples.tar")
  with tarfile.open(archive) as tar:
    members = [m for m in tar if m.isfile()][:60]
    tar.extractall(tmp_path, members, filter="data")
  paths = [tmp_path / m.name for m in members]
  copies = []
  for path in paths[:20]:
    copies.append(path.with_suffix(".png"))
    Image.open(path).convert("RGB").reduce(3).save(copies[-1])
  found = _findings(paths, copies)
  assert set(found) == {"near leak"}
  assert len(found["near leak"].images) >= 19
  assert (found["near leak"].images - 60 == found["near leak"].others).all()


def _findings(train, test, **labels):
  """Name -> Finding of files for training and for testing."""
  splits = [
    Split(np.zeros(len(paths), int), paths=[str(path) for path in paths])
    for paths in (train, test)
  ]
  dataset = Dataset("some", ("cat", "dog"), splits[0], splits[1], splits[1])
  return {f.name: f for f in findings.find(scan(dataset), 1)}


def test_a_smaller_copy_is_a_warning_and_an_exact_one_an_error(tmp_path):
  files = [tmp_path / f"{n}.png" for n in range(4)]
  for seed, file in enumerate(files[:2]):
    picture(seed).save(file)
  picture(0).reduce(2).save(files[2])
  files[3].write_bytes(files[1].read_bytes())
  found = _findings(files[:2], files[2:])
  assert {name: f.severity for name, f in found.items()} == {
    "leak": "error",
    "near leak": "warning",
  }
  assert found["near leak"].images.tolist() == [2]
  assert found["near leak"].others.tolist() == [0]
  assert found["leak"].images.tolist() == [3]


def test_a_copy_in_another_split_with_another_label_is_said(tmp_path):
  files = [tmp_path / f"{n}.png" for n in range(5)]
  for seed, file in enumerate(files[:2]):
    picture(seed).save(file)
  picture(0).reduce(2).save(files[2])
  picture(1).reduce(2).save(files[3])
  files[4].write_bytes(files[1].read_bytes())
  train = Split([0, 0], paths=[str(file) for file in files[:2]])
  test = Split([1, 0, 1], paths=[str(file) for file in files[2:]])
  dataset = Dataset("some", ("cat", "dog"), train, test, test)
  scanned = scan(dataset)
  report = findings.Report(dataset, scanned, {}, findings.find(scanned, 1))
  text = lines.text(report)
  assert "of another split: 2, 1 of them with another label\n" in text
  assert "in another split as well: 1, 1 of them with another label\n" in text
  assert f"~ train {files[0]} (cat): the labels disagree\n" in text
  assert f"= train {files[1]} (cat): the labels disagree\n" in text
  assert text.count("the labels disagree") == 2
  lines.write_csv(report, str(tmp_path / "found.csv"))
  assert (tmp_path / "found.csv").read_text().count("labels disagree") == 2


def test_a_smaller_copy_in_another_class_is_noted(tmp_path):
  files = [tmp_path / f"{n}.png" for n in range(3)]
  for number, file in enumerate(files):
    picture(0).reduce(1 + number).save(file)
  other = Split(np.zeros(1, int), np.zeros((1, 64, 64, 3), np.uint8))
  train = Split([0, 0, 1], paths=[str(file) for file in files])
  dataset = Dataset("some", ("cat", "dog"), train, other, other)
  (found,) = findings.find(scan(dataset), 1)
  assert (found.name, found.severity) == ("near two classes", "note")
  assert found.images.tolist() == [2]


def test_small_images_are_said_to_be_left_out(tmp_path):
  path = pathlib.Path(tmp_path / "a.png")
  picture(0, (20, 20)).save(path)
  other = Split(np.zeros(1, int), np.zeros((1, 64, 64, 3), np.uint8))
  train = Split([0], paths=[str(path)])
  dataset = Dataset("some", ("cat",), train, other, other)
  report = findings.Report(dataset, scan(dataset), {}, ())
  assert "1 image with a side of less than 32 pixels: compared" in lines.text(
    report
  )
